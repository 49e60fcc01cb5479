"""The values that operations take and return; paths are text, times are seconds."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from kraal.model.acl import OPEN_UNSAFE, READ_UNSAFE, Acl
from kraal.wire.records.data import Stat

OPEN_ACL: tuple[Acl, ...] = OPEN_UNSAFE
"""Everybody may do everything."""
READ_ACL: tuple[Acl, ...] = READ_UNSAFE
"""Everybody may read."""


class Perms(IntFlag):
    """Permissions of an ACL entry (reference/client-protocol.md section 5.7)."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16
    ALL = 31


CREATOR_ALL_ACL: tuple[Acl, ...] = (Acl(Perms.ALL, "auth", ""),)
"""Whoever creates the znode, by the identities that it has authenticated, may do everything."""


def digest_acl(user: str, password: str, perms: int = Perms.ALL) -> Acl:
    """The ACL entry of a user of the `digest` scheme (section 10.4); the password is hashed.

    Raises TypeError, and ValueError for a user with a colon, whom no server could tell from the
    password, and for permissions that there are not. No text shows the password.
    """
    if not isinstance(user, str) or not isinstance(password, str):
        kinds = f"{type(user).__name__} and {type(password).__name__}"
        raise TypeError(f"user and password must be str, not {kinds}")
    if not user or ":" in user:
        raise ValueError(f"a user has a name without a colon, not {user!r:.100}")
    if not isinstance(perms, int) or isinstance(perms, bool):
        raise TypeError(f"perms must be Perms or an int, not {perms!r:.100}")
    if not 0 <= perms <= Perms.ALL:
        raise ValueError(f"perms must be from 0 to {int(Perms.ALL)}, not {perms}")
    sha1 = hashlib.sha1(f"{user}:{password}".encode()).digest()
    return Acl(perms, "digest", f"{user}:{base64.b64encode(sha1).decode()}")


class Created(NamedTuple):
    """A new znode: its path, with the suffix of a sequential one, and its stat."""

    path: str
    stat: Stat


class _Null(bytes):
    """Data that is null: empty, and told apart by its identity."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NULL"


NULL: Final[bytes] = _Null()
"""Null data, which znodes have that were created without any: reads as empty, `data is NULL`.

Written as data it is null again, so that whoever copies a znode copies this, too.
"""


class Node(NamedTuple):
    """The data of a znode, empty or `NULL` if there is none, and its stat."""

    data: bytes
    stat: Stat


class Children(NamedTuple):
    """The names of the children, in no particular order, and the stat of the parent."""

    names: list[str]
    stat: Stat


class AclNode(NamedTuple):
    """The ACL of a znode and its stat."""

    acl: list[Acl]
    stat: Stat


class Session(NamedTuple):
    """A session as the servers know it; `timeout` is the negotiated one, in seconds."""

    id: int
    password: bytes
    timeout: float


@dataclass(frozen=True, slots=True)
class Get:
    """A read of data, for `multi_read`."""

    path: str


@dataclass(frozen=True, slots=True)
class GetChildren:
    """A read of children, for `multi_read`."""

    path: str


Read = Get | GetChildren


class EventType(IntEnum):
    """What a watch tells; 1 to 7 are the protocol's (section 8.1), the others the client's."""

    CREATED = 1
    DELETED = 2
    CHANGED = 3
    """The data has changed."""
    CHILDREN = 4
    """A child was created or deleted."""
    DATA_WATCH_REMOVED = 5
    CHILD_WATCH_REMOVED = 6
    PERSISTENT_WATCH_REMOVED = 7
    GAP = -2
    """Events may have been missed: read again. The watch stays."""
    SESSION_LOST = -3
    """The session is over, and the one-shot watch with it."""


class WatchEvent(NamedTuple):
    """One event; `zxid` is that of the change, or -1 if the server did not say."""

    type: EventType
    path: str
    zxid: int


WatchCallback = Callable[[WatchEvent], None]


class WatcherKind(IntEnum):
    """Which watches to remove (section 8.6)."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    PERSISTENT_RECURSIVE = 5


AclInput = Sequence[Acl]
