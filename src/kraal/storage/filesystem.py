"""The operating system's file system."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path, PurePath

from kraal.storage.interface import NO_FILE

_DSYNC: int = getattr(os, "RWF_DSYNC", 0)
"""Linux: one call writes and flushes, so the disk thread asks for the interpreter once."""
_FILE_MODE = 0o644
_OWNER_ONLY = 0o700
_BLOCK_BYTES = 512
"""The unit of `st_blocks`, whatever the file system's own is."""


class OsFile:
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes, offset: int) -> None:
        done = os.pwrite(self._fd, data, offset)
        while done < len(data):  # a full disk, or more than the system takes at once
            done += os.pwrite(self._fd, memoryview(data)[done:], offset + done)

    def write_durably(self, data: bytes, offset: int) -> None:
        if not _DSYNC:
            self.write(data, offset)
            self.sync_data()
            return
        done = os.pwritev(self._fd, [data], offset, _DSYNC)
        while done < len(data):
            done += os.pwritev(self._fd, [memoryview(data)[done:]], offset + done, _DSYNC)

    def sync_data(self) -> None:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync stops at the drive's cache
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._fd)

    def close(self) -> None:
        # Closing twice could close a descriptor that another thread was given since.
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class OsLock:
    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class OsFileSystem:
    def create(self, path: PurePath, *, like: PurePath | None = None) -> OsFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        if like is None:
            return OsFile(os.open(path, flags, _FILE_MODE))
        mode = stat.S_IMODE(Path(like).stat().st_mode)
        fd = os.open(path, flags, mode & _OWNER_ONLY)
        try:
            os.fchmod(fd, mode)  # regardless of the umask, and of an older file's permissions
        except BaseException:
            os.close(fd)
            raise
        return OsFile(fd)

    def open(self, path: PurePath) -> OsFile:
        return OsFile(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def read(self, path: PurePath, offset: int = 0, size: int | None = None) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, NO_FILE, str(path))
            if size is None:
                size = max(0, found.st_size - offset)
            pieces = []
            while size > 0 and (piece := os.pread(fd, size, offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
        finally:
            os.close(fd)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, path: PurePath) -> int:
        return Path(path).stat().st_size

    def used_bytes(self, path: PurePath) -> int:
        return Path(path).stat().st_blocks * _BLOCK_BYTES

    def modified_s(self, path: PurePath) -> float:
        return Path(path).stat().st_mtime

    def free_bytes(self, path: PurePath) -> int:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def identity(self, path: PurePath) -> object:
        found = Path(path).stat()
        return found.st_dev, found.st_ino

    def is_file(self, path: PurePath) -> bool:
        return stat.S_ISREG(Path(path).stat().st_mode)

    def exists(self, path: PurePath) -> bool:
        return Path(path).exists()

    def listdir(self, path: PurePath) -> list[str]:
        return os.listdir(path)  # noqa: PTH208 - names are what is wanted

    def mkdir(self, path: PurePath) -> None:
        missing = [level for level in (path, *path.parents) if not self.exists(level)]
        for level in reversed(missing):
            Path(level).mkdir(exist_ok=True)
            self.sync_directory(level.parent)

    def rename(self, old: PurePath, new: PurePath) -> None:
        Path(old).replace(new)

    def unlink(self, path: PurePath) -> None:
        Path(path).unlink()

    def truncate(self, path: PurePath, size: int) -> None:
        os.truncate(path, size)

    def sync_directory(self, path: PurePath) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: PurePath) -> OsLock | None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        return OsLock(fd)
