"""The partitioner: no partition has two owners, and in the end each has one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from kraal.client import Client
from kraal.recipes import Partitioner
from kraal.sim.scenarios.guard import Grant, Guard
from kraal.sim.scenarios.trouble import TROUBLE
from kraal.sim.scenarios.workers import TOP
from kraal.sim.trial import Scenario
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PROMISE = "every partition has one owner"
PATH = f"{TOP}/partitions"
NAMES = ("a", "b/c", "d", "e", "f")


class Partitions(Scenario):
    """Members come and go, and work on what is theirs."""

    progress_due = 1

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._guards = {name: Guard(world) for name in NAMES}
        self._owned: dict[Actor, frozenset[str]] = {}

    async def work(self, app: Actor) -> None:
        async with self.connect(app) as zk:
            while not self.is_calm:
                await self._take_part_for(app.random.uniform(0, 4), app, zk)
            async with app.beside(self._take_part(app, zk)):
                while not self.is_over:
                    await asyncio.sleep(0.1)
                await self.rest(app)

    async def _take_part_for(self, seconds: float, app: Actor, zk: Client) -> None:
        with suppress(TimeoutError, *TROUBLE):
            async with asyncio.timeout(seconds):
                await self._take_part(app, zk)

    async def _take_part(self, app: Actor, zk: Client) -> None:
        grants: dict[str, Grant] = {}
        settle_s = app.random.choice((0.0, 0.0, 0.2))
        try:
            async with Partitioner(zk, PATH, NAMES, app.name, settle=settle_s) as partitioner:
                async for allocation in partitioner:
                    await asyncio.sleep(app.random.uniform(0, 0.1))  # until work has stopped
                    for name in list(grants):
                        if grants[name].held is not allocation.held.get(name):
                            self._guards[name].leave(grants.pop(name))
                    for name, held in allocation.held.items():
                        if name not in grants:
                            grants[name] = self._guards[name].enter(app, held)
                    self._owned[app] = allocation.owned
                    if allocation.is_settled:
                        self.got_on(app)
        finally:
            self._owned.pop(app, None)
            for name, grant in grants.items():
                self._guards[name].leave(grant)

    def at_rest(self) -> None:
        shares = [names for app, names in self._owned.items() if app.is_up]
        owned = sorted(name for names in shares for name in names)
        if owned != sorted(NAMES):
            violated(PROMISE, "%s", {app.name: sorted(names) for app, names in self._owned.items()})
