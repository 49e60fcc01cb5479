"""Bugs on purpose in the client and its recipes: what the scenarios must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from kraal.client import EventType
from kraal.client.connection import Connection
from kraal.client.session import SessionKeeper
from kraal.client.watches import WatchTable
from kraal.sim.bugs import Bug, patched


def _resend_silently() -> AbstractContextManager[None]:
    """What was sent and not answered is sent again on the next connection."""

    def lost(
        sound: Callable[..., None],
        keeper: SessionKeeper,
        connection: Connection,
        error: Exception | None,
    ) -> None:
        keeper._outbox.extendleft(reversed(connection.take_pending()))
        sound(keeper, connection, error)

    return patched(SessionKeeper, "lost", lost)


def _no_gap() -> AbstractContextManager[None]:
    """Nobody is told that persistent watches may have missed something."""

    def gap(_sound: Callable[..., None], *_args: Any, **_kwargs: Any) -> None:
        pass

    return patched(WatchTable, "gap", gap)


def _lose_event() -> AbstractContextManager[None]:
    """One-shot watches on children are not told every time."""

    def fire(
        sound: Callable[..., None], table: WatchTable, kind: EventType, path: bytes, zxid: int
    ) -> None:
        if kind is not EventType.CHILDREN or zxid % 4:
            sound(table, kind, path, zxid)

    return patched(WatchTable, "fire", fire)


def _keep_watch() -> AbstractContextManager[None]:
    """A watch that nobody wants any more stays on the server."""

    def forget(_sound: Callable[..., None], *_args: Any) -> None:
        pass

    return patched(SessionKeeper, "_forget", forget)


RECIPE_BUGS: Mapping[str, Bug] = {
    "resend silently": _resend_silently,
    "no gap": _no_gap,
    "lose an event": _lose_event,
    "keep a watch": _keep_watch,
}
