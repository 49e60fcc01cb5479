"""What storage needs of a file system: small enough to be played in memory.

Methods raise OSError and nothing else; storage turns it into StorageError. Paths are pure
paths. A file's bytes are durable after `sync_data` or a durable write; its name only after
`sync_directory` (POSIX promises no more, and the in-memory twin takes its word).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Protocol

from kraal.errors import StorageError

NO_FILE = "it is a directory, a pipe or a device, and no file: move it away"


class File(Protocol):
    """A file open for writing."""

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at an offset; bytes between the old end and it read as zero."""

    def write_durably(self, data: bytes, offset: int) -> None:
        """`write` and `sync_data` of these bytes, as cheaply as the system can do both."""

    def sync_data(self) -> None:
        """Make all bytes and the size durable."""

    def close(self) -> None: ...


class Lock(Protocol):
    """A held lock; it also ends with the process."""

    def release(self) -> None: ...


class FileSystem(Protocol):
    def create(self, path: PurePath, *, like: PurePath | None = None) -> File:
        """Open for writing, emptied if it exists, with the permissions of the file `like`."""

    def open(self, path: PurePath) -> File:
        """Open an existing file for writing in place."""

    def read(self, path: PurePath, offset: int = 0, size: int | None = None) -> bytes:
        """Up to `size` bytes from an offset; fewer only at the end of the file.

        What is no file is refused, and never waited for.
        """

    def size(self, path: PurePath) -> int: ...

    def used_bytes(self, path: PurePath) -> int:
        """What the file takes on the disk; less than its size where it has holes."""

    def modified_s(self, path: PurePath) -> float:
        """When the file was written last, by the system's clock."""

    def free_bytes(self, path: PurePath) -> int:
        """What this process may still write to the disk of an existing directory."""

    def identity(self, path: PurePath) -> object:
        """What tells a file or directory from every other, whatever its name is."""

    def is_file(self, path: PurePath) -> bool:
        """Whether what is there is a file, and no directory, pipe or device."""

    def exists(self, path: PurePath) -> bool: ...

    def listdir(self, path: PurePath) -> list[str]: ...

    def mkdir(self, path: PurePath) -> None:
        """Create a directory with its parents, durably; one that exists is no error."""

    def rename(self, old: PurePath, new: PurePath) -> None:
        """Replace `new` in one step."""

    def unlink(self, path: PurePath) -> None: ...

    def truncate(self, path: PurePath, size: int) -> None: ...

    def sync_directory(self, path: PurePath) -> None:
        """Make the names in a directory durable."""

    def lock(self, path: PurePath) -> Lock | None:
        """Lock a file for this process alone, creating it; None while another holds it."""


@contextmanager
def failing(doing: str, path: PurePath) -> Iterator[None]:
    """Name what was being done to which file when the system refused."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{doing} {path} failed: {error.strerror or error}") from error


def is_out_of_space(error: BaseException) -> bool:
    """Whether a StorageError says that the disk, or the share of it that we may use, is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def sync_file(fs: FileSystem, path: PurePath) -> None:
    """Make an existing file's bytes durable, whoever wrote them."""
    file = fs.open(path)
    try:
        file.sync_data()
    finally:
        file.close()
