"""Bugs on purpose in the client and its recipes: what the scenarios must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from kraal.client.connection import Connection
from kraal.client.session import SessionKeeper
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


RECIPE_BUGS: Mapping[str, Bug] = {
    "resend silently": _resend_silently,
}
