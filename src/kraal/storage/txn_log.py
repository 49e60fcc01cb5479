"""Appending to the transaction log: buffered on the loop, written on the disk thread.

`append` only frames a record. `take` hands over what was appended since, as a `Flush` whose
`run` writes it in one piece and makes it durable; only then may anything be acknowledged. A
failure is never retried: after a failed flush nobody knows what the disk holds, so the log
stays unusable until a recovery has read it back.

A new file is written under another name and renamed when its header and first records are
durable: no crash leaves a log without a header, and files are never appended to after a
restart (reference/storage-formats.md section 9 items 7 and 8). Beyond the reference, the
directory is synced too.
"""

from __future__ import annotations

from collections import deque
from pathlib import PurePath
from time import monotonic
from typing import NamedTuple
from zlib import adler32

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.storage.data_dir import Layout
from kraal.storage.interface import File, FileSystem
from kraal.storage.log_format import END, FILE_HEADER, FRAME, padded_size
from kraal.storage.names import UNFINISHED, log_name

_PARTS = 3
_pack_frame = FRAME.pack


class LogEnd(NamedTuple):
    """How far the log goes: its last record ends at `size` of the file `name`."""

    name: str
    size: int
    zxid: int


class LogPlace(NamedTuple):
    """The file that is being written, and its identity: the name may lead to another one."""

    path: PurePath
    identity: object


class Flush:
    """Records to make durable in one go; `run` it on the disk thread."""

    __slots__ = (
        "_log",
        "_new_file",
        "_parts",
        "count",
        "duration_ms",
        "first_zxid",
        "grown_bytes",
        "last_zxid",
        "size",
        "waited_ms",
    )

    def __init__(
        self, log: TxnLog, parts: list[bytes], first_zxid: int, last_zxid: int, *, new_file: bool
    ) -> None:
        self._log = log
        self._parts = parts
        self._new_file = new_file
        self.first_zxid = first_zxid
        self.last_zxid = last_zxid
        self.count = len(parts) // _PARTS
        self.waited_ms = 0.0
        """How long its oldest record had been waiting when it was taken up."""
        # Known once it has run:
        self.size = 0
        """Bytes of the records, framing included."""
        self.duration_ms = 0.0
        self.grown_bytes = 0
        """By how much the log files grew, padding included."""

    def run(self) -> None:
        """Write and flush. Raises StorageError, after which the log is unusable."""
        log = self._log
        log._check()
        began = monotonic()
        data = b"".join(self._parts)
        self.size = len(data)
        try:
            self.grown_bytes = log._write(data, self.first_zxid, self._new_file)
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) else repr(error)
            log.failure = (
                f"writing {self.count} transactions up to {show(self.last_zxid)} "
                f"to {log._layout.logs} failed: {reason}"
            )
            raise StorageError(log.failure) from error
        self.duration_ms = (monotonic() - began) * 1000
        log.end = LogEnd(log._name, log._position, self.last_zxid)
        log._outstanding = None


class TxnLog:
    """The log that a running server writes; reading one is `kraal.storage.log_reader`."""

    def __init__(self, fs: FileSystem, config: StorageConfig) -> None:
        self._fs = fs
        self._layout = Layout.of(config)
        self._force_sync = config.force_sync
        self._pre_alloc = config.pre_alloc_bytes
        self._size_limit = config.txn_log_size_limit_bytes
        self.failure: str | None = None
        """Why the log is unusable; set by the first failed flush."""
        # The loop's side. Batches before a roll wait in `_sealed`.
        self._parts: list[bytes] = []
        self._first_zxid = 0
        self._last_zxid = 0
        self._rolled = True
        self._sealed: deque[tuple[list[bytes], int, int, bool]] = deque()
        self._outstanding: Flush | None = None
        # The disk thread's side.
        self.end: LogEnd | None = None
        """What the last flush came to; None before the first."""
        self.place: LogPlace | None = None
        """Of the file that is open; None: there is none."""
        self._name = ""
        self._file: File | None = None
        self._position = 0
        self._padded = 0
        """Size up to which the file was padded; records may go beyond it."""

    def append(self, zxid: int, payload: bytes) -> None:
        """Buffer one record; nothing reaches the disk before the next flush."""
        assert zxid > self._last_zxid, "a log only goes forward"
        parts = self._parts
        if not parts:
            self._first_zxid = zxid
        self._last_zxid = zxid
        parts += (_pack_frame(adler32(payload), len(payload)), payload, END)

    def take(self) -> Flush | None:
        """What was appended and not yet taken, or None; the previous flush must be done.

        Records on both sides of a `roll` come as two flushes: take again after the first.
        """
        self._check()
        assert self._outstanding is None, "one flush at a time"
        if self._parts:
            self._seal()
        if not self._sealed:
            return None
        parts, first, last, new_file = self._sealed.popleft()
        self._outstanding = Flush(self, parts, first, last, new_file=new_file)
        return self._outstanding

    def roll(self) -> None:
        """The next append begins a new file."""
        if self._parts:
            self._seal()
        self._rolled = True

    def close(self) -> None:
        """Close the file; call it on the disk thread, when no flush is running."""
        if self._file is not None:
            file, self._file = self._file, None
            self.place = None
            file.close()

    def _seal(self) -> None:
        self._sealed.append((self._parts, self._first_zxid, self._last_zxid, self._rolled))
        self._parts = []
        self._rolled = False

    def _check(self) -> None:
        if self.failure is not None:
            raise StorageError(f"the transaction log is unusable since {self.failure}")

    def _write(self, data: bytes, first_zxid: int, new_file: bool) -> int:
        """On the disk thread: returns by how much the files grew."""
        if new_file or self._file is None:
            return self._begin_file(data, first_zxid)
        file, at, before = self._file, self._position, self._file_bytes()
        size = padded_size(at, self._padded, self._pre_alloc)
        if size > before:
            file.write(b"\0", size - 1)
            file.write(data, at)
            if self._force_sync:
                file.sync_data()  # the new size too
        elif self._force_sync:
            file.write_durably(data, at)
        else:
            file.write(data, at)
        return self._written(size, at + len(data)) - before

    def _begin_file(self, data: bytes, first_zxid: int) -> int:
        self.close()
        logs = self._layout.logs
        name = self._name = log_name(first_zxid)
        unfinished = logs / (UNFINISHED + name)
        data = FILE_HEADER + data
        size = padded_size(len(FILE_HEADER), len(FILE_HEADER), self._pre_alloc)
        self._file = file = self._fs.create(unfinished)
        if size > len(FILE_HEADER):
            file.write(b"\0", size - 1)
        file.write(data, 0)
        # Once per file, even without force_sync: a file without its header stops a start.
        file.sync_data()
        self._fs.rename(unfinished, logs / name)
        self._fs.sync_directory(logs)
        self.place = LogPlace(logs / name, self._fs.identity(logs / name))
        return self._written(size, len(data))

    def _written(self, padded: int, position: int) -> int:
        """Note where the file stands; returns its size."""
        self._padded = padded
        self._position = position
        size = self._file_bytes()
        if 0 < self._size_limit < size:
            self.close()
        return size

    def _file_bytes(self) -> int:
        return max(self._padded, self._position)
