"""Applications with tasks that use a recipe again and again."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from kraal.client import Client
from kraal.recipes import LostError
from kraal.sim.scenarios.trouble import TROUBLE
from kraal.sim.trial import Scenario
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor

TOP = "/recipes"
"""Everything of recipes is below this."""
ANEW = 0.3
"""How likely it is, again and again, that an application begins with another client."""
IMPATIENT = 0.25
"""Share of attempts that are given up after a while."""


class Workers(Scenario):
    """Each application has one client and some tasks; what fails is tried again.

    Sometimes everything is cancelled, the client closed, and another one made.
    """

    path: ClassVar[str] = f"{TOP}/one"
    tasks: ClassVar[tuple[int, ...]] = (1, 1, 2)
    pause_s: ClassVar[float] = 0.1
    """Between two attempts of a task, at most."""
    patience_s: ClassVar[float] = 0.5
    """After which time, at most, an impatient one gives up."""

    async def work(self, app: Actor) -> None:
        while not self.is_calm and app.random.random() < ANEW:
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(app.random.uniform(0, 4)),
                    self.connect(app) as zk,
                ):
                    await self._work_with(app, zk)
        async with self.connect(app) as zk:
            await self._work_with(app, zk)
            await self.rest(app)

    async def _work_with(self, app: Actor, zk: Client) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(app.random.choice(self.tasks)):
                group.create_task(self._act_often(app, zk))

    async def _act_often(self, app: Actor, zk: Client) -> None:
        random = app.random
        while not self.is_over:
            is_impatient = random.random() < IMPATIENT
            patience_s = random.uniform(0, self.patience_s) if is_impatient else None
            try:
                async with asyncio.timeout(patience_s):
                    await self.act(app, zk)
            except (TimeoutError, LostError, *TROUBLE):
                pass
            await asyncio.sleep(random.uniform(0, self.pause_s))

    @abstractmethod
    async def act(self, app: Actor, zk: Client) -> None:
        """Use the recipe once; `got_on` when that succeeded."""

    def at_rest(self) -> None:
        """Nobody does or waits for anything any more: nothing of that is left."""
        top = self.server_path(TOP)
        ephemerals = self.world.history.tree.ephemerals
        left = [path for paths in ephemerals.values() for path in paths if path.startswith(top)]
        if left:
            violated("nothing is left behind", "%s", left)
        self.check_watches()
