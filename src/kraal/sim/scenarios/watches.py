"""The client's watches: each event once, none lost in silence, and none left on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kraal.client import (
    Client,
    CreateMode,
    EventType,
    NoNodeError,
    NoWatcherError,
    WatchEvent,
)
from kraal.model.zxid import show
from kraal.sim.scenarios.trouble import REFUSED, TROUBLE
from kraal.sim.trial import Scenario
from kraal.sim.violation import violated
from kraal.tree.data_tree import EventType as Change

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

T = TypeVar("T")
PROMISE = "a watch tells what it was asked for"
ROOT = "/watched"
PARENTS = tuple(f"{ROOT}/{name}" for name in "abcd")
PATHS = (ROOT, *PARENTS, *(f"{parent}/{name}" for parent in PARENTS for name in "xy"))
IMPATIENT = 0.15
FICKLE = 0.5
"""Share of copies that are given up after a while, and begun anew."""
LIMITS = (1, 3, 1024)
MIRRORS = 2


class Watches(Scenario):
    """Some tasks write, others watch once, and others keep a copy of what they watch."""

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._serial = 0

    async def work(self, app: Actor) -> None:
        zk = self.connect(app)
        shots: list[Shot] = []
        mirrors = [
            Mirror(app, zk, app.random.choice(PATHS), recursive=app.random.random() < 0.5)
            for _ in range(MIRRORS)
        ]
        async with zk:
            tasks = [asyncio.create_task(self._mirror(mirror)) for mirror in mirrors]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(app, zk))
                group.create_task(self._shoot(app, zk, shots))
                group.create_task(self._shoot(app, zk, shots))
            await self.rest(app)
            for shot in shots:
                shot.finish()
            for mirror, task in zip(mirrors, tasks, strict=True):
                if task.done():
                    task.result()
                self._compare(mirror)
                task.cancel()
            await asyncio.wait(tasks)
            await self._let_go(app, zk, shots)
            for shot in shots:
                shot.is_closing = True

    # Writing

    async def _write(self, app: Actor, zk: Client) -> None:
        while not self.is_over:
            path, action = app.random.choice(PATHS), app.random.random()
            self._serial += 1
            data = b"%d" % self._serial
            try:
                if action < 0.45:
                    await zk.set(path, data)
                elif action < 0.65:
                    await zk.delete(path)
                else:
                    mode = CreateMode.EPHEMERAL if action > 0.9 else CreateMode.PERSISTENT
                    await zk.create(path, data, mode=mode, make_parents=mode == 0)
                self.got_on(app)
            except TROUBLE:
                continue
            except REFUSED:
                self.got_on(app)
            await asyncio.sleep(app.random.uniform(0, 0.3))

    # Once

    async def _shoot(self, app: Actor, zk: Client, shots: list[Shot]) -> None:
        random = app.random
        while not self.is_over:
            path, patience_s = random.choice(PATHS), None
            if random.random() < IMPATIENT:
                patience_s = random.uniform(0, 0.05)
            kind = random.choice(("get", "exists", "children"))
            shot = Shot(self, app, zk, kind, path)
            shots.append(shot)
            try:
                async with asyncio.timeout(patience_s):
                    newest = await shot.ask()
                self._judge(shots, path, newest)
            except (*TROUBLE, TimeoutError, NoNodeError):
                shot.is_void = not shot.events  # it may have fired in the turn that ended it
            await asyncio.sleep(random.uniform(0, 0.3))

    def _judge(self, shots: list[Shot], path: str, newest: int) -> None:
        """Nobody sees a change before a watch has told of it."""
        for shot in shots:
            if shot.path == path and shot.kind != "children" and not shot.is_done:
                missed = [zxid for zxid in shot.changes() if zxid <= newest]
                if missed:
                    violated(PROMISE, "%s has read %s before its event", shot, show(missed[0]))

    async def _let_go(self, app: Actor, zk: Client, shots: list[Shot]) -> None:
        """When nobody here watches any more, no server does for us."""
        for path in sorted({shot.path for shot in shots if not shot.is_done}):
            while True:
                try:
                    await zk.remove_watches(path)
                except TROUBLE:
                    continue
                except NoWatcherError:
                    pass
                break
        await asyncio.sleep(1)
        for session_id, left in self.world.watches_left():
            if session_id == zk.session_id:
                violated("no watch is left", "%s: %s", app.name, left)

    # Copies

    async def _mirror(self, mirror: Mirror) -> None:
        """Keep a copy, and sometimes give up and begin anew."""
        random = mirror.app.random
        while True:
            is_fickle = not self.is_calm and random.random() < FICKLE
            patience_s = random.uniform(0, 3) if is_fickle else None
            try:
                async with asyncio.timeout(patience_s):
                    await mirror.follow(random.choice(LIMITS))
            except (*TROUBLE, TimeoutError):
                continue

    def _compare(self, mirror: Mirror) -> None:
        top = self.server_path(mirror.path)
        tree = self.world.history.tree
        expected = {
            path: node.data or b""
            for path, node in tree.nodes.items()
            if path == top or (mirror.recursive and path.startswith(top + b"/"))
        }
        found = {self.server_path(path): data for path, data in mirror.data.items()}
        if found != expected:
            violated(PROMISE, "%s has %s instead of %s", mirror, found, expected)
        if not mirror.recursive and top in expected:
            node = tree.nodes[top]
            names = {child.rpartition(b"/")[2].decode() for child in node.children or ()}
            if mirror.names != names:
                violated(PROMISE, "%s has %s instead of %s", mirror, mirror.names, names)


class Shot:
    """A watch that is to fire once."""

    def __init__(self, scenario: Scenario, app: Actor, zk: Client, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        self.events: list[WatchEvent] = []
        self.is_void = False
        """Whether it never came to be."""
        self.is_closing = False
        self._world = scenario.world
        self._app = app
        self._zk = zk
        self._wire = scenario.server_path(path)
        self._after = 0
        """What the client had seen before."""
        self._tip = 0
        """What was committed when the answer came: any later change is told."""
        self._is_missing = False
        """Whether it waits for a creation: one that was undone while the client was not connected
        is not told (reference/client-protocol.md section 8.7)."""
        self._session_id = 0

    def __str__(self) -> str:
        return f"{self._app.name}: the watch of {self.kind} on {self.path}"

    @property
    def is_done(self) -> bool:
        return self.is_void or bool(self.events)

    async def ask(self) -> int:
        """Read, and leave the watch; returns the zxid of what was read."""
        zk = self._zk
        self._after = zk.last_zxid
        newest = 0
        if self.kind == "get":
            newest = (await zk.get(self.path, watch=self.told)).stat.mzxid
        elif self.kind == "exists":
            stat = await zk.exists(self.path, watch=self.told)
            newest = 0 if stat is None else stat.mzxid
            self._is_missing = stat is None
        else:
            await zk.get_children(self.path, watch=self.told)
        self._session_id = zk.session_id
        self._tip = self._world.history.tip
        return newest

    def told(self, event: WatchEvent) -> None:
        """The callback."""
        if self.is_done:
            violated(PROMISE, "%s fires again or for nothing: %s", self, event)
        self.events.append(event)
        if event.path != self.path:
            violated(PROMISE, "%s gets %s", self, event)
        if event.type is EventType.SESSION_LOST:
            self._check_loss()
            return
        kinds = (EventType.CREATED, EventType.DELETED, EventType.CHANGED)
        if self.kind == "children":
            kinds = (EventType.CHILDREN, EventType.DELETED, EventType.CHILD_WATCH_REMOVED)
        elif event.type is EventType.DATA_WATCH_REMOVED:
            return
        if event.type not in kinds:
            violated(PROMISE, "%s gets %s", self, event)
        if event.zxid > 0:
            self._check_zxid(event)

    def _check_loss(self) -> None:
        if not self._session_id or self.is_closing:
            return
        if not self._world.is_session_ending(self._session_id):
            violated(PROMISE, "%s is lost with a session that lives", self)

    def _check_zxid(self, event: WatchEvent) -> None:
        if event.zxid <= self._after:
            violated(PROMISE, "%s gets %s, which was known", self, event)
        if event.zxid not in self._changes(0):
            violated(PROMISE, "%s gets %s, which did not happen", self, event)
        earlier = [zxid for zxid in self.changes() if zxid < event.zxid]
        if earlier and not self._is_missing:
            violated(PROMISE, "%s gets %s and not %s", self, event, show(earlier[0]))

    def changes(self) -> list[int]:
        """The zxids of what it has to tell the first of, once it is there."""
        return self._changes(self._tip) if self._tip else []

    def _changes(self, after: int) -> list[int]:
        history, found = self._world.history, []
        for zxid, kind, path in history.events_after(after):
            is_about = path == self._wire
            if self.kind == "children":
                is_below = path.rpartition(b"/")[0] == self._wire
                is_about = kind is Change.NODE_DELETED if is_about else (
                    is_below and kind is not Change.NODE_DATA_CHANGED
                )  # fmt: skip
            if is_about:
                found.append(zxid)
        return found

    def finish(self) -> None:
        """Everything is quiet: if there was a change it was told."""
        is_there = self._wire in self._world.history.tree.nodes
        if not self.is_done and self.changes() and (is_there or not self._is_missing):
            violated(PROMISE, "%s was not told %s", self, show(self.changes()[0]))


class Mirror:
    """A copy of a znode, or of a subtree, that follows a stream of events."""

    def __init__(self, app: Actor, zk: Client, path: str, *, recursive: bool) -> None:
        self.app = app
        self.path = path
        self.recursive = recursive
        self.data: dict[str, bytes] = {}
        self.names: set[str] = set()
        """Of the children, unless recursive."""
        self._zk = zk

    def __str__(self) -> str:
        kind = "tree" if self.recursive else "copy"
        return f"{self.app.name}: the {kind} of {self.path}"

    async def follow(self, limit: int) -> None:
        """Read everything, and then what the events say."""
        async with self._zk.watch(self.path, recursive=self.recursive, limit=limit) as events:
            await self._read_all()
            async for event in events:
                if event.type is EventType.GAP:
                    await self._read_all()
                elif self.recursive:
                    await self._read(event.path)
                else:
                    await self._read_all()

    async def _read_all(self) -> None:
        self.data.clear()
        left = [self.path]
        while left:
            path = left.pop()
            await self._read(path)
            names = await self._patiently(partial(self._names, path))
            if self.recursive:
                left += [f"{path}/{name}" for name in names]
            else:
                self.names = set(names)

    async def _names(self, path: str) -> list[str]:
        try:
            return await self._zk.get_children(path)
        except NoNodeError:
            return []

    async def _read(self, path: str) -> None:
        data = await self._patiently(partial(self._get, path))
        if data is None:
            self.data.pop(path, None)
        else:
            self.data[path] = data

    async def _get(self, path: str) -> bytes | None:
        try:
            return (await self._zk.get(path)).data
        except NoNodeError:
            return None

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await read()
            except TROUBLE:
                continue
