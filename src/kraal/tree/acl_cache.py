"""ACL lists, shared: znodes with equal lists hold the same object.

A list is known by its encoded vector, so a create that repeats one decodes nothing. Lists
that no znode holds any more vanish by themselves. Ids appear in snapshots only; id -1 is the
open list of built-in znodes. Rules: reference/storage-formats.md section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakValueDictionary

from kraal.model.acl import ALL, OPEN_UNSAFE, READ_UNSAFE, WORLD_ANYONE, Acl
from kraal.wire.records.data import decode_acls, encode_acls

OPEN_ID = -1
RECENT_MAX = 1024
RECENT_BYTES_MAX = 1024
"""Larger lists are not held beyond their last znode."""


class AclList:
    """One list: its id, its bytes, its entries, and what it grants to everyone."""

    __slots__ = ("__weakref__", "acls", "encoded", "id", "world")

    def __init__(self, acl_id: int, encoded: bytes) -> None:
        self.id = acl_id
        self.encoded = encoded
        self.acls: tuple[Acl, ...] = tuple(decode_acls(encoded))
        world = 0
        for perms, scheme, id_ in self.acls:
            if (scheme, id_) == WORLD_ANYONE:
                world |= perms & ALL
        self.world = world


class AclCache:
    """Gives each distinct list one object and one id, counted up from 1."""

    def __init__(self) -> None:
        self.open = AclList(OPEN_ID, encode_acls(OPEN_UNSAFE))
        self._lists: WeakValueDictionary[bytes, AclList] = WeakValueDictionary()
        self._recent: dict[bytes, AclList] = {}
        self._next_id = 1
        self.read_only = self.intern(encode_acls(READ_UNSAFE))

    def intern(self, encoded: bytes | None) -> AclList:
        """The shared list of an encoded vector; None is the open list."""
        if encoded is None:
            return self.open
        found = self._recent.get(encoded)
        if found is None:
            found = self._lists.get(encoded)
            if found is None:
                found = AclList(self._next_id, encoded)
                self._next_id += 1
                self._lists[encoded] = found
            if len(encoded) <= RECENT_BYTES_MAX:
                if len(self._recent) >= RECENT_MAX:
                    self._recent.clear()
                self._recent[encoded] = found
        return found

    def load(self, acl_id: int, encoded: bytes) -> AclList:
        """Take a list under the id that a snapshot gives it."""
        loaded = AclList(acl_id, encoded)
        self._lists[encoded] = loaded
        self._next_id = max(self._next_id, acl_id + 1)
        return loaded

    def __iter__(self) -> Iterator[AclList]:
        """The lists in use, by id."""
        return iter(sorted(self._lists.values(), key=lambda acl: acl.id))
