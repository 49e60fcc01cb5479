"""Counters and shared values: every change once, and none overwritten."""

from __future__ import annotations

from collections import Counter as Counts
from typing import TYPE_CHECKING

from kraal.client import Client, ConnectionLossError
from kraal.recipes import Counter, SharedValue
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PROMISE = "each change is made once"


class Counters(Workers):
    """Everybody adds one."""

    pause_s = 0.4

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._in_doubt = 0
        self._results: set[int] = set()

    async def act(self, app: Actor, zk: Client) -> None:
        counter = Counter(zk, self.path)
        self._in_doubt += 1
        try:
            value = await counter.add(1)
        except ConnectionLossError as error:
            self._in_doubt -= not error.sent
            raise
        self._in_doubt -= 1
        if value in self._results:
            violated(PROMISE, "two additions made %d", value)
        self._results.add(value)
        self.got_on(app)

    def finish(self) -> None:
        node = self.world.history.tree.nodes.get(self.server_path(self.path))
        value = int((node and node.data) or b"0")
        sure = len(self._results)
        if not sure <= value <= sure + self._in_doubt:
            violated(PROMISE, "%d additions, %d in doubt, made %d", sure, self._in_doubt, value)


class SharedValues(Workers):
    """Everybody appends something of their own."""

    path = f"{TOP}/value"
    pause_s = 0.4

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._made: dict[bytes, bool] = {}
        """Whether each change has succeeded."""

    async def act(self, app: Actor, zk: Client) -> None:
        value = SharedValue(zk, self.path)
        mark = b"%d," % len(self._made)
        self._made[mark] = False
        if app.random.random() < 0.5:
            await value.update(lambda data: data + mark)
            self._made[mark] = True
        else:
            now = await value.get()
            version = await value.compare_and_set(now.version, now.data + mark)
            self._made[mark] = version is not None
            if version is None:
                self._made.pop(mark)
                self._made[mark + b"refused"] = False
        self.got_on(app)

    def finish(self) -> None:
        node = self.world.history.tree.nodes.get(self.server_path(self.path))
        marks = [mark + b"," for mark in ((node and node.data) or b"").split(b",")[:-1]]
        twice = [mark for mark, times in Counts(marks).items() if times > 1]
        if twice:
            violated(PROMISE, "%s are made twice", twice)
        for mark, is_made in self._made.items():
            if is_made and mark not in marks:
                violated(PROMISE, "%s is lost", mark)
        if not set(marks) <= set(self._made):
            violated(PROMISE, "%s were refused and made", set(marks) - set(self._made))
