"""What a server refuses for now, without executing it: recipes wait until it is not refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from random import Random

import pytest

import kraal
from kraal.client import (
    Acl,
    BadArgumentsError,
    Client,
    NoAuthError,
    NotReadOnlyError,
    Perms,
    SessionState,
    ThrottledError,
)
from kraal.model.config import ServerConfig, StorageConfig
from kraal.recipes import (
    Barrier,
    Config,
    Counter,
    DelayQueue,
    GroupMember,
    KeyValue,
    LeaderLatch,
    Lease,
    Lock,
    LockingQueue,
    Partitioner,
    Party,
    PersistentNode,
    Queue,
    Semaphore,
    SequenceIds,
    ServiceInstance,
    ServiceRegistry,
)
from kraal.server.server import Server
from kraal.storage.memory import MemoryFileSystem
from kraal.testing import Ensemble
from kraal.testing.remote import expire
from tests.recipes.conftest import PATIENCE_SECONDS, Connector, background_ends, until
from tests.support.servers import HOST

ROOM = 1 << 40
REFUSED = "refused for now"


class SmallDisk:
    """A server whose disk gets full and empty again."""

    def __init__(self, port: int, fs: MemoryFileSystem) -> None:
        self.port = port
        self._fs = fs

    async def fill(self, zk: Client) -> None:
        """Return once a write of the client itself is refused, at once."""
        self._fs.room_bytes = 1 << 10
        with pytest.raises(ThrottledError):
            while True:
                await zk.set("/", b"")
                await asyncio.sleep(0.001)

    def empty(self) -> None:
        self._fs.room_bytes = ROOM

    async def expire(self, zk: Client) -> None:
        """End the client's session, and wait for its next one."""
        session_id = zk.session_id
        assert await expire(HOST, self.port, session_id)
        await until(lambda: zk.session_id not in (0, session_id) and zk.state.is_connected)


@pytest.fixture
async def disk() -> AsyncIterator[SmallDisk]:
    fs = MemoryFileSystem(Random(1))
    fs.room_bytes = ROOM
    directory = PurePath("/data")
    config = ServerConfig(
        storage=StorageConfig(data_dir=directory, data_log_dir=directory),
        client_port=0,
        client_host=HOST,
    )
    server = Server(config, fs=fs, owns_process=False)
    ready = asyncio.Event()
    running = asyncio.create_task(server.run(ready))
    await ready.wait()
    yield SmallDisk(server.listener.bound_port, fs)
    server.stop()
    assert await running == 0


@asynccontextmanager
async def connected(disk: SmallDisk) -> AsyncIterator[Client]:
    async with kraal.connect(f"{HOST}:{disk.port}", session_timeout=40) as zk:
        yield zk
    await background_ends()


async def test_what_works_in_the_background_outlasts_a_full_disk(disk: SmallDisk) -> None:
    async with connected(disk) as zk, AsyncExitStack() as stack:
        node = await stack.enter_async_context(PersistentNode(zk, "/hosts/1", b"up"))
        party = await stack.enter_async_context(Party(zk, "/party", "host-1"))
        member = await stack.enter_async_context(GroupMember(zk, "/group", "host-1", b"up"))
        latch = await stack.enter_async_context(LeaderLatch(zk, "/leaders", "host-1"))
        registry = await stack.enter_async_context(ServiceRegistry[None](zk, "/services"))
        registration = await registry.register(ServiceInstance("mail", "1", "host-1"))
        partitioner = await stack.enter_async_context(Partitioner(zk, "/jobs", ["a", "b"]))
        allocations = aiter(partitioner)
        while not (await anext(allocations)).is_settled:
            pass
        first = (await latch.wait_leading()).token
        await node.ready()

        await disk.fill(zk)
        await disk.expire(zk)
        leading = asyncio.create_task(latch.wait_leading())
        busy = asyncio.create_task(node.set_data(b"busy"))
        assert (await anext(allocations)).revoked == {"a", "b"}
        assert not (await anext(allocations)).owned
        everybody = (node.is_present, party.is_member, member.is_member, registration.is_announced)
        assert not any(everybody) and not latch.is_leading

        disk.empty()
        await busy
        assert (await leading).token > first
        while not (allocation := await anext(allocations)).is_settled:
            pass
        assert allocation.owned == {"a", "b"}
        await until(lambda: party.is_member and member.is_member and registration.is_announced)
        assert await zk.get_children("/services/mail") == ["1"]
        assert (await zk.get("/hosts/1")).data == b"busy"
        assert await party.members() == ["host-1"]
        assert await member.members() == {"host-1": b"up"}


@dataclass(frozen=True)
class Settings:
    workers: int = 1


async def test_who_writes_waits_for_room_and_does_it_once(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(disk) as zk:
        counter, queue, jobs = Counter(zk, "/count", 0), Queue(zk, "/queue"), Queue(zk, "/jobs")
        store, ids, later = (
            KeyValue(zk, "/store"),
            SequenceIds(zk, "/ids"),
            DelayQueue(zk, "/later"),
        )
        orders, config = LockingQueue(zk, "/orders"), Config(zk, "/config", Settings)
        barrier, lease = Barrier(zk, "/barrier"), Lease(zk, "/lease", 60.0, "host-1")
        await jobs.put(b"job")
        await orders.put(b"order")
        await counter.add(1)
        await store.set("key", b"0")

        await disk.fill(zk)
        caplog.clear()
        lock = asyncio.create_task(Lock(zk, "/lock").acquire())
        place = asyncio.create_task(Semaphore(zk, "/semaphore", 2).acquire())
        held = asyncio.create_task(lease.obtain())
        order = asyncio.create_task(orders.take())
        others = [
            asyncio.create_task(each)
            for each in (
                counter.add(1), queue.put(b"item"), store.compare_and_set("key", b"1", 0),
                ids.next(), later.put(b"item", 0), config.publish(Settings(2)), barrier.create(),
            )
        ]  # fmt: skip
        tasks = [lock, place, held, order, *others]
        await until(lambda: caplog.text.count(REFUSED) >= len(tasks))
        assert await jobs.get() == b"job", "deletions go on"
        assert not any(task.done() for task in tasks)

        disk.empty()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*tasks)
            assert await counter.get() == 2
            assert await queue.size() == 1
            assert await later.get() == b"item"
            assert await store.get("key") == (b"1", 1)
            assert (await held) is not None
            await (await order).consume()
            await (await lock).release()
            await (await place).release()


async def test_a_wait_for_room_can_be_cancelled_and_ends_with_its_client(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(disk) as zk:
        await Counter(zk, "/count", 0).add(1)
        await disk.fill(zk)
        lock = Lock(zk, "/lock")
        waiting = asyncio.create_task(lock.acquire())
        adding = asyncio.create_task(Counter(zk, "/count", 0).add(1))
        await until(lambda: caplog.text.count(REFUSED) == 2)
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert waiting.cancelled()
    with pytest.raises(kraal.client.ClosedError):
        await adding
    disk.empty()
    async with connected(disk) as zk:
        assert await lock_names(zk) == []
        assert await Counter(zk, "/count", 0).get() == 1


async def lock_names(zk: Client) -> list[str]:
    stat = await zk.exists("/lock")
    return [] if stat is None else await zk.get_children("/lock")


async def test_recipes_wait_for_a_server_that_can_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Ensemble(3, settings={"readonlymode.enabled": "true"}) as ensemble:
        killed = [ensemble.leader(), ensemble.followers()[0]]
        for each in killed:
            ensemble.kill(each)
        async with kraal.connect(ensemble.hosts, read_only=True, session_timeout=10) as zk:
            assert zk.state is SessionState.CONNECTED_READ_ONLY
            with pytest.raises(NotReadOnlyError):
                await zk.create("/one-shot")
            async with PersistentNode(zk, "/hosts/1") as node, LeaderLatch(zk, "/leaders") as latch:
                lock = asyncio.create_task(Lock(zk, "/lock").acquire())
                put = asyncio.create_task(Queue(zk, "/queue").put(b"item", repeat=True))
                got = asyncio.create_task(Queue(zk, "/queue").get())
                await until(lambda: caplog.text.count(REFUSED) == 4)
                await asyncio.gather(*(asyncio.to_thread(ensemble.start, each) for each in killed))
                await zk.wait_connected(read_write=True)
                await asyncio.gather(lock, put, node.ready(), latch.wait_leading())
                assert await got == b"item"
                (await lock).check()
    await background_ends()


# What is refused for good


READ_AND_DELETE = [Acl(Perms.READ | Perms.DELETE, "world", "anyone")]
TOO_MUCH = b"x" * (1 << 20)


async def test_a_partitioner_that_may_be_no_member_gives_up_all_and_raises(
    connect: Connector, path: str
) -> None:
    async with connect() as zk, Partitioner(zk, path, ["a", "b"]) as partitioner:
        while not (allocation := await anext(partitioner)).is_settled:
            pass
        members = f"{path}/members"
        await zk.set_acl(members, READ_AND_DELETE)
        (me,) = await zk.get_children(members)
        await zk.delete(f"{members}/{me}")
        await until(lambda: not partitioner.is_running)
        assert not partitioner.allocation.is_settled
        await until(lambda: all(held.lost.is_set() for held in allocation.held.values()))
        for _ in range(2):
            with pytest.raises(NoAuthError):
                await anext(partitioner)
        for name in ("a", "b"):
            while await zk.get_children(f"{path}/owners/{name}"):
                await asyncio.sleep(0.001)


async def test_who_may_not_come_back_is_told_so(connect: Connector, path: str) -> None:
    async with (
        connect() as zk,
        GroupMember(zk, path, "me") as member,
        LeaderLatch(zk, f"{path}-leaders") as latch,
        ServiceRegistry[None](zk, f"{path}-services") as registry,
    ):
        registration = await registry.register(ServiceInstance("mail", "me", "host-1"))
        leadership = await latch.wait_leading()
        for znode in (leadership.path, f"{path}/me", f"{path}-services/mail/me"):
            await zk.set_acl(znode.rpartition("/")[0], READ_AND_DELETE)
            await zk.delete(znode)
        await leadership.lost.wait()
        with pytest.raises(NoAuthError):
            await latch.wait_leading()
        await until(lambda: not member.is_member and not registration.is_announced)
        for refused in (member.join(), member.set_data(b""), registration.set_enabled(False)):
            with pytest.raises(NoAuthError):
                await refused
        assert not latch.is_running
        await zk.delete(path)
        await member.join()
        assert await member.members() == {"me": b""}


async def test_what_is_too_long_is_refused_and_the_old_stays(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with (
            PersistentNode(zk, f"{path}/node", b"up") as node,
            GroupMember(zk, f"{path}/group", "me", b"up") as member,
            ServiceRegistry[str](zk, f"{path}/services") as registry,
        ):
            small = ServiceInstance("mail", "me", "host-1", payload="small")
            large = replace(small, payload=TOO_MUCH.decode())
            registration = await registry.register(small)
            await node.ready()
            for refused in (
                node.set_data(TOO_MUCH), member.set_data(TOO_MUCH), registration.update(large),
                registry.register(large),
            ):  # fmt: skip
                with pytest.raises(BadArgumentsError):
                    await refused
            assert node.is_present and member.is_member and registration.is_announced
            assert await registry.instances("mail") == [
                replace(small, registered=(await registry.instances("mail"))[0].registered)
            ]
            assert registration.instance == small
            await registration.set_enabled(False)
            await node.set_data(b"busy")
            assert (await zk.get(f"{path}/node")).data == b"busy"
        with pytest.raises(BadArgumentsError):
            PersistentNode(zk, path, TOO_MUCH)
