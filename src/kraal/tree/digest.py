"""The tree digest: an additive hash of all znodes, modulo 2^64.

Each znode's term is the CRC-32 of path, data and 60 bytes of its stat in an order of its own.
Znodes below /zookeeper/ count nothing. Rules and vectors: reference/storage-formats.md
section 6.
"""

from __future__ import annotations

import struct
from zlib import crc32

from kraal.wire.records.data import STAT

_STAMP = struct.Struct(">qqqqqiiiq")
"""czxid, mzxid, pzxid, ctime, mtime, version, children ever created, aversion, owner."""
_OWNER_OFFSET = 52
_unpack = STAT.unpack
_pack = _STAMP.pack
_UNCOUNTED = b"/zookeeper/"
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


def term(path: bytes, data: bytes | None, stamp: bytes) -> int:
    """The term of one znode, of its path, data and stamp; the root's path is empty."""
    # Most paths sort before, and a comparison is cheaper than a call.
    if path >= _UNCOUNTED and path.startswith(_UNCOUNTED):
        return 0
    return crc32(path + data + stamp if data else path + stamp)


def stamp_of(stat: bytes, owner: int | None = None) -> bytes:
    """The 60 bytes that the digest covers of a stat.

    `owner` is the stored owner where the stat does not show it: of containers and TTL znodes.
    """
    czxid, mzxid, ctime, mtime, version, cversion, aversion, shown, _, children, pzxid = _unpack(
        stat
    )
    return _pack(
        czxid, mzxid, pzxid, ctime, mtime, version, ((cversion + children) & 0xFFFF_FFFF) >> 1,
        aversion, shown if owner is None else owner,
    )  # fmt: skip


def with_owner(stamp: bytes, owner: int) -> bytes:
    """The stamp of a znode whose stat does not show its stored owner."""
    return stamp[:_OWNER_OFFSET] + owner.to_bytes(8, "big", signed=True)


def signed(digest: int) -> int:
    """The sum as records and snapshots store it."""
    digest &= _MASK_64
    return digest - (1 << 64) if digest >> 63 else digest
