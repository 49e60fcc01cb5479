"""The transaction log's bytes: file header, record framing, and where a file ends.

Rules: reference/storage-formats.md sections 2.1 to 2.5. A record without its end byte was
being written when the server died: the file ends before it. A record with its end byte and a
wrong checksum was damaged later: nothing may skip it. Nor may anything skip a record that lacks
its end byte while a whole one follows, where the reference silently ends the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple
from zlib import adler32

from kraal.errors import CorruptError
from kraal.storage.bits import is_damaged_end, mended_length

_FILE_HEADER = struct.Struct(">4siq")
MAGIC = b"ZKLG"
VERSION = 2
FILE_HEADER = _FILE_HEADER.pack(MAGIC, VERSION, 0)
FILE_HEADER_BYTES = _FILE_HEADER.size

FRAME = struct.Struct(">qi")
"""Checksum of the payload, length of the payload."""
END = b"B"
FRAMING_BYTES = FRAME.size + len(END)
WINDOW_BYTES = 1 << 20

_PAD_AHEAD_BYTES = 4096


class Header(NamedTuple):
    """What a log says of itself, behind its magic number."""

    version: int
    dbid: int


def header_of(head: bytes) -> Header:
    """Of the first bytes of a log, at least as many as its header has."""
    _, version, dbid = _FILE_HEADER.unpack_from(head)
    return Header(version, dbid)


def frame(payload: bytes) -> bytes:
    """One record."""
    return FRAME.pack(adler32(payload), len(payload)) + payload + END


def padded_size(position: int, size: int, pre_alloc: int) -> int:
    """The size to grow a file to before the next write; `size` when it suffices (2.3)."""
    if pre_alloc <= 0 or position + _PAD_AHEAD_BYTES < size:
        return size
    if position > size:
        return (position + pre_alloc) // pre_alloc * pre_alloc
    return size + pre_alloc


class Tail(Enum):
    """What ends the records of a file."""

    EXACT = "the file ends behind a record"
    PADDING = "a length of zero"
    CUT = "the file ends inside a record"
    UNFINISHED = "a record without its end byte"


class LogScanner:
    """Iterates over (offset, payload) of one file; afterwards `end` and `tail` tell why it
    stopped and where.

    `read(offset, size)` gives the file's bytes; only a window of them is held.
    """

    def __init__(self, name: str, read: Callable[[int, int], bytes], max_record_bytes: int) -> None:
        self.name = name
        self.end = FILE_HEADER_BYTES
        self.tail = Tail.EXACT
        self._read = read
        self._max = max_record_bytes

    def _damaged(self, offset: int, what: str) -> CorruptError:
        return CorruptError(f"{self.name} is damaged at offset {offset}: {what}")

    def check_header(self, window: bytes) -> None:
        if len(window) < FILE_HEADER_BYTES:
            raise self._damaged(0, f"{len(window)} bytes are no file header")
        if window[:4] != MAGIC:
            raise self._damaged(0, f"it begins with {window[:4].hex()}, which is no log")

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        window = self._read(0, WINDOW_BYTES)
        self.check_header(window)
        base, at = 0, FILE_HEADER_BYTES
        unpack, head = FRAME.unpack_from, FRAME.size
        while True:
            if len(window) - at < head:
                base, at, window = base + at, 0, self._read(base + at, WINDOW_BYTES)
                if len(window) < head:
                    return self._stop(base, Tail.CUT if window.strip(b"\0") else Tail.EXACT)
            checksum, length = unpack(window, at)
            if length <= 0 or length > self._max:
                return self._no_record(base + at, length)
            end = at + head + length
            if end >= len(window):
                window = self._read(base + at, max(WINDOW_BYTES, head + length + 1))
                base, at, end = base + at, 0, head + length
                if end >= len(window):
                    self._check_length(base, length)
                    return self._stop(base, Tail.CUT)
            payload = window[at + head : end]
            if window[end] != END[0]:
                self._check_length(base + at, length)
                self._check_unfinished(base + at, checksum, payload, window[end])
                return self._stop(base + at, Tail.UNFINISHED)
            if adler32(payload) != checksum:
                raise self._damaged(
                    base + at,
                    f"the checksum {checksum & 0xFFFF_FFFF:08x} of a record of {length} bytes "
                    "does not match",
                )
            self.end = base + end + 1
            yield base + at, payload
            at = end + 1

    def _check_length(self, offset: int, length: int) -> None:
        """CorruptError when the record is whole with a length that differs in one bit."""
        head = self._read(offset, FRAME.size)
        following = self._read(offset + FRAME.size, self._max + 1)
        if mended_length(head, following, self._max) is not None:
            raise self._damaged(offset, f"the length {length} of a record has a flipped bit")

    def _check_unfinished(self, offset: int, checksum: int, payload: bytes, end: int) -> None:
        """CorruptError when the record was finished once: its content is whole, and its end has
        a flipped bit or a whole record follows, which no crash leaves behind."""
        if adler32(payload) != checksum:
            return
        if is_damaged_end(end):
            raise self._damaged(offset, f"the end byte {end:02x} of a record has a flipped bit")
        at = offset + FRAMING_BYTES + len(payload)
        head = self._read(at, FRAME.size)
        if len(head) < FRAME.size:
            return
        following, length = FRAME.unpack(head)
        if not 0 < length <= self._max:
            return
        rest = self._read(at + FRAME.size, length + 1)
        if rest[length:] == END and adler32(rest[:length]) == following:
            raise self._damaged(offset, "a record lost its end byte, and others follow it")

    def _no_record(self, offset: int, length: int) -> None:
        if length:
            raise self._damaged(offset, f"{length} is no length of a record")
        self._stop(offset, Tail.PADDING)

    def _stop(self, offset: int, tail: Tail) -> None:
        self.end = offset
        self.tail = tail
