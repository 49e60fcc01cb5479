"""Unique ids: none is given twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.client import Client
from kraal.recipes import BlockIds, SequenceIds
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PROMISE = "no id is given twice"
BLOCK = 3


class UniqueIds(Workers):
    """Numbers of a sequence, and numbers from blocks."""

    path = f"{TOP}/ids"
    pause_s = 0.3

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._given: dict[tuple[str, int], str] = {}
        self._blocks: dict[Client, BlockIds] = {}

    async def act(self, app: Actor, zk: Client) -> None:
        ids: SequenceIds | BlockIds
        if app.random.random() < 0.5:
            ids = SequenceIds(zk, f"{self.path}/sequence")
        else:
            ids = self._blocks.setdefault(zk, BlockIds(zk, f"{self.path}/blocks", BLOCK))
        number = await ids.next()
        key = ids.path, number
        if key in self._given:
            violated(PROMISE, "%s gets %d, as %s did", app.name, number, self._given[key])
        self._given[key] = app.name
        self.got_on(app)
