"""How a write changes the 68 bytes of a Stat: shared by validation and application.

Rules: reference/client-protocol.md sections 4.2 and 4.3, and storage-formats.md section 3.2.
"""

from __future__ import annotations

from kraal.tree.znode import wire_cversion
from kraal.wire.records.data import STAT

DELETED = -2
"""Given instead of a parent's counter when a child was deleted."""
COUNT_UP = -1
"""Given instead of a parent's counter by transactions that predate it."""

_unpack = STAT.unpack
_pack = STAT.pack


def created(zxid: int, time_ms: int, wire_owner: int, size: int) -> bytes:
    """The stat of a new znode."""
    return _pack(zxid, zxid, time_ms, time_ms, 0, 0, 0, wire_owner, size, 0, zxid)


def data_set(stat: bytes, zxid: int, time_ms: int, version: int, size: int) -> bytes:
    """After setData."""
    c, _, ct, _, _, cversion, aversion, owner, _, children, pzxid = _unpack(stat)
    return _pack(
        c, zxid, ct, time_ms, version, cversion, aversion, owner, size, children, pzxid
    )  # fmt: skip


def acl_set(stat: bytes, version: int) -> bytes:
    """After setACL: nothing but the ACL version changes."""
    return stat[:40] + version.to_bytes(4, "big", signed=True) + stat[44:]


def with_data_length(stat: bytes, size: int) -> bytes:
    """With another data length and nothing else, as usage bookkeeping does it."""
    return stat[:52] + size.to_bytes(4, "big") + stat[56:]


def children_changed(stat: bytes, count: int, parent_cversion: int, zxid: int) -> bytes:
    """A parent with `count` children after one was created or deleted.

    A create gives the parent's new count of created children; one that is not higher than the
    parent's own leaves count and pzxid alone. Neither ever decreases.
    """
    c, m, ct, mt, version, cversion, aversion, owner, length, before, pzxid = _unpack(stat)
    made = ((cversion + before) & 0xFFFF_FFFF) >> 1
    if parent_cversion > made:
        made = parent_cversion
        pzxid = zxid
    elif parent_cversion == DELETED:
        pzxid = max(pzxid, zxid)
    elif parent_cversion == COUNT_UP:
        made += 1
        pzxid = zxid
    return _pack(
        c, m, ct, mt, version, wire_cversion(made, count), aversion, owner, length, count, pzxid
    )  # fmt: skip
