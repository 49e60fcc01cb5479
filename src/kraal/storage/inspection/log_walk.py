"""Reading a log to its end whatever is wrong in it, record by record.

Where a server stops or refuses (reference/storage-formats.md section 2.5), this goes on as far
as the framing leads, says what is wrong with which record, and what it was before one bit of it
was flipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from zlib import adler32

from kraal.errors import DecodeError
from kraal.storage.bits import is_damaged_end, is_one_bit_off, mended_length, mended_payload
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_format import (
    END,
    FILE_HEADER,
    FILE_HEADER_BYTES,
    FRAME,
    FRAMING_BYTES,
    MAGIC,
    WINDOW_BYTES,
    Header,
    Tail,
    header_of,
)
from kraal.storage.names import LOG, kept_as, zxid_of
from kraal.wire.records.txn import HEADER, Txn

_ZXID_OFFSET = 12
_SEARCHED_ZXIDS = 32
_SEARCHED_BYTES = 8 << 20
"""How far behind a record without an end sound ones are looked for."""


class Fault(Enum):
    """What is wrong with a record, or with a whole file."""

    CHECKSUM = "its checksum does not match"
    END_BYTE = "its end byte is damaged"
    LENGTH = "its length is impossible"
    CONTENT = "it is no transaction"
    HEADER = "the file does not begin like a log"
    SHORT = "the file has no complete header"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it stands in the file."""

    offset: int
    checksum: int
    payload: bytes
    txn: Txn | None
    """None: the payload is no transaction, or is damaged."""
    fault: Fault | None = None
    detail: str = ""
    mended: bytes | None = None
    """The whole record as it was before a bit was flipped, if that explains the fault."""

    @property
    def size(self) -> int:
        return FRAMING_BYTES + len(self.payload)

    @property
    def zxid(self) -> int | None:
        """What the header says; a damaged one may lie."""
        if self.txn is not None:
            return self.txn.zxid
        if len(self.payload) < HEADER.size:
            return None
        return int(HEADER.unpack_from(self.payload)[2])


class LogWalk:
    """Iterates over the entries of one file; afterwards the attributes tell how it ended."""

    def __init__(self, fs: FileSystem, path: PurePath, max_record_bytes: int) -> None:
        self.path = path
        self.size = 0
        self.header: Header | None = None
        """None: the file has none, and is no log."""
        self.end = 0
        """Where the last record ends."""
        self.tail = Tail.EXACT
        self.fault: Fault | None = None
        """Why the rest of the file cannot be read, if that is no torn tail."""
        self.detail = ""
        self.unfinished: Entry | None = None
        """A last record that lacks nothing but its end byte; `mended` has it."""
        self._fs = fs
        self._max = max_record_bytes
        # With no record yet, the name says which ones are to be expected.
        self._last_zxid = (zxid_of(kept_as(path.name), LOG) or 1) - 1
        self._window = b""
        self._window_at = 0

    def begin(self) -> bool:
        """Read the header; False: there is none, and `fault` says why. Iterating does this, too.

        Raises StorageError.
        """
        with failing("reading", self.path):
            self.size = self._fs.size(self.path)
        head = self._bytes(0, FILE_HEADER_BYTES)
        if len(head) < FILE_HEADER_BYTES:
            self._stop_file(Fault.SHORT, f"{len(head)} bytes")
            return False
        if head[:4] != MAGIC:
            self._stop_file(Fault.HEADER, f"it begins with {head[:4].hex()}")
            return False
        self.header = header_of(head)
        return True

    def __iter__(self) -> Iterator[Entry]:
        if not self.begin():
            return
        at = self.end = FILE_HEADER_BYTES
        while (entry := self._entry(at)) is not None:
            at += entry.size
            self.end = at
            yield entry

    @property
    def ended(self) -> str:
        """Which file cannot be read, or not to its end, and why."""
        if self.fault is Fault.HEADER:
            return f"{self.path} is no log: {self.detail}, and a log with {MAGIC.hex()} (ZKLG)"
        if self.fault is Fault.SHORT:
            return f"{self.path} is no log: {self.detail} are less than its header"
        return f"{self.path}: nothing can be read behind {self.detail}"

    @property
    def is_header_whole(self) -> bool:
        """Whether a file that is too short at least began as a log does."""
        return FILE_HEADER.startswith(self._bytes(0, FILE_HEADER_BYTES))

    def _bytes(self, offset: int, size: int) -> bytes:
        at = offset - self._window_at
        if not 0 <= at <= len(self._window) - size:
            with failing("reading", self.path):
                self._window = self._fs.read(self.path, offset, max(size, WINDOW_BYTES))
            self._window_at, at = offset, 0
        return self._window[at : at + size]

    def _entry(self, at: int) -> Entry | None:
        head = self._bytes(at, FRAME.size)
        if len(head) < FRAME.size:
            self.tail = Tail.CUT if head.strip(b"\0") else Tail.EXACT
            return None
        checksum, length = FRAME.unpack(head)
        if not head.strip(b"\0"):
            self.tail = Tail.PADDING
            return None
        if not 0 < length <= self._max:
            return self._with_other_length(at, head, Tail.PADDING if length == 0 else None)
        body = self._bytes(at + FRAME.size, length + 1)
        if len(body) <= length:
            return self._with_other_length(at, head, Tail.CUT)
        payload, end = body[:length], body[length:]
        if end != END:
            return self._without_end(at, checksum, payload, end[0])
        if adler32(payload) != checksum:
            return self._with_wrong_checksum(at, checksum, payload)
        self._last_zxid = int(HEADER.unpack_from(payload)[2]) if length >= HEADER.size else 0
        return _read(at, checksum, payload)

    def _with_other_length(self, at: int, head: bytes, tail: Tail | None) -> Entry | None:
        """A record whose length was damaged, or else the end: a torn one, or one that hides
        what follows it."""
        checksum, length = FRAME.unpack(head)
        right = mended_length(head, self._bytes(at + FRAME.size, self._max + 1), self._max)
        if right is not None:
            payload = self._bytes(at + FRAME.size, right)
            read = _read(at, checksum, payload)
            whole = FRAME.pack(checksum, right) + payload + END
            return Entry(at, checksum, payload, read.txn, Fault.LENGTH, f"{length}", whole)
        behind = self._sound_record_behind(at)
        if behind is None and tail is not None:
            self.tail = tail
            return None
        self.fault = Fault.LENGTH if tail in (None, Tail.CUT) else Fault.END_BYTE
        self.detail = f"offset {at}"
        if behind is not None:
            self.detail += f", and a sound record follows at offset {behind}"
        return None

    def _without_end(self, at: int, checksum: int, payload: bytes, end: int) -> Entry | None:
        """The last record of a killed server, or one that was damaged later."""
        if adler32(payload) == checksum:
            whole = FRAME.pack(checksum, len(payload)) + payload + END
            txn = _read(at, checksum, payload).txn
            entry = Entry(at, checksum, payload, txn, Fault.END_BYTE, mended=whole)
            if is_damaged_end(end) or self._is_record(at + entry.size):
                return entry
            self.unfinished = entry
        return self._with_other_length(at, FRAME.pack(checksum, len(payload)), Tail.UNFINISHED)

    def _sound_record_behind(self, at: int) -> int | None:
        """Where a record with one of the next zxids stands, if one does."""
        ahead = self._bytes(at + 1, _SEARCHED_BYTES)
        for zxid in range(self._last_zxid + 1, self._last_zxid + _SEARCHED_ZXIDS):
            wanted = zxid.to_bytes(8, "big")
            found = ahead.find(wanted)
            while found >= 0:
                begin = at + 1 + found - _ZXID_OFFSET - FRAME.size
                if begin > at and self._is_record(begin):
                    return begin
                found = ahead.find(wanted, found + 1)
        return None

    def _is_record(self, at: int) -> bool:
        """Whether a whole and sound record stands there."""
        head = self._bytes(at, FRAME.size)
        if len(head) < FRAME.size:
            return False
        checksum, length = FRAME.unpack(head)
        if not 0 < length <= self._max:
            return False
        body = self._bytes(at + FRAME.size, length + 1)
        return body[length:] == END and adler32(body[:length]) == checksum

    def _with_wrong_checksum(self, at: int, checksum: int, payload: bytes) -> Entry:
        right = adler32(payload)
        detail = f"{checksum & 0xFFFF_FFFF:08x}, the content has {right:08x}"
        if is_one_bit_off(checksum, right):
            mended = payload
        else:
            found = mended_payload(payload, checksum) if 0 <= checksum < 1 << 32 else None
            if found is None:
                return Entry(at, checksum, payload, None, Fault.CHECKSUM, detail)
            mended, right = found, checksum
        txn = _read(at, right, mended).txn
        if txn is None:  # no bit of a transaction, so no explanation
            return Entry(at, checksum, payload, None, Fault.CHECKSUM, detail)
        whole = FRAME.pack(right, len(mended)) + mended + END
        return Entry(at, checksum, payload, txn, Fault.CHECKSUM, detail, whole)

    def _stop_file(self, fault: Fault, detail: str) -> None:
        self.fault, self.detail = fault, detail


def _read(at: int, checksum: int, payload: bytes) -> Entry:
    """A sound record; its content may still be none."""
    try:
        return Entry(at, checksum, payload, Txn.decode(payload))
    except (DecodeError, ValueError) as error:
        return Entry(at, checksum, payload, None, Fault.CONTENT, str(error))
