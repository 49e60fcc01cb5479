"""Names of contenders: how kraal, kazoo and Curator write them, and who excludes whom.

A contender is a sequential ephemeral znode in the directory of its lock. Other programs find it
by its name, so the names are a wire format of their own:

=====================  ==================================  =====================================
recipe                 Curator                             kazoo
=====================  ==================================  =====================================
lock, selector         ``_c_<guid>-lock-0000000001``       ``<hex>__lock__0000000001``
write lock             ``_c_<guid>-__WRIT__0000000001``    ``<hex>__lock__0000000001``
read lock              ``_c_<guid>-__READ__0000000001``    ``<hex>__rlock__0000000001``
latch                  ``_c_<guid>-latch-0000000001``
=====================  ==================================  =====================================

kazoo looks for its mark and ten digits at the end of a name and sees no others. Curator takes
every child for a contender and sorts by what follows the last mark of its own; a name without
that mark is sorted as a whole. No single name serves both: kazoo wants its mark, and Curator its
own, directly before the digits. A contender of layout ``"kraal"`` therefore is a *pair* of znodes,
created in one transaction, so that their numbers are neighbours and both programs see it at the
same place of the queue. All names of kraal begin with ``_c_<guid>-``: kazoo does not mind, and
Curator sorts a name that begins with ``_`` and that it cannot read behind all numbers, where it
disturbs nobody. (A name of kazoo's own begins with any hexadecimal digit; Curator and kazoo
contenders in one directory disturb each other.)

The guid tells a client which znodes are its own when the reply to their creation was lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal, NamedTuple

Layout = Literal["kraal", "kazoo", "curator"]
"""Whom a contender excludes: both, or only contenders of that library (and kraal's)."""


class Role(Enum):
    """What a contender wants: to be alone, or to share with others of its kind."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Marks:
    """How the two libraries mark one kind of contender."""

    kazoo: str
    curator: str

    def written(self, layout: Layout) -> tuple[str, ...]:
        """The marks of the znodes that a contender creates. ValueError for an unknown layout."""
        if layout == "kraal":
            return (self.curator, self.kazoo)
        if layout == "curator":
            return (self.curator,)
        if layout == "kazoo":
            return (self.kazoo,)
        raise ValueError(f"layout must be kraal, kazoo or curator, not {layout!r}")


LOCK_MARKS = Marks("__lock__", "lock-")
WRITE_MARKS = Marks("__lock__", "__WRIT__")
READ_MARKS = Marks("__rlock__", "__READ__")
LATCH_MARKS = Marks("__lock__", "latch-")

# Whatever stands before, a mark, and the number that the server appends.
_CONTENDER = re.compile(
    r"(?P<owner>.*?)(?:(?P<shared>__rlock__|__READ__)|(?P<lasting>lock-|latch-)|__lock__|__WRIT__)"
    r"(?P<number>[0-9]{10})",
    re.DOTALL,
)
LAST_NUMBER = 2**31 - 1
"""Here the server's counter stops: all later contenders would get this number, and any two of
them would be first (reference/client-protocol.md section 6.1). No contender may take it."""


class Entry(NamedTuple):
    """One contender znode, of whatever program."""

    name: str
    owner: str
    """Equal for the two znodes of a pair, different for different contenders."""
    number: int
    role: Role
    is_lasting: bool
    """Whether it is what it is until it is deleted; a writer may become a reader, which then has
    the writer's number, and the mark that kazoo knows does not tell a writer from a lock."""


@lru_cache(maxsize=1024)
def read_name(name: str) -> Entry | None:
    """What a child of a lock's directory is; None: nobody's contender."""
    match = _CONTENDER.fullmatch(name)
    if match is None:
        return None
    role = Role.EXCLUSIVE if match["shared"] is None else Role.SHARED
    is_lasting = match["lasting"] is not None
    return Entry(name, match["owner"] or name, int(match["number"]), role, is_lasting)


class Ahead(NamedTuple):
    """Whom a contender waits for."""

    name: str
    """The nearest znode before it that excludes it."""
    is_last: bool
    """Whether nobody can be left before the contender when that is deleted: it belongs to the only
    one there is, and later ones get higher numbers."""


def ahead(children: Iterable[str], number: int, role: Role) -> Ahead | None:
    """Whom a contender of that number and role waits for; None if it is its turn."""
    nearest: Entry | None = None
    owners: dict[str, bool] = {}
    for entry in map(read_name, children):
        if (
            entry is not None
            and entry.number < number
            and (role is Role.EXCLUSIVE or entry.role is Role.EXCLUSIVE)
        ):
            owners[entry.owner] = owners.get(entry.owner, False) or entry.is_lasting
            if nearest is None or entry.number > nearest.number:
                nearest = entry
    if nearest is None:
        return None
    return Ahead(nearest.name, len(owners) == 1 and owners[nearest.owner])


def in_order(children: Iterable[str]) -> list[Entry]:
    """The contenders, first come first, and the two znodes of a pair as one."""
    entries = [entry for entry in map(read_name, children) if entry is not None]
    unique: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        unique.setdefault(entry.owner, entry)
    return list(unique.values())


def child(parent: str, name: str) -> str:
    """The path of a child."""
    return f"{parent.rstrip('/')}/{name}"
