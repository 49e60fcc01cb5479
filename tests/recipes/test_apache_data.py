"""Queues, groups, caches and what rests on them, on Apache ZooKeeper."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import kraal
from kraal.recipes import (
    BlockIds,
    Config,
    Counter,
    DelayQueue,
    DoubleBarrier,
    Edition,
    GroupMember,
    LockingQueue,
    Partitioner,
    Queue,
    SequenceIds,
    ServiceInstance,
    ServiceRegistry,
    TreeCache,
)
from tests.recipes.conftest import PATIENCE_SECONDS, background_ends
from tests.support import servers

pytestmark = pytest.mark.apache


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    servers.require_reference()
    directory = tmp_path_factory.mktemp("recipes")
    with servers.apache(directory, settings={"tickTime": 200}) as running:
        yield f"{servers.HOST}:{running.port}"


@dataclass(frozen=True)
class Pair:
    left: int = 0
    right: int = 0


async def test_values_and_queues(hosts: str, path: str) -> None:
    async with kraal.connect(hosts) as zk, kraal.connect(hosts) as other:
        counters = [Counter(client, f"{path}/counter") for client in (zk, other)]
        await asyncio.gather(*(counters[n % 2].add(1) for n in range(20)))
        assert await counters[0].get() == 20
        assert await SequenceIds(zk, f"{path}/ids").next() == 0
        assert await SequenceIds(other, f"{path}/ids").next() == 1
        assert await BlockIds(zk, f"{path}/blocks", 5).reserve() == range(5)
        getting = asyncio.create_task(Queue(other, f"{path}/queue").get())
        await Queue(zk, f"{path}/queue").put(b"x")
        assert await getting == b"x"
        delayed = DelayQueue(zk, f"{path}/delayed")
        await delayed.put(b"y", 0.05)
        assert await delayed.get() == b"y"
        work = LockingQueue(zk, f"{path}/work")
        await work.put_all([b"1", b"2"])
        async with work.item() as item, LockingQueue(other, f"{path}/work").item() as second:
            assert (item.data, second.data) == (b"1", b"2")
        assert await work.size() == 0
        await background_ends()


async def test_groups(hosts: str, path: str) -> None:
    async with kraal.connect(hosts) as zk, kraal.connect(hosts) as other:
        barriers = [DoubleBarrier(client, f"{path}/barrier", 2) for client in (zk, other)]
        for number in (1, 2):
            assert await asyncio.gather(*(each.enter() for each in barriers)) == [number] * 2
            await asyncio.gather(*(each.leave() for each in barriers))
        async with GroupMember(zk, f"{path}/group", "a", b"1") as member:
            assert await member.members() == {"a": b"1"}
        names = ["x", "y"]
        async with (
            Partitioner(zk, f"{path}/parts", names) as first,
            Partitioner(other, f"{path}/parts", names) as second,
        ):
            owned: list[set[str]] = [set(), set()]

            async def follow(index: int, partitioner: Partitioner) -> None:
                async for allocation in partitioner:
                    owned[index] = set(allocation.owned)

            following = [
                asyncio.create_task(follow(n, each)) for n, each in enumerate((first, second))
            ]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while sorted(map(len, owned)) != [1, 1] or owned[0] == owned[1]:
                    await asyncio.sleep(0.01)
        await asyncio.gather(*following)
        await background_ends()


async def test_caches_and_what_rests_on_them(hosts: str, path: str) -> None:
    async with kraal.connect(hosts) as zk, kraal.connect(hosts) as other:
        async with TreeCache(zk, f"{path}/tree") as cache:
            for number in range(30):
                await other.create(f"{path}/tree/{number}", b"1", make_parents=True)
                async with other.transaction() as transaction:
                    transaction.set(f"{path}/tree/{number}", b"2")
                    transaction.set(f"{path}/tree", b"%d" % number)
            await cache.sync()
            assert len(await cache.snapshot()) == 31
            await other.delete_recursive(f"{path}/tree")
            await cache.sync()
            assert len(cache) == 0
        async with Config(zk, f"{path}/config", Pair, default=Pair()) as config:
            changes = config.changes()
            assert await anext(changes) == Edition(Pair(), 0)
            await Config(other, f"{path}/config", Pair).publish(Pair(1, 2))
            assert await anext(changes) == Edition(Pair(1, 2), 1)
        async with ServiceRegistry[None](zk, f"{path}/services") as registry:
            await registry.register(ServiceInstance("mail", "1", "127.0.0.1", 25))
            async with ServiceRegistry[None](other, f"{path}/services").provider("mail") as mail:
                await mail.wait_available()
                assert mail.pick().port == 25
        await background_ends()
