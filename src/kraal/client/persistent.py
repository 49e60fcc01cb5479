"""Persistent watches: with a callback, or as a stream of events that is read in its own time.

The server does not repeat for them what a broken connection has swallowed
(reference/client-protocol.md section 8.7): an event of type GAP then says "read again".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from kraal.client.errors import ClosedError
from kraal.client.values import EventType, WatchCallback, WatchEvent

STREAM_EVENTS_MAX = 1024
"""Events that wait to be read; more of them collapse into one GAP."""

_LAST = (EventType.PERSISTENT_WATCH_REMOVED, EventType.SESSION_LOST)


class Watch:
    """A persistent watch that stays until `remove`, over connections and sessions."""

    def __init__(
        self,
        path: str,
        *,
        recursive: bool,
        callback: WatchCallback,
        withdraw: Callable[[], Awaitable[None]],
    ) -> None:
        self.path = path
        self.recursive = recursive
        self._callback = callback
        self._withdraw = withdraw

    def __call__(self, event: WatchEvent) -> None:
        self._callback(event)

    async def remove(self) -> None:
        """End the watch, here at once and on the server; a second time does nothing."""
        await self._withdraw()


class EventStream:
    """The events of one persistent watch, for one reader: `async with … as events`.

    No event is lost in silence: what a slow reader leaves lying collapses into a GAP. The stream
    ends when its watch is removed or its client closed. Read before it is entered it raises
    ClosedError.
    """

    def __init__(
        self, path: str, register: Callable[[WatchCallback], Awaitable[Watch]], limit: int
    ) -> None:
        if not isinstance(limit, int):
            raise TypeError(f"limit must be an int, not {limit!r:.100}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._path = path
        self._register = register
        self._limit = limit
        self._events: deque[WatchEvent] = deque()
        self._arrived = asyncio.Event()
        self._ended = False
        self._watch: Watch | None = None

    async def __aenter__(self) -> Self:
        if self._watch is not None:
            raise ClosedError("a stream of events is entered once")
        self._watch = await self._register(self._put)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        if self._watch is not None:
            await self._watch.remove()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            if self._watch is None:
                raise ClosedError("the stream of events was not started: use `async with`")
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    def _put(self, event: WatchEvent) -> None:
        if event.type in _LAST:
            self._end()
            return
        events = self._events
        if len(events) >= self._limit:
            event = WatchEvent(EventType.GAP, self._path, event.zxid)
            events.clear()
        elif event.type is EventType.GAP:
            events.clear()  # whatever they said has to be read again anyway
        events.append(event)
        self._arrived.set()

    def _end(self) -> None:
        self._ended = True
        self._arrived.set()
