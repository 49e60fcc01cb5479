"""The reference's record group `data`: Id, ACL and Stat.

Layouts: reference/client-protocol.md sections 3.3 and 4.1.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kraal.errors import DecodeError
from kraal.model.acl import Acl
from kraal.wire.jute.primitives import pack_int, read_text, read_vector, unpack_int, write_text

STAT = struct.Struct(">qqqqiiiqiiq")
STAT_BYTES = STAT.size
assert STAT_BYTES == 68


class Stat(NamedTuple):
    """The fields of a Stat in wire order; zxids, milliseconds since 1970, counts."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int

    @classmethod
    def unpack(cls, stat: bytes) -> Stat:
        return cls(*STAT.unpack(stat))


def _read_acl(buf: bytes, at: int) -> tuple[Acl, int]:
    if at + 4 > len(buf):
        raise DecodeError("an ACL entry is cut off")
    (perms,) = unpack_int(buf, at)
    scheme, at = read_text(buf, at + 4)
    id_, at = read_text(buf, at)
    return Acl(perms, scheme, id_), at


def decode_acls(vector: bytes) -> list[Acl]:
    """The entries of an ACL vector that is not null."""
    return read_vector(_read_acl, vector, 0)[0] or []


def encode_acls(acls: list[Acl] | tuple[Acl, ...]) -> bytes:
    return pack_int(len(acls)) + b"".join(
        [pack_int(perms) + write_text(scheme) + write_text(id_) for perms, scheme, id_ in acls]
    )
