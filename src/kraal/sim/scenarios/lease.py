"""Leases: one holder at a time by the leader's clock, connected or not, living or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kraal.model.zxid import show
from kraal.recipes import Lease, LeaseHeld, LostError
from kraal.sim.scenarios.trouble import TROUBLE
from kraal.sim.trial import Scenario
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PATH = "/recipes/lease"
EXCLUSION = "holders exclude each other"
DURATIONS_S = (0.3, 1.0, 3.0)
IMPATIENT = 0.2


class Leases(Scenario):
    """Each application obtains, renews, and releases or forgets.

    The clocks of servers and applications run alike here, because what a lease promises rests on
    them.
    """

    true_clocks = True

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._terms: dict[LeaseHeld, Actor] = {}
        self._newest = 0

    async def work(self, app: Actor) -> None:
        duration = app.random.choice(DURATIONS_S)
        async with self.connect(app) as zk:
            while not self.is_over:
                patience_s = None
                if app.random.random() < IMPATIENT:
                    patience_s = app.random.uniform(0, 0.5)
                try:
                    async with asyncio.timeout(patience_s):
                        await self._try(app, Lease(zk, PATH, duration, app.name))
                except (TimeoutError, LostError, *TROUBLE):
                    pass
                await asyncio.sleep(app.random.uniform(0.05, 0.3))
            await self.rest(app)

    async def _try(self, app: Actor, lease: Lease) -> None:
        random = app.random
        held = await lease.obtain()
        if held is None:
            self.got_on(app)  # somebody has it, or a dead one's has yet to end
            return
        self._obtained(app, held)
        for _ in range(random.randint(0, 3)):
            await asyncio.sleep(random.uniform(0, lease.duration / 2))
            held.check()
            before = held.token
            await held.renew()
            if held.token <= before:
                violated(EXCLUSION, "%s renews %s as %s", app.name, show(before), show(held.token))
            self._newest = max(self._newest, held.token)
        if random.random() < 0.5:
            await held.release()
        self.got_on(app)

    def _obtained(self, app: Actor, held: LeaseHeld) -> None:
        for other, owner in list(self._terms.items()):
            if not owner.is_up or not other.is_sure or owner is app:
                del self._terms[other]
            elif held.is_sure:
                violated(EXCLUSION, "%s obtains what %s has for another %.3f s",
                         app.name, owner.name, other.remaining)  # fmt: skip
        if held.is_sure and held.token <= self._newest:
            violated(EXCLUSION, "%s obtains %s after %s",
                     app.name, show(held.token), show(self._newest))  # fmt: skip
        self._newest = max(self._newest, held.token)
        self._terms[held] = app
