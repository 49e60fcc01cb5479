"""Barriers: who passes might, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from kraal.client import Client
from kraal.recipes import Barrier, DoubleBarrier
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.violation import violated
from kraal.wire.records.data import Stat

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PROMISE = "a barrier opens when it may"


class Barriers(Workers):
    """Some close and open the way, others wait."""

    path = f"{TOP}/barrier"
    tasks = (2, 3)

    async def act(self, app: Actor, zk: Client) -> None:
        barrier = Barrier(zk, self.path)
        if app.random.random() < 0.5:
            await barrier.create()
            await asyncio.sleep(app.random.uniform(0, 0.3))
            await barrier.remove()
        else:
            seen = zk.last_zxid
            await self._wait(barrier)
            states = self.world.history.since(seen, self.server_path(self.path))
            closed = {Stat.unpack(state.stat).czxid for state in states if state is not None}
            if None not in states and len(closed) == 1:
                violated(PROMISE, "%s passes one that is closed", app.name)
        self.got_on(app)

    async def _wait(self, barrier: Barrier) -> None:
        """Wait; who closed the way may be dead, so that somebody else has to open it."""
        while True:
            try:
                async with asyncio.timeout(2):
                    await barrier.wait()
                return
            except TimeoutError:
                await barrier.remove()


class DoubleBarriers(Workers):
    """Two at a time begin and end together."""

    path = f"{TOP}/double-barrier"
    count = 2

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._inside: dict[int, list[Visit]] = {}
        """By round, who is in it and has not begun to leave."""

    async def act(self, app: Actor, zk: Client) -> None:
        barrier = DoubleBarrier(zk, self.path, self.count, app.name)
        async with asyncio.timeout(3):  # company may fail to appear
            number = await barrier.enter()
        visit = Visit(app, zk)
        self._enter(number, visit)
        try:
            await asyncio.sleep(app.random.uniform(0, 0.3))
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await barrier.leave()  # without waiting for the others
            raise
        finally:
            self._inside[number].remove(visit)
        await barrier.leave()
        still = [other for other in self._inside[number] if other.is_there]
        if still and visit.is_there:
            violated(PROMISE, "%s has left round %d, %s has not", app.name, number, still[0])
        self.got_on(app)

    def _enter(self, number: int, visit: Visit) -> None:
        inside = self._inside.setdefault(number, [])
        inside.append(visit)
        if not visit.is_there:
            return
        if sum(other.is_there for other in inside) > self.count:
            violated(PROMISE, "more than %d are in round %d", self.count, number)
        for earlier, visits in self._inside.items():
            still = [other for other in visits if other.is_there]
            if earlier < number and still:
                violated(PROMISE, "%s is in round %d, %s in round %d",
                         visit, number, still[0], earlier)  # fmt: skip


class Visit:
    """Somebody's stay in a round."""

    def __init__(self, app: Actor, zk: Client) -> None:
        self._app = app
        self._session_id = zk.session_id

    def __str__(self) -> str:
        return self._app.name

    @property
    def is_there(self) -> bool:
        """Whether its session lives: who is dead is not waited for."""
        sessions = self._app.world.history.tree.sessions
        return self._app.is_up and self._session_id in sessions
