"""What is long and has time is done in short turns of the loop, between what clients ask.

Snapshots, backups and long answers to operators are cut into portions of a fraction of a
millisecond. A portion has its turn once nothing comes in that the loop could do instead, so that
a client waits for the rest of one portion at most, however much there is to do. All of them
together have a small share of a loop that is never idle, so that each ends under any load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

TURN_SECONDS = 25e-6
"""A portion ends with the item that takes it over this time."""
SHARE = 0.1
"""Of the time of a loop that is never idle."""
LOOK_SECONDS = 0.001
"""How often it is looked for a turn while something is awaited."""
QUIET_LOOKS = 2
"""As often nothing must have come in: asyncio's own loop reads only in the second turn."""


class Turns:
    """The turns of one loop, first come, first served; not for other threads."""

    def __init__(self) -> None:
        self.inputs = 0
        """Counts what came in that shall not wait."""
        self.awaited = 0
        """What threads are about to be done with that shall not wait: they need the interpreter."""
        self._waiting: deque[Callable[[], object]] = deque()
        self._inputs_before = 0
        self._quiet_looks = 0
        self._due = 0.0
        """When there is a turn even though the loop is never idle."""

    def later(self, work: Callable[[], object]) -> None:
        """Call `work`, which shall be no longer than a turn, when it is its turn."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._due = max(self._due, perf_counter() + TURN_SECONDS / SHARE)
            self._begin_to_look()

    async def call(self, work: Callable[[], T]) -> T:
        """The result of `work`, which is done in a turn; raises what it raises."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.later(partial(_fulfil, future, work))
        return await future

    async def idle(self) -> None:
        """Wait for a turn; for short work that cannot be given to `call`, at a pace of its own."""
        await self.call(_nothing)

    def _begin_to_look(self) -> None:
        self._inputs_before = self.inputs
        self._quiet_looks = 0
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Whether there is still nothing else to do."""
        now = perf_counter()
        if self.inputs == self._inputs_before and not self.awaited:
            self._quiet_looks += 1
        else:
            self._inputs_before, self._quiet_looks = self.inputs, 0
        if self._quiet_looks < QUIET_LOOKS and now < self._due:
            loop = asyncio.get_running_loop()
            if self.awaited:
                loop.call_later(LOOK_SECONDS, self._look)
            else:
                loop.call_soon(self._look)
            return
        work = self._waiting[0]
        try:
            work()
        finally:
            self._waiting.popleft()
            ended = perf_counter()
            # What a look came late for is made up for, but not what nobody asked for.
            self._due = max(self._due, ended - LOOK_SECONDS) + (ended - now) / SHARE
            if self._waiting:
                self._begin_to_look()


def portion(items: Iterator[T], seconds: float = TURN_SECONDS) -> tuple[list[T], bool]:
    """What can be made in one turn, at least one item, and whether it is everything."""
    ends = perf_counter() + seconds
    made = []
    for item in items:
        made.append(item)
        if perf_counter() >= ends:
            return made, False
    return made, True


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns() -> Turns:
    """Those of the running loop, whose time all servers in it share."""
    loop = asyncio.get_running_loop()
    found = _of_loop.get(loop)
    if found is None:
        found = _of_loop[loop] = Turns()
    return found


def _nothing() -> None: ...


def _fulfil(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    if future.cancelled():
        return
    try:
        result = work()
    except Exception as error:  # for whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
