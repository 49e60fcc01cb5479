"""Access control lists: permissions, entries and what a connection is identified as.

Rules: reference/client-protocol.md sections 5.7 and 10.
"""

from __future__ import annotations

from typing import NamedTuple

READ = 1
WRITE = 2
CREATE = 4
DELETE = 8
ADMIN = 16
ALL = 31


class Id(NamedTuple):
    """An identity: of a connection, or of those whom an ACL entry names."""

    scheme: str
    id: str


class Acl(NamedTuple):
    """One entry of an ACL; `perms` is stored unchecked, as the reference does."""

    perms: int
    scheme: str | None
    id: str | None


WORLD_ANYONE = Id("world", "anyone")
OPEN_UNSAFE = (Acl(ALL, *WORLD_ANYONE),)
READ_UNSAFE = (Acl(READ, *WORLD_ANYONE),)
