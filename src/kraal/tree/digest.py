"""The tree digest: an additive hash of all znodes, modulo 2^64.

Each znode's term is the CRC-32 of path, data and 60 bytes of its stat in an order of its own.
Znodes below /zookeeper/ count nothing. Rules and vectors: reference/storage-formats.md
section 6.
"""

from __future__ import annotations

import struct
from zlib import crc32

from kraal.wire.records.data import STAT

_TERM = struct.Struct(">qqqqqiiiq")
_unpack = STAT.unpack
_pack = _TERM.pack
_UNCOUNTED = b"/zookeeper/"
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


def term(path: bytes, data: bytes | None, stat: bytes, owner: int | None = None) -> int:
    """The term of one znode; the root's path is empty.

    `owner` is the stored owner where the stat does not show it: of containers and TTL znodes.
    """
    if path.startswith(_UNCOUNTED):
        return 0
    czxid, mzxid, ctime, mtime, version, cversion, aversion, shown, _, children, pzxid = _unpack(
        stat
    )
    stamped = _pack(
        czxid, mzxid, pzxid, ctime, mtime, version, ((cversion + children) & 0xFFFF_FFFF) >> 1,
        aversion, shown if owner is None else owner,
    )  # fmt: skip
    return crc32(path + data + stamped if data else path + stamped)


def signed(digest: int) -> int:
    """The sum as records and snapshots store it."""
    digest &= _MASK_64
    return digest - (1 << 64) if digest >> 63 else digest
