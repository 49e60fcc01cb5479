"""A queue whose items are not to be had before their time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from kraal.client import Acl, Client, NoNodeError, Stat
from kraal.recipes._arguments import check_seconds
from kraal.recipes._background import patiently
from kraal.recipes._conditional import ensure
from kraal.recipes._wakeups import Wakeups
from kraal.recipes.queues import ENTRY, Entry, EntryQueue

LONGEST_SECONDS = 1e11
"""The time at which an item is due has 15 digits of milliseconds in its name."""
CLOCK_LIFE_SECONDS = 60.0
"""After this time the servers' clock is read again."""


class DelayQueue(EntryQueue):
    """Items that can be taken when their delay is over, earliest first::

        queue = DelayQueue(zk, "/queues/retries")
        await queue.put(b"...", delay=30.0)
        data = await queue.get()        # half a minute later

    The clock is that of the ensemble's leader, as the modification times of a znode tell it;
    clients' clocks need not agree. An item is not taken before its delay has passed by that
    clock, counted from the moment at which it was put; if the leader changes, the difference of
    the two leaders' clocks comes in. Otherwise as `EntryQueue`.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        super().__init__(zk, path, acl=acl)
        self._clock = _LeaderClock(zk, path)

    async def put(self, data: bytes, delay: float, *, repeat: bool = False) -> None:
        """Add an item that can be taken after `delay` seconds."""
        check_seconds("delay", delay, LONGEST_SECONDS)
        await self._ensure()
        # The latest that it can be now, so that the delay is never cut short.
        due = round((await self._clock.latest() + delay) * 1000) + 1
        await self._put(f"{ENTRY}{due:015d}-", [data], repeat=repeat)

    async def _available(self) -> list[Entry]:
        entries = await self._entries()
        if not entries:
            return []
        now = await self._clock.earliest()
        return [entry for entry in entries if entry.rank <= now * 1000]

    async def _pause(self, wakeups: Wakeups) -> None:
        entries = await self._entries()
        if not entries:
            await wakeups.next()
            return
        wait = max(0.001, entries[0].rank / 1000 - await self._clock.earliest())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await wakeups.next()


class _LeaderClock:
    """What time it is for the leader, within the time that a request takes."""

    def __init__(self, zk: Client, path: str) -> None:
        self._zk = zk
        self._path = path
        self._time = 0.0
        """By the leader's clock, in seconds since 1970, at some moment between these two."""
        self._began = 0.0
        self._ended = float("-inf")

    async def earliest(self) -> float:
        """It is at least that late."""
        await self._read_if_old()
        return self._time + asyncio.get_running_loop().time() - self._ended

    async def latest(self) -> float:
        """It is at most that late."""
        await self._read_if_old()
        return self._time + asyncio.get_running_loop().time() - self._began

    async def _read_if_old(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._ended < CLOCK_LIFE_SECONDS:
            return
        began = 0.0

        async def write() -> Stat:
            nonlocal began
            began = loop.time()
            return await self._zk.set(self._path, b"")

        while True:
            try:
                stat = await patiently(self._zk, write)
            except NoNodeError:
                await ensure(self._zk, self._path)
                continue
            self._time, self._began, self._ended = stat.mtime / 1000, began, loop.time()
            return
