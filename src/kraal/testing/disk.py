"""A file system whose disk can be slow.

A record of the log waits whether or not it is synced: test servers have `forceSync=no`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import PurePath

from kraal.storage.interface import File, FileSystem, Lock
from kraal.storage.names import LOG

_LOG = f"{LOG}."


class SlowDisk:
    """Another file system, with a pause before everything that waits for the disk."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._seconds = 0.0
        self._changed = threading.Event()
        self.news: Callable[[], object] = lambda: None
        """Called before every pause: may say how slow the disk is."""

    def slow(self, seconds: float) -> None:
        """How long a sync takes from now on; one that waits does so no longer."""
        self._seconds = seconds
        before, self._changed = self._changed, threading.Event()
        before.set()

    def pause(self) -> None:
        """Be as slow as a disk."""
        self.news()
        if self._seconds > 0:
            self._changed.wait(self._seconds)

    def create(self, path: PurePath, *, like: PurePath | None = None) -> SlowFile:
        return SlowFile(self, self._fs.create(path, like=like), is_log=_LOG in path.name)

    def open(self, path: PurePath) -> SlowFile:
        return SlowFile(self, self._fs.open(path), is_log=_LOG in path.name)

    def read(self, path: PurePath, offset: int = 0, size: int | None = None) -> bytes:
        return self._fs.read(path, offset, size)

    def size(self, path: PurePath) -> int:
        return self._fs.size(path)

    def identity(self, path: PurePath) -> object:
        return self._fs.identity(path)

    def is_file(self, path: PurePath) -> bool:
        return self._fs.is_file(path)

    def exists(self, path: PurePath) -> bool:
        return self._fs.exists(path)

    def listdir(self, path: PurePath) -> list[str]:
        return self._fs.listdir(path)

    def mkdir(self, path: PurePath) -> None:
        self._fs.mkdir(path)

    def rename(self, old: PurePath, new: PurePath) -> None:
        self._fs.rename(old, new)

    def unlink(self, path: PurePath) -> None:
        self._fs.unlink(path)

    def truncate(self, path: PurePath, size: int) -> None:
        self._fs.truncate(path, size)

    def sync_directory(self, path: PurePath) -> None:
        self._fs.sync_directory(path)

    def used_bytes(self, path: PurePath) -> int:
        return self._fs.used_bytes(path)

    def modified_s(self, path: PurePath) -> float:
        return self._fs.modified_s(path)

    def free_bytes(self, path: PurePath) -> int:
        return self._fs.free_bytes(path)

    def lock(self, path: PurePath) -> Lock | None:
        return self._fs.lock(path)


class SlowFile:
    """A file on a slow disk."""

    def __init__(self, disk: SlowDisk, file: File, *, is_log: bool) -> None:
        self._disk = disk
        self._file = file
        self._is_log = is_log

    def write(self, data: bytes, offset: int) -> None:
        if self._is_log:
            self._disk.pause()
        self._file.write(data, offset)

    def write_durably(self, data: bytes, offset: int) -> None:
        self._disk.pause()
        self._file.write_durably(data, offset)

    def sync_data(self) -> None:
        if not self._is_log:
            self._disk.pause()
        self._file.sync_data()

    def close(self) -> None:
        self._file.close()
