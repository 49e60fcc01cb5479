"""How a write changes the 68 bytes of a Stat: shared by validation and application.

Each rule takes the stat apart once and gives it in two forms: as the wire has it, and as the
digest covers it. What a rule leaves alone stays the bytes that it was. Rules:
reference/client-protocol.md sections 4.2 and 4.3, storage-formats.md sections 3.2 and 6.
"""

from __future__ import annotations

import struct

from kraal.model.limits import MAX_INT
from kraal.tree.digest import stamp_of

DELETED = -2
"""Given instead of a parent's counter when a child was deleted."""
COUNT_UP = -1
"""Given instead of a parent's counter by transactions that predate it."""

Stamped = tuple[bytes, bytes]
"""A stat, and its stamp: what the digest covers of it (see `kraal.tree.digest.term`)."""

_MASK_32 = 0xFFFF_FFFF
"""cversion wraps as an int of 32 bits: 2 × created − numChildren (see `kraal.tree.znode`)."""
_pack_created = struct.Struct(">qqqq12xqi4xq").pack
_pack_created_stamp = struct.Struct(">qqqqq12xq").pack
# czxid, ctime, cversion, aversion with owner, numChildren, pzxid: what setData leaves alone.
_unpack_beside_data = struct.Struct(">8s8x8s8x4xI12s4xi8s").unpack
_pack_data_set = struct.Struct(">8sq8sqiI12sii8s").pack
_pack_data_set_stamp = struct.Struct(">8sq8s8sqiI12s").pack
# czxid with mzxid, times with version, cversion, aversion with owner, length, numChildren, pzxid.
_AROUND_CHILDREN = struct.Struct(">16s20sI12s4siq")
_unpack_around_children = _AROUND_CHILDREN.unpack
_pack_children_changed = _AROUND_CHILDREN.pack
_pack_children_changed_stamp = struct.Struct(">16sq20sI12s").pack


def created(zxid: int, time_ms: int, wire_owner: int, size: int) -> Stamped:
    """The stat of a new znode."""
    return (
        _pack_created(zxid, zxid, time_ms, time_ms, wire_owner, size, zxid),
        _pack_created_stamp(zxid, zxid, zxid, time_ms, time_ms, wire_owner),
    )


def data_set(stat: bytes, zxid: int, time_ms: int, version: int, size: int) -> Stamped:
    """After setData."""
    czxid, ctime, cversion, owned, children, pzxid = _unpack_beside_data(stat)
    made = ((cversion + children) & _MASK_32) >> 1
    return (
        _pack_data_set(
            czxid, zxid, ctime, time_ms, version, cversion, owned, size, children, pzxid
        ),
        _pack_data_set_stamp(czxid, zxid, pzxid, ctime, time_ms, version, made, owned),
    )  # fmt: skip


def acl_set(stat: bytes, version: int) -> Stamped:
    """After setACL: nothing but the ACL version changes."""
    stat = stat[:40] + version.to_bytes(4, "big", signed=True) + stat[44:]
    return stat, stamp_of(stat)


def with_data_length(stat: bytes, size: int) -> bytes:
    """With another data length and nothing else, as usage bookkeeping does it."""
    return stat[:52] + size.to_bytes(4, "big") + stat[56:]


def child_created(stat: bytes, zxid: int) -> tuple[int, bytes, bytes]:
    """A parent with one child more: its count of created children, and its stat and stamp.

    The same as `children_changed` with that count, which stops at the largest int.
    """
    ids, times, cversion, owned, length, count, pzxid = _unpack_around_children(stat)
    made = ((cversion + count) & _MASK_32) >> 1
    if made < MAX_INT:
        made += 1
        pzxid = zxid
    count += 1
    cversion = (2 * made - count) & _MASK_32
    return (
        made,
        _pack_children_changed(ids, times, cversion, owned, length, count, pzxid),
        _pack_children_changed_stamp(ids, pzxid, times, made, owned),
    )


def children_changed(stat: bytes, count: int, parent_cversion: int, zxid: int) -> Stamped:
    """A parent with `count` children after one was created or deleted.

    A create gives the parent's new count of created children; one that is not higher than the
    parent's own leaves count and pzxid alone. Neither ever decreases.
    """
    ids, times, cversion, owned, length, before, pzxid = _unpack_around_children(stat)
    made = ((cversion + before) & _MASK_32) >> 1
    if parent_cversion > made:
        made = parent_cversion
        pzxid = zxid
    elif parent_cversion == DELETED:
        pzxid = max(pzxid, zxid)
    elif parent_cversion == COUNT_UP:
        made = (made + 1) & MAX_INT
        pzxid = zxid
    cversion = (2 * made - count) & _MASK_32
    return (
        _pack_children_changed(ids, times, cversion, owned, length, count, pzxid),
        _pack_children_changed_stamp(ids, pzxid, times, made, owned),
    )
