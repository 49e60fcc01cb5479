"""Pings at a third of the session timeout, and the watch on a server that has gone silent.

A ping is due whether or not there is other traffic, so that silence always means something. A
server that has not been heard of for two thirds of the timeout is given up, as the Java client
does, which leaves a third to find another one. A loop that was blocked is not taken for a silent
server: what the server sent meanwhile has not been read yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("kraal.client")


class Beating(Protocol):
    """The connection that is kept alive."""

    heard: float

    def ping(self) -> None: ...


class Heartbeat:
    """The timer of one connection; `stop` ends it."""

    def __init__(
        self, connection: Beating, timeout: float, on_silence: Callable[[float], None]
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._ping_at = self._loop.time() + timeout / 3
        self._timer = self._loop.call_at(self._ping_at, self._beat, self._ping_at)

    def stop(self) -> None:
        self._timer.cancel()

    def _beat(self, due: float) -> None:
        now, third = self._loop.time(), self._timeout / 3
        connection = self._connection
        if now - due > third:
            logger.warning(
                "the event loop was blocked for %.3f s; the session ends after %.3f s without a "
                "sign of life",
                now - due,
                self._timeout,
            )
            connection.heard = max(connection.heard, now - third)
        silence = now - connection.heard
        if silence >= 2 * third:
            self._on_silence(silence)
            return
        if now >= self._ping_at:
            connection.ping()
            self._ping_at = now + third
        due = min(self._ping_at, connection.heard + 2 * third)
        self._timer = self._loop.call_at(due, self._beat, due)
