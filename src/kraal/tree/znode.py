"""A znode, in the form that replies need it.

`stat` is the 68 bytes that go on the wire; a write packs them anew, a read copies them. The
number of children ever created, which the reference stores as cversion and which names
sequential znodes, is derived: wire cversion = 2 × created − numChildren, so
created = (cversion + numChildren) / 2 (reference/client-protocol.md section 4.3).
"""

from __future__ import annotations

import struct

from kraal.tree.acl_cache import AclList
from kraal.wire.records.data import STAT

UNKNOWN_DIGEST = -1
_MASK_32 = 0xFFFF_FFFF
_OWNER = struct.Struct(">q")
OWNER_OFFSET = 44
OWNER = slice(OWNER_OFFSET, OWNER_OFFSET + 8)
"""The owner's bytes of a stat; NO_OWNER for all but ephemerals."""
NO_OWNER = bytes(8)
VERSION = struct.Struct(">i")
VERSION_OFFSET = 32
CVERSION_OFFSET = 36
_CHILD_COUNTS = struct.Struct(">i16xi")
"""cversion, and behind aversion, owner and data length numChildren."""
AVERSION_OFFSET = 40
CHILDREN_OFFSET = 56


class Znode:
    """Data (None is null), ACL, stat, children by full path, and a cached digest term.

    `children` shares its keys with the tree's index; None while there never was a child.
    """

    __slots__ = ("acl", "children", "data", "digest", "stat")

    def __init__(self, data: bytes | None, acl: AclList, stat: bytes) -> None:
        self.data = data
        self.acl = acl
        self.stat = stat
        self.children: dict[bytes, None] | None = None
        self.digest = UNKNOWN_DIGEST

    def stored_owner(self) -> int:
        """The owner as stored: 0, a session id, or the mark of a container or TTL."""
        owner: int = _OWNER.unpack_from(self.stat, OWNER_OFFSET)[0]
        return owner

    @property
    def version(self) -> int:
        value: int = VERSION.unpack_from(self.stat, VERSION_OFFSET)[0]
        return value

    @property
    def aversion(self) -> int:
        value: int = VERSION.unpack_from(self.stat, AVERSION_OFFSET)[0]
        return value

    @property
    def num_children(self) -> int:
        value: int = VERSION.unpack_from(self.stat, CHILDREN_OFFSET)[0]
        return value

    @property
    def ephemeral_owner(self) -> int:
        """The owning session of an ephemeral, else 0: as the wire shows it."""
        value: int = _OWNER.unpack_from(self.stat, OWNER_OFFSET)[0]
        return value

    @property
    def created_children(self) -> int:
        return self.child_counts()[0]

    def child_counts(self) -> tuple[int, int]:
        """Children ever created, and children now."""
        cversion, children = _CHILD_COUNTS.unpack_from(self.stat, CVERSION_OFFSET)
        return ((cversion + children) & _MASK_32) >> 1, children


class ReapedZnode(Znode):
    """A container or TTL znode: the wire shows owner 0, the disk shows the kind."""

    __slots__ = ("owner",)

    def __init__(self, data: bytes | None, acl: AclList, stat: bytes, owner: int) -> None:
        super().__init__(data, acl, stat)
        self.owner = owner

    def stored_owner(self) -> int:
        return self.owner


def created_children(cversion: int, num_children: int) -> int:
    """Children ever created, from the wire's cversion."""
    return ((cversion + num_children) & _MASK_32) >> 1


def wire_cversion(created: int, num_children: int) -> int:
    """The wire's cversion in wrapping 32-bit arithmetic."""
    value = 2 * created - num_children
    if not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        return ((value + 0x8000_0000) & _MASK_32) - 0x8000_0000
    return value


EMPTY_STAT = STAT.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
