"""Reads what a server leaves on disk: transaction logs record by record, and the tree digest.

It shares no code with kraal, so that a mistake in kraal's storage cannot hide itself. Rules:
reference/storage-formats.md sections 2, 3 and 6.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from zlib import adler32, crc32

VERSION_DIR = "version-2"
CONTAINER_OWNER = -(1 << 63)
_TTL_MARK = 0xFF << 56

_FILE_HEADER = b"ZKLG\x00\x00\x00\x02" + bytes(8)
_FRAME = struct.Struct(">qi")
_HEADER = struct.Struct(">qiqqi")
_DIGEST = struct.Struct(">iq")
_TERM = struct.Struct(">qqqqqiiiq")
_ERROR = -1
_DIGEST_VERSION = 2
_TORN_BYTES = 4096


class Record(NamedTuple):
    """One transaction: its header, its body, the tree digest behind it."""

    session: int
    cxid: int
    zxid: int
    time: int
    type: int
    body: bytes
    digest: int | None
    file: str


class DamagedError(Exception):
    """A log is not what its format promises."""


def ttl_owner(ttl_ms: int) -> int:
    """The owner that a TTL znode has on disk and in the digest."""
    return (_TTL_MARK | ttl_ms) - (1 << 64)


def named(directory: Path, kind: str) -> list[tuple[int, Path]]:
    """The `log` or `snapshot` files of a version-2 directory by the zxid in their names."""
    found = []
    for path in directory.iterdir():
        parts = path.name.split(".")
        if parts[0] == kind and len(parts) > 1:
            found.append((int(parts[1], 16), path))
    return sorted(found)


def log_records(directory: Path, first_zxid: int = 0) -> Iterator[Record]:
    """Every record from a zxid on, in the order of the files."""
    logs = named(directory, "log")
    below = [number for number, _ in logs if number < first_zxid]
    for number, path in logs:
        if not below or number >= below[-1]:
            yield from (record for record in file_records(path) if record.zxid >= first_zxid)


def file_records(path: Path) -> Iterator[Record]:
    """The records of one file, up to its padding, its end or a torn record."""
    with _mapped(path) as content:
        for begin, end in _payloads(content, path.name):
            yield _record(content[begin:end], path.name)


def is_torn(path: Path) -> bool:
    """Whether a log ends in a record that was not written to its end."""
    with _mapped(path) as content:
        at = len(_FILE_HEADER)
        for _, end in _payloads(content, path.name):
            at = end + 1
        return any(content[at : at + _TORN_BYTES])


@contextmanager
def _mapped(path: Path) -> Iterator[bytes]:
    """The content of a file, which may be sparse and large."""
    if path.stat().st_size < len(_FILE_HEADER):
        yield _FILE_HEADER  # its server died before it had written so much
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content  # type: ignore[misc]  # is sliced and measured like bytes


def _payloads(content: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Where each payload begins and ends."""
    if content[: len(_FILE_HEADER)] != _FILE_HEADER:
        raise DamagedError(f"{name} begins with {content[:16].hex()}")
    at = len(_FILE_HEADER)
    while at + _FRAME.size <= len(content):
        checksum, size = _FRAME.unpack_from(content, at)
        begin, end = at + _FRAME.size, at + _FRAME.size + size
        if size <= 0 or end >= len(content) or content[end] != ord("B"):
            return
        if adler32(content[begin:end]) != checksum:
            raise DamagedError(f"{name} has a wrong checksum at offset {at}")
        yield begin, end
        at = end + 1


def _record(payload: bytes, file: str) -> Record:
    session, cxid, zxid, time, kind = _HEADER.unpack_from(payload)
    body, digest = payload[_HEADER.size :], None
    if kind != _ERROR:
        body, tail = body[: -_DIGEST.size], body[-_DIGEST.size :]
        version, digest = _DIGEST.unpack(tail)
        if version != _DIGEST_VERSION:
            raise DamagedError(f"{file} has no digest at zxid {zxid:x}")
    return Record(session, cxid, zxid, time, kind, body, digest, file)


def digest_term(
    path: str,
    data: bytes | None,
    *,
    zxids: tuple[int, int, int],
    times: tuple[int, int],
    versions: tuple[int, int, int],
    owner: int,
) -> int:
    """What one znode adds to the tree digest.

    `zxids` are czxid, mzxid and pzxid, `versions` those of data, of children (as stored, which
    is not as sent) and of the ACL.
    """
    if path.startswith("/zookeeper/"):
        return 0
    crc = crc32(data or b"", crc32(b"" if path == "/" else path.encode()))
    return crc32(_TERM.pack(*zxids, *times, *versions, owner), crc)


def signed(digest: int) -> int:
    """The sum of all terms as logs and snapshots hold it."""
    digest &= (1 << 64) - 1
    return digest - (1 << 64) if digest >> 63 else digest
