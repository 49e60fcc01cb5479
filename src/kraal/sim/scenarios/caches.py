"""Caches: they converge, and what they call a snapshot was so at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kraal.client import Client, Node
from kraal.model.zxid import show
from kraal.recipes import ChangeKind, ChildrenCache, NodeCache, TreeCache
from kraal.sim.scenarios.trouble import REFUSED, TROUBLE
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PROMISE = "a cache shows what is there"
MOMENT = "a snapshot was so at one moment"
ROOT = f"{TOP}/cached"
PATHS = (
    ROOT,
    *(f"{ROOT}/{name}" for name in "abc"),
    *(f"{ROOT}/{parent}/{name}" for parent in "ab" for name in "xy"),
)
Found = dict[str, tuple[bytes, int]]
"""By path, data and mzxid."""


class Caches(Workers):
    """Some write, and all keep copies: of a tree, of children, of a znode."""

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._serial = 0
        self._kept: list[Copy] = []

    async def work(self, app: Actor) -> None:
        async with self.connect(app) as zk:
            kind = app.random.choice((TreeCache, TreeCache, ChildrenCache, NodeCache))
            async with kind(zk, ROOT) as cache:
                copy = Copy(app, cache)
                self._kept.append(copy)
                async with app.beside(copy.follow()):
                    while not self.is_over:
                        await self._act_once(app, zk, copy)
                    await self.rest(app)

    async def _act_once(self, app: Actor, zk: Client, copy: Copy) -> None:
        patience_s = app.random.uniform(0, 0.5) if app.random.random() < 0.2 else None
        try:
            async with asyncio.timeout(patience_s):
                if app.random.random() < 0.2:
                    await self._look(copy)
                else:
                    await self._write(app, zk)
            self.got_on(app)
        except REFUSED:
            self.got_on(app)
        except (TimeoutError, *TROUBLE):
            pass
        await asyncio.sleep(app.random.uniform(0, 0.15))

    async def act(self, app: Actor, zk: Client) -> None:
        raise NotImplementedError

    async def _write(self, app: Actor, zk: Client) -> None:
        path, action = app.random.choice(PATHS), app.random.random()
        self._serial += 1
        data = b"%d" % self._serial
        if action < 0.4:
            await zk.set(path, data)
        elif action < 0.6:
            await zk.delete(path)
        elif action < 0.9:
            await zk.create(path, data, make_parents=True)
        else:
            async with zk.transaction() as transaction:
                transaction.set(ROOT, data)
                transaction.create(f"{ROOT}/{app.random.choice('abc')}", data)

    async def _look(self, copy: Copy) -> None:
        """Take a snapshot, or one that has everything written before."""
        since = 0
        if copy.app.random.random() < 0.5:
            since = self.world.shown_zxid
            await copy.cache.sync()
            found = copy.found()
            if not copy.cache.is_consistent:
                return  # something newer has come to its notice
        else:
            found = _found(await copy.cache.snapshot())
        history = self.world.history
        since = max([since, *(mzxid for _, mzxid in found.values())])
        known = {path: self.server_path(path) for path in PATHS if copy.has(path)}
        moments = [since, *(zxid for zxid, _, _ in history.events_after(since))]
        for zxid in moments:
            truth: Found = {}
            for path, wire in known.items():
                version = history.at(zxid, wire)
                if version is not None:
                    truth[path] = (version.data or b"", version.mzxid)
            if truth == found:
                return
        violated(MOMENT, "%s: %s, from %s to %s", copy, found, show(since), show(history.tip))

    def at_rest(self) -> None:
        history = self.world.history
        truth: Found = {}
        for path in PATHS:
            version = history.at(history.tip, self.server_path(path))
            if version is not None:
                truth[path] = (version.data or b"", version.mzxid)
        for copy in self._kept:
            if copy.app.is_up:
                expected = {path: node for path, node in truth.items() if copy.has(path)}
                if copy.found() != expected:
                    violated(PROMISE, "%s has %s instead of %s", copy, copy.found(), expected)
                if _found(copy.seen) != expected:
                    violated(PROMISE, "the reader of %s has %s instead of %s",
                             copy, _found(copy.seen), expected)  # fmt: skip


class Copy:
    """A cache, and what a reader of its changes knows."""

    def __init__(self, app: Actor, cache: TreeCache) -> None:
        self.app = app
        self.cache = cache
        self.seen: dict[str, Node] = {}

    def __str__(self) -> str:
        return f"the {type(self.cache).__name__} of {self.app.name}"

    def has(self, path: str) -> bool:
        """Whether this path belongs to it."""
        depth = path.count("/") - ROOT.count("/")
        limits = {NodeCache: 0, ChildrenCache: 1}
        return depth <= limits.get(type(self.cache), 100)

    def found(self) -> Found:
        """All that it has now."""
        return _found({path: node for path in self.cache if (node := self.cache.get(path))})

    async def follow(self) -> None:
        """Apply changes to what was seen before."""
        async for change in self.cache.changes():
            before = self.seen.pop(change.path, None)
            if before != change.previous and _edition(before) != _edition(change.previous):
                violated(PROMISE, "%s: %s where %s was seen", self, change, before)
            if (change.kind is ChangeKind.REMOVED) != (change.node is None):
                violated(PROMISE, "%s: %s", self, change)
            if change.node is not None:
                self.seen[change.path] = change.node


def _edition(node: Node | None) -> tuple[int, int] | None:
    return node and (node.stat.czxid, node.stat.mzxid)


def _found(nodes: Mapping[str, Node]) -> Found:
    return {path: (node.data, node.stat.mzxid) for path, node in nodes.items()}
