"""Queues: no item is lost or comes twice beyond what is said of it, and none too early."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from kraal.client import Client, ConnectionLossError, SessionState
from kraal.recipes import DelayQueue, Item, ItemInDoubtError, LockingQueue, PriorityQueue, Queue
from kraal.sim.scenarios.guard import Guard, created
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.scheduler import MS
from kraal.sim.violation import violated
from kraal.wire.records.txn import DeleteTxn, MultiTxn, Txn

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

LOST = "no item is lost"
TWICE = "no item comes twice"
ORDER = "items come in their order"
EARLY = "no item comes too early"
PATIENCE_S = 0.5
"""How long a consumer waits for an item."""
SETTLING_US = 200_000
"""What was on its way when the faults ended, or a connection, is done by then: its reply may be
lost already."""
REPEATED = 0.2
"""Share of items that are put again when the reply is lost."""


class Things:
    """What was put and what came out, by data."""

    def __init__(self) -> None:
        self.put: dict[bytes, bool] = {}
        """Whether putting has succeeded."""
        self.may_repeat: set[bytes] = set()
        self.came: Counter[bytes] = Counter()
        self.in_doubt: set[bytes] = set()
        """What may have been removed by those who were not told."""
        self.not_before_us: dict[bytes, int] = {}

    def new(self) -> bytes:
        """Data of one more item."""
        data = b"item %d" % len(self.put)
        self.put[data] = False
        return data


class Queues(Workers):
    """Everybody puts and takes; what is taken is gone from the queue before."""

    path = f"{TOP}/queue"
    tasks = (2, 3)
    pause_s = 0.3
    patience_s = 0.05

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self.things = Things()
        self._removed: dict[bytes, tuple[int, int]] = {}
        """By data, who deleted the item last, and when."""
        self._back: set[bytes] = set()
        """Znodes that were put back."""
        self._seen: set[bytes] = set()
        self._sessions: dict[int, Actor] = {}
        self._lost_us: dict[Actor, int] = {}
        """When an application last lost its connection."""
        self._fickle: set[Actor] = set()
        """Those who have given up waiting at least once."""
        self.world.history.before.append(self._committing)

    async def _work_with(self, app: Actor, zk: Client) -> None:
        def learn(state: SessionState) -> None:
            if state.is_connected:  # an item may be removed in a session that no call has ended in
                self._sessions[zk.session_id] = app
            elif not state.is_final:
                self._lost_us[app] = self.world.now_us

        learn(zk.state)
        zk.on_state(learn)
        await super()._work_with(app, zk)

    async def act(self, app: Actor, zk: Client) -> None:
        try:
            if app.random.random() < 0.5:
                await self.put(app, zk)
            else:
                await self._get(app, zk)
        except asyncio.CancelledError:
            self._fickle.add(app)
            raise
        self.got_on(app)

    async def put(self, app: Actor, zk: Client) -> None:
        """Put one item, or a few."""
        repeat = app.random.random() < REPEATED
        batch = [self.things.new() for _ in range(app.random.choice((1, 1, 3)))]
        if repeat:
            self.things.may_repeat.update(batch)
        try:
            await self.put_all(app, zk, batch, repeat=repeat)
        except ConnectionLossError as error:
            if not error.sent:
                for data in batch:
                    del self.things.put[data]
            raise
        self.things.put.update(dict.fromkeys(batch, True))

    async def put_all(self, _app: Actor, zk: Client, batch: list[bytes], *, repeat: bool) -> None:
        """Put several items."""
        await Queue(zk, self.path).put_all(batch, repeat=repeat)

    async def get(self, _app: Actor, zk: Client) -> bytes:
        """Take one item."""
        return await Queue(zk, self.path).get()

    async def _get(self, app: Actor, zk: Client) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                data = await self.get(app, zk)
        except ItemInDoubtError as error:
            self.things.in_doubt.add(error.data)
            return
        except TimeoutError:
            self._fickle.add(app)
            return
        self.things.came[data] += 1
        if data not in self.things.put:
            violated(TWICE, "%s gets %s, which nobody has put", app.name, data)
        if self.things.came[data] > 1 and data not in self.things.may_repeat:
            violated(TWICE, "%s gets %s, which was taken already", app.name, data)

    # What really happens

    def is_item(self, path: bytes) -> bool:
        """Whether this znode is an item."""
        return path.rpartition(b"/")[0] == self.server_path(self.path)

    def _committing(self, txn: Txn) -> None:
        nodes = self.world.history.tree.nodes
        for path in created(txn):
            if self.is_item(path):
                if path in self._seen:
                    self._back.add(path)
                self._seen.add(path)
        for path in deleted(txn):
            node = nodes.get(path)
            if self.is_item(path) and node is not None:
                self._removed[node.data or b""] = txn.client_id, self.world.now_us
                self.removing(path)

    def removing(self, path: bytes) -> None:
        """An item goes: those before it are gone, or were put back."""
        parent = self.world.history.tree.nodes[path.rpartition(b"/")[0]]
        rank, number = path[:-10], path[-10:]
        for other in parent.children or ():
            if other[:-10] == rank and other[-10:] < number and other not in self._back:
                violated(ORDER, "%s goes, and %s is there", path, other)

    # The end

    def at_rest(self) -> None:
        self.check_watches()
        things = self.things
        there = {
            node.data
            for path, node in self.world.history.tree.nodes.items()
            if self.is_item(path) and node.data
        }
        for data, is_put in things.put.items():
            if is_put and data not in there and not things.came[data]:
                self._judge_loss(data)
        unknown = there - set(things.put)
        if unknown:
            violated(TWICE, "%s are there, and were not put", unknown)

    def _judge_loss(self, data: bytes) -> None:
        """An item is gone and nobody has it: only some may have removed it."""
        if data in self.things.in_doubt:
            return
        session_id, removed_us = self._removed.get(data, (0, 0))
        app = self._sessions.get(session_id)
        if app is None:
            violated(LOST, "%s is nowhere", data)
        # Who has given up puts it back, unless that is in doubt or the client is closed at once.
        is_open = session_id in self.world.history.tree.sessions
        troubled_us = max(self.calm_us, self._lost_us.get(app, 0))
        may_give_back = is_open and removed_us > troubled_us + SETTLING_US
        if app.is_up and (app not in self._fickle or may_give_back):
            violated(LOST, "%s was removed by %s, which does not have it", data, app.name)


class PriorityQueues(Queues):
    """The same by priority."""

    path = f"{TOP}/priority-queue"

    async def put_all(self, app: Actor, zk: Client, batch: list[bytes], *, repeat: bool) -> None:
        await PriorityQueue(zk, self.path).put_all(batch, app.random.randrange(3), repeat=repeat)

    async def get(self, _app: Actor, zk: Client) -> bytes:
        return await PriorityQueue(zk, self.path).get()


class DelayQueues(Queues):
    """Items that are not to be had before their time; all clocks run alike."""

    path = f"{TOP}/delay-queue"
    true_clocks = True

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._queues: dict[Client, DelayQueue] = {}

    async def put_all(self, app: Actor, zk: Client, batch: list[bytes], *, repeat: bool) -> None:
        for data in batch[1:]:
            del self.things.put[data]
        del batch[1:]
        delay_s = app.random.choice((0.0, 0.1, 1.0))
        self.things.not_before_us[batch[0]] = app.now_us + int(delay_s * 1e6)
        await self._queue(zk).put(batch[0], delay_s, repeat=repeat)

    async def get(self, app: Actor, zk: Client) -> bytes:
        data = await self._queue(zk).get()
        early_ms = (self.things.not_before_us[data] - app.now_us) / MS
        if early_ms > 0:
            violated(EARLY, "%s gets %s %.1f ms too early", app.name, data, early_ms)
        return data

    def _queue(self, zk: Client) -> DelayQueue:
        """One for each client: it knows the leader's clock for a while."""
        return self._queues.setdefault(zk, DelayQueue(zk, self.path))

    def removing(self, path: bytes) -> None:
        """Items of the same moment only have an order."""


class LockingQueues(Workers):
    """Items are held by one consumer at a time, until one has consumed them."""

    path = f"{TOP}/locking-queue"
    tasks = (2, 3)
    pause_s = 0.4

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self.things = Things()
        self._guards: dict[bytes, Guard] = {}

    async def act(self, app: Actor, zk: Client) -> None:
        queue = LockingQueue(zk, self.path)
        if app.random.random() < 0.5:
            data = self.things.new()
            try:
                await queue.put(data, app.random.randrange(3))
            except ConnectionLossError as error:
                if not error.sent:
                    del self.things.put[data]
                raise
            self.things.put[data] = True
        else:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    item = await queue.take()
            except TimeoutError:
                return
            await self._consume(app, item)
        self.got_on(app)

    async def _consume(self, app: Actor, item: Item) -> None:
        data = item.data
        guard = self._guards.setdefault(data, Guard(self.world))
        grant = guard.enter(app, item)
        if self.things.came[data] and grant.gone_us is None:
            violated(TWICE, "%s gets %s, which was consumed already", app.name, data)
        try:
            await asyncio.sleep(app.random.uniform(0, 0.2))
            guard.use(grant)
            if app.random.random() < 0.2:
                return
            self.things.in_doubt.add(data)
            guard.leave(grant)
            await item.consume()
            self.things.came[data] += 1
            if self.things.came[data] > 1:
                violated(TWICE, "%s consumes %s, which was consumed already", app.name, data)
        finally:
            guard.leave(grant)
            await item.release()

    def at_rest(self) -> None:
        super().at_rest()
        top = self.server_path(f"{self.path}/entries/")
        nodes = self.world.history.tree.nodes
        there = {node.data for path, node in nodes.items() if path.startswith(top)}
        for data, is_put in self.things.put.items():
            is_gone = data not in there and data not in self.things.in_doubt
            if is_put and is_gone and not self.things.came[data]:
                violated(LOST, "%s is nowhere", data)
            if data in there and self.things.came[data]:
                violated(TWICE, "%s was consumed and is there", data)


def deleted(txn: Txn) -> list[bytes]:
    """The znodes that a transaction deletes."""
    bodies = [txn.body]
    if isinstance(txn.body, MultiTxn):
        bodies = [] if txn.body.failed else [body for _, body in txn.body.ops]
    return [body.path or b"/" for body in bodies if isinstance(body, DeleteTxn)]
