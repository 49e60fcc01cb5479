"""What is measured of each client, with 100-byte values and one session."""

from __future__ import annotations

from enum import Enum

VALUE = bytes(range(100))
ZNODE = "/bench"
WINDOW = 100
"""Requests that are outstanding at once where they are pipelined."""
WATCHED = 500
"""Znodes that are watched, and changed by one transaction."""


class Case(Enum):
    """The value is what the table calls it."""

    READ_ONE = "reads, one at a time"
    READ_MANY = f"reads, {WINDOW} outstanding"
    WRITE_ONE = "writes, one at a time"
    WRITE_MANY = f"writes, {WINDOW} outstanding"
    EVENTS = f"watch and be told, {WATCHED} znodes"
    """A read that registers a watch, and its event; both count as one."""

    LOCKS = "lock hand-overs, two sessions"
    """Two holders of a lock in turn, each with a session of its own."""

    @property
    def key(self) -> str:
        return self.name.lower().replace("_", "-")


LOCK = f"{ZNODE}-lock"


def watched(number: int) -> str:
    return f"{ZNODE}/{number}"
