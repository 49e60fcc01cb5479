"""The in-memory twin of the file system: it forgets whatever nobody synced.

What a power failure may do here, and what POSIX allows: of each file's unsynced writes a
prefix survives, the last one torn at any byte, independently of all other files; of each
directory's unsynced creates, renames and unlinks any may be lost. Created directories are
durable at once. Within one file writes are not reordered. A generator decides, so that one
seed decides everything.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import PurePath
from random import Random

Hook = Callable[[str, PurePath], None]


class Inode:
    """A file: what reads see, what is durable, and the writes in between."""

    def __init__(self, content: bytes | bytearray = b"") -> None:
        self.content = bytearray(content)
        self.modified_s = 0.0
        self.durable = bytearray(content)
        self.pending: list[tuple[int, bytes | None]] = []
        """Writes as (offset, bytes), truncations as (size, None)."""

    def change(self, offset: int, data: bytes | None) -> None:
        _put(self.content, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.pending:
            _put(self.durable, offset, data)
        self.pending.clear()

    def survivor(self, rng: Random) -> Inode:
        """What is left of it after a power failure."""
        left = bytearray(self.durable)
        kept = rng.randint(0, len(self.pending))
        for offset, data in self.pending[:kept]:
            _put(left, offset, data)
        if kept < len(self.pending):
            offset, data = self.pending[kept]
            if data:
                _put(left, offset, data[: rng.randint(0, len(data))])
        return Inode(left)

    def copy(self) -> Inode:
        other = Inode(self.content)
        other.durable = bytearray(self.durable)
        other.pending = list(self.pending)
        other.modified_s = self.modified_s
        return other


def _put(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    elif data:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


class Directory:
    """Names of files, those that are durable, and the changes in between."""

    def __init__(self, entries: dict[str, Inode] | None = None) -> None:
        self.entries = dict(entries or {})
        self.durable = dict(self.entries)
        self.pending: list[list[tuple[str, Inode | None]]] = []
        """Steps that happen as a whole; a name with None is removed."""

    def change(self, *step: tuple[str, Inode | None]) -> None:
        _relink(self.entries, list(step))
        self.pending.append(list(step))

    def sync(self) -> None:
        self.durable = dict(self.entries)
        self.pending.clear()

    def survivor(self, rng: Random) -> dict[str, Inode]:
        """The names that are left: a prefix of the changes, or any of them."""
        left = dict(self.durable)
        steps = self.pending[: rng.randint(0, len(self.pending))]
        if rng.random() < 0.5:
            steps = [step for step in self.pending if rng.random() < 0.5]
        for step in steps:
            _relink(left, step)
        return left

    def copy(self, copies: dict[int, Inode]) -> Directory:
        """A copy in which each file, known by its id, is copied once."""

        def copied(inode: Inode) -> Inode:
            return copies.setdefault(id(inode), copies.get(id(inode)) or inode.copy())

        other = Directory({name: copied(inode) for name, inode in self.entries.items()})
        other.durable = {name: copied(inode) for name, inode in self.durable.items()}
        other.pending = [
            [(name, copied(inode) if inode else None) for name, inode in step]
            for step in self.pending
        ]
        return other


def _relink(entries: dict[str, Inode], step: list[tuple[str, Inode | None]]) -> None:
    for name, inode in step:
        if inode is None:
            entries.pop(name, None)
        else:
            entries[name] = inode


class MemoryFile:
    def __init__(self, fs: MemoryFileSystem, path: PurePath, inode: Inode) -> None:
        self._fs = fs
        self._path = path
        self._inode = inode

    def write(self, data: bytes, offset: int) -> None:
        try:
            self._fs.operation("write", self._path)
            self._fs.take_room(self._inode, len(data), offset)
        except OSError:
            # A disk that fills up, or fails, has taken a part.
            self._inode.change(offset, data[: self._fs.rng.randint(0, len(data))])
            raise
        self._inode.change(offset, bytes(data))
        self._inode.modified_s = self._fs.now_s

    def write_durably(self, data: bytes, offset: int) -> None:
        self.write(data, offset)
        self.sync_data()

    def sync_data(self) -> None:
        self._fs.operation("sync", self._path)
        self._inode.sync()

    def close(self) -> None:
        pass


class MemoryLock:
    def __init__(self, locks: set[PurePath], path: PurePath) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        self._locks.discard(self._path)


class MemoryFileSystem:
    """All files of one simulated machine. `rng` decides how much of a failed write arrives."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.directories: dict[PurePath, Directory] = {}
        self.hook: Hook | None = None
        """Called before every operation that changes something, with its kind and path."""
        self.now_s = 0.0
        """When files are written, by the clock of this machine."""
        self.room_bytes = sys.maxsize
        self._locks: set[PurePath] = set()
        self._failures: list[tuple[str, int, int]] = []

    # Faults

    def fail(self, kind: str, code: int = errno.EIO, *, after: int = 0) -> None:
        """Let the next operation of a kind fail, or a later one.

        Kinds: create, write, sync, sync_directory, rename, unlink, truncate, mkdir, read.
        """
        self._failures.append((kind, code, after))

    def crash(self, rng: Random | None = None) -> MemoryFileSystem:
        """What a machine finds after a power failure now; this one goes on unharmed."""
        rng = rng or self.rng
        after = MemoryFileSystem(rng)
        survivors: dict[int, Inode] = {}
        for path, directory in self.directories.items():
            left = {}
            for name, inode in directory.survivor(rng).items():
                if id(inode) not in survivors:
                    survivors[id(inode)] = inode.survivor(rng)
                left[name] = survivors[id(inode)]
            after.directories[path] = Directory(left)
        return after

    def killed(self) -> MemoryFileSystem:
        """What a new process finds after this one was killed: nothing lost, nothing synced."""
        after = MemoryFileSystem(self.rng)
        copies: dict[int, Inode] = {}
        for path, directory in self.directories.items():
            after.directories[path] = directory.copy(copies)
        return after

    def corrupt(self, path: PurePath, offset: int, mask: int = 0xFF) -> None:
        """Damage one byte of what is durable and of what reads see."""
        inode = self._inode(path)
        for content in (inode.content, inode.durable):
            if offset < len(content):
                content[offset] ^= mask

    def operation(self, kind: str, path: PurePath) -> None:
        """Count an operation against the planned failures."""
        if self.hook is not None and kind != "read":
            self.hook(kind, path)
        for at, (failing, code, after) in enumerate(self._failures):
            if failing == kind:
                if after:
                    self._failures[at] = (failing, code, after - 1)
                    continue
                del self._failures[at]
                raise OSError(code, os.strerror(code), str(path))

    def take_room(self, inode: Inode, size: int, offset: int) -> None:
        """For what is written behind the end of a file. Raises OSError when there is none."""
        grown = max(0, min(size, offset + size - len(inode.content)))
        if grown > self.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room_bytes -= grown

    # The interface

    def create(self, path: PurePath, *, like: PurePath | None = None) -> MemoryFile:
        self.operation("create", path)
        if like is not None:
            self._inode(like)
        directory = self._directory(path.parent)
        inode = directory.entries.get(path.name)
        if inode is None:
            inode = Inode()
            directory.change((path.name, inode))
        else:
            inode.change(0, None)
        return MemoryFile(self, path, inode)

    def open(self, path: PurePath) -> MemoryFile:
        return MemoryFile(self, path, self._inode(path))

    def read(self, path: PurePath, offset: int = 0, size: int | None = None) -> bytes:
        self.operation("read", path)
        content = self._inode(path).content
        return bytes(content[offset : None if size is None else offset + size])

    def size(self, path: PurePath) -> int:
        return len(self._inode(path).content)

    def used_bytes(self, path: PurePath) -> int:
        return self.size(path)

    def modified_s(self, path: PurePath) -> float:
        return self._inode(path).modified_s

    def free_bytes(self, path: PurePath) -> int:
        self._directory(path)
        return self.room_bytes

    def identity(self, path: PurePath) -> object:
        return self.directories.get(path) or self._inode(path)

    def is_file(self, path: PurePath) -> bool:
        if path in self.directories:
            return False
        self._inode(path)
        return True

    def exists(self, path: PurePath) -> bool:
        directory = self.directories.get(path.parent)
        return path in self.directories or (
            directory is not None and path.name in directory.entries
        )

    def listdir(self, path: PurePath) -> list[str]:
        below = [other.name for other in self.directories if other.parent == path != other]
        return [*self._directory(path).entries, *below]

    def mkdir(self, path: PurePath) -> None:
        self.operation("mkdir", path)
        for directory in (*reversed(path.parents), path):
            self.directories.setdefault(directory, Directory())

    def rename(self, old: PurePath, new: PurePath) -> None:
        self.operation("rename", old)
        inode = self._inode(old)
        assert old.parent == new.parent, "a rename stays in its directory"
        self._directory(new.parent).change((old.name, None), (new.name, inode))

    def unlink(self, path: PurePath) -> None:
        self.operation("unlink", path)
        self._inode(path)
        self._directory(path.parent).change((path.name, None))

    def truncate(self, path: PurePath, size: int) -> None:
        self.operation("truncate", path)
        self._inode(path).change(size, None)

    def sync_directory(self, path: PurePath) -> None:
        self.operation("sync_directory", path)
        self._directory(path).sync()

    def lock(self, path: PurePath) -> MemoryLock | None:
        if path in self._locks:
            return None
        directory = self._directory(path.parent)
        if path.name not in directory.entries:
            directory.change((path.name, Inode()))
        self._locks.add(path)
        return MemoryLock(self._locks, path)

    def _directory(self, path: PurePath) -> Directory:
        directory = self.directories.get(path)
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return directory

    def _inode(self, path: PurePath) -> Inode:
        inode = self._directory(path.parent).entries.get(path.name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return inode
