"""The time within which requests must be answered: `connect(request_timeout=…)`."""

from __future__ import annotations

import asyncio
from collections import deque

from kraal.client.connection import AnyRequest
from kraal.client.errors import ConnectionLossError, RequestTimeoutError


class Deadlines:
    """Fails requests of one client that have had their time; one timer for all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # All requests have the same time, so the oldest is always the next one due.
        self._due: deque[tuple[float, AnyRequest]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def note(self, request: AnyRequest) -> None:
        """The time of a request begins."""
        loop, due = asyncio.get_running_loop(), self._due
        while due and due[0][1].future.done():
            due.popleft()
        due.append((loop.time() + self._seconds, request))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._check, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now, due = loop.time(), self._due
        while due and (due[0][0] <= now or due[0][1].future.done()):
            _, request = due.popleft()
            if request.sent:
                request.fail(RequestTimeoutError(path=request.path))
            else:
                why = f"no connection within {self._seconds:g} s"
                request.fail(ConnectionLossError(why, path=request.path, sent=False))
        self._timer = loop.call_at(due[0][0], self._check, loop) if due else None
