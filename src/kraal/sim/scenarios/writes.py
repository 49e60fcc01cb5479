"""The client's operations: writes at most once, in their order; reads that never go back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from kraal.client import Client, CreateMode, NoNodeError, SessionState, Stat
from kraal.model.zxid import show
from kraal.sim.scenarios.ledger import Ledger
from kraal.sim.scenarios.trouble import REFUSED, TROUBLE
from kraal.sim.trial import TIMEOUTS_S, Scenario
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.checks.history import Version
    from kraal.sim.stage import Actor, Stage

READS = "reads never go back"
PARENT = "/writes"
NAMES = ("a", "b", "c")
MODES = (
    CreateMode.PERSISTENT,
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.CONTAINER,
)
IMPATIENT = 0.15
"""Share of operations that are cancelled if they do not end at once."""


class Writes(Scenario):
    """Several tasks of each application work on the same few znodes."""

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._ledger = Ledger(world)
        self._kept: dict[bytes, bool] = {}
        """What protected creations wrote, and whether that is to be there at the end."""

    async def work(self, app: Actor) -> None:
        zk = app.connect(
            self.chroot,
            session_timeout=app.random.choice(TIMEOUTS_S),
            request_timeout=app.random.choice((None, None, 0.3)),
            while_disconnected=app.random.choice(("wait", "wait", "fail")),
        )
        _SessionWatch(self.world, zk)
        async with zk:
            while not self.is_over:
                try:
                    await zk.ensure_path(PARENT)
                    break
                except TROUBLE:
                    await asyncio.sleep(0.1)
            async with asyncio.TaskGroup() as group:
                for _ in range(app.random.randint(1, 3)):
                    group.create_task(self._act(app, zk))
            await self.rest(app)  # what failed in doubt is cleaned up meanwhile

    async def _act(self, app: Actor, zk: Client) -> None:
        random = app.random
        acts = (self._create, self._set, self._delete, self._burst,
                self._get, self._children, self._exists, self._sync)  # fmt: skip
        while not self.is_over:
            act: Callable[[Actor, Client], Awaitable[None]] = random.choice(acts)
            patience_s = random.uniform(0, 0.05) if random.random() < IMPATIENT else None
            try:
                async with asyncio.timeout(patience_s):
                    await act(app, zk)
                self.got_on(app)
            except REFUSED:
                self.got_on(app)
            except (*TROUBLE, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(0, 0.1))

    def _path(self, app: Actor) -> str:
        return f"{PARENT}/{app.random.choice(NAMES)}"

    # Writes

    async def _create(self, app: Actor, zk: Client) -> None:
        data, mode = self._ledger.data(), app.random.choice(MODES)
        if app.random.random() < 0.5:
            await self._ledger.judge(data, zk.create(self._path(app), data, mode=mode))
            return
        created = await self._ledger.judge(
            data, zk.create_with_stat(self._path(app), data, mode=mode)
        )
        self._happened(app, data, created.stat.czxid)

    async def _set(self, app: Actor, zk: Client) -> None:
        path, version, data = self._path(app), -1, self._ledger.data()
        if app.random.random() < 0.5:
            version = (await self._read(app, zk, path))[1].version
        stat = await self._ledger.judge(data, zk.set(path, data, version=version))
        self._happened(app, data, stat.mzxid)

    async def _delete(self, app: Actor, zk: Client) -> None:
        path = self._path(app)
        if app.random.random() < 0.5:
            names = await zk.get_children(PARENT)
            path = f"{PARENT}/{app.random.choice(sorted(names))}" if names else path
        await zk.delete(path)

    async def _transaction(self, app: Actor, zk: Client) -> None:
        path, first, second = self._path(app), self._ledger.data(), self._ledger.data()
        transaction = zk.transaction()
        transaction.create(path, first)
        transaction.set(path, second)
        if app.random.random() < 0.3:
            transaction.delete(path)
        commit = self._ledger.judge(second, transaction.commit())
        await self._ledger.judge(first, commit)

    async def _burst(self, app: Actor, zk: Client) -> None:
        """Writes that are submitted one after the other happen in that order."""
        path = f"{PARENT}/burst-"
        batch = [self._ledger.data() for _ in range(app.random.randint(2, 6))]
        outcomes = await asyncio.gather(
            *(
                self._ledger.judge(
                    data,
                    zk.create_with_stat(path, data, mode=CreateMode.PERSISTENT_SEQUENTIAL),
                )
                for data in batch
            ),
            return_exceptions=True,
        )
        created = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        zxids = [each.stat.czxid for each in created]
        if zxids != sorted(zxids):
            violated("writes are in their order", "%s: %s", app.name, list(map(show, zxids)))
        for each in created:
            await zk.delete(each.path)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _protected(self, app: Actor, zk: Client) -> None:
        """Created once in spite of lost connections, or not left behind."""
        data = self._ledger.data()
        self._kept[data] = False
        created = await self._ledger.judge(
            data,
            zk.create_protected(
                f"{PARENT}/protected-", data, mode=CreateMode.PERSISTENT_SEQUENTIAL
            ),
        )
        self._happened(app, data, created.stat.czxid)
        self._kept[data] = True

    def _happened(self, app: Actor, data: bytes, zxid: int) -> None:
        if zxid not in self.world.history.txns:
            violated("what succeeds is committed", "%s: %s as %s", app.name, data, show(zxid))

    # Reads

    async def _read(self, app: Actor, zk: Client, path: str) -> tuple[bytes, Stat]:
        seen = zk.last_zxid
        try:
            data, stat = await zk.get(path)
        except NoNodeError:
            self._judge(app, path, seen, lambda version: version is None)
            raise
        self._judge(
            app, path, seen,
            lambda version: version is not None
            and (version.data or b"", Stat.unpack(version.stat)) == (data, stat),
        )  # fmt: skip
        return data, stat

    async def _get(self, app: Actor, zk: Client) -> None:
        await self._read(app, zk, self._path(app))

    async def _exists(self, app: Actor, zk: Client) -> None:
        path, seen = self._path(app), zk.last_zxid
        stat = await zk.exists(path)
        self._judge(
            app, path, seen,
            lambda version: (None if version is None else Stat.unpack(version.stat)) == stat,
        )  # fmt: skip

    async def _children(self, app: Actor, zk: Client) -> None:
        seen = zk.last_zxid
        names = await zk.get_children(PARENT)
        prefix = self.server_path(PARENT) + b"/"
        children = frozenset(prefix + name.encode() for name in names)
        self._judge(
            app, PARENT, seen,
            lambda version: version is not None and version.children == children,
        )  # fmt: skip

    async def _sync(self, _app: Actor, zk: Client) -> None:
        await zk.sync(PARENT)

    def _judge(
        self, app: Actor, path: str, seen: int, fits: Callable[[Version | None], bool]
    ) -> None:
        """What was read was so at some time since the newest state that this client knew."""
        versions: Sequence[Version | None] = self.world.history.since(seen, self.server_path(path))
        if not any(map(fits, versions)):
            violated(READS, "%s read of %s what was not so after %s", app.name, path, show(seen))

    # The end

    def finish(self) -> None:
        self._ledger.compare()
        tree = self.world.history.tree
        there = {node.data for node in tree.nodes.values()}
        dead = any(not app.is_up for app in self.world.applications)
        for data, is_kept in self._kept.items():
            if is_kept and data not in there:
                violated("what was created stays", "%s is not there", data.decode())
            if not is_kept and data in there and not dead:
                violated("nothing is left behind", "%s failed and is there", data.decode())


class _SessionWatch:
    """A client says that its session is over only when it is."""

    def __init__(self, world: Stage, zk: Client) -> None:
        self._world, self._zk = world, zk
        self._session_id = 0
        self._zxid = 0
        zk.on_state(self._changed)

    def _changed(self, state: SessionState) -> None:
        zk = self._zk
        if state is SessionState.CONNECTED:
            self._session_id = zk.session_id
        is_expired = state is SessionState.EXPIRED
        if is_expired and not self._world.is_session_ending(self._session_id):
            violated("no session ends too early", "0x%x was given up", self._session_id)
        if zk.last_zxid < self._zxid:
            violated(READS, "%s is behind %s", show(zk.last_zxid), show(self._zxid))
        self._zxid = zk.last_zxid
