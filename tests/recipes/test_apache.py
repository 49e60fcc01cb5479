"""The locks on Apache ZooKeeper: the same promises, and nothing left behind there either."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import kraal
from kraal.recipes import Lease, Lock, ReadWriteLock, Semaphore
from tests.recipes.conftest import background_ends, turns, until_contenders
from tests.support import servers
from tests.support.servers import HOST, Server

pytestmark = pytest.mark.apache


@pytest.fixture(scope="module")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    servers.require_reference()
    with servers.apache(tmp_path_factory.mktemp("apache")) as running:
        yield running


async def watch_count(server: Server) -> int:
    answer = await asyncio.to_thread(servers.four_letter_word, server.port, "mntr")
    return int(answer.partition("zk_watch_count\t")[2].partition("\n")[0])


async def test_locks_in_order_and_nothing_is_left(apache: Server, path: str) -> None:
    order: list[int] = []

    async def enter(lock: Lock, number: int) -> None:
        async with lock:
            order.append(number)
            await turns(2)

    hosts = f"{HOST}:{apache.port}"
    async with kraal.connect(hosts) as zk, kraal.connect(hosts) as other:
        async with asyncio.TaskGroup() as group, Lock(zk, path):
            for number in range(5):
                group.create_task(enter(Lock((zk, other)[number % 2], path), number))
                await until_contenders(zk, path, 2 * number + 4)
        assert order == list(range(5))
        for steps in range(0, 30, 3):
            async with Lock(zk, path), Semaphore(zk, f"{path}-s", 1):
                waits = [
                    asyncio.create_task(Lock(other, path).acquire()),
                    asyncio.create_task(ReadWriteLock(other, path).read.acquire()),
                    asyncio.create_task(Semaphore(other, f"{path}-s", 1).acquire()),
                ]
                for _ in range(steps):
                    await asyncio.sleep(0.0003)
                for wait in waits:
                    wait.cancel()
                await asyncio.wait(waits)
        await until_contenders(zk, path, 0)
        await until_contenders(zk, f"{path}-s/leases", 0)
        await until_contenders(zk, f"{path}-s/locks", 0)
        async with asyncio.timeout(20):
            while await watch_count(apache):
                await asyncio.sleep(0.01)
    await background_ends()


async def test_a_downgrade_and_a_lease(apache: Server, path: str) -> None:
    async with kraal.connect(f"{HOST}:{apache.port}") as zk:
        lock = ReadWriteLock(zk, path)
        async with lock.write as held:
            await lock.downgrade(held)
            assert held.is_sure
            reader = await asyncio.create_task(lock.read.acquire())
            await reader.release()
        lease = await Lease(zk, f"{path}-l", 60.0, "a").obtain()
        assert lease is not None
        assert await Lease(zk, f"{path}-l", 60.0, "b").obtain() is None
        await lease.renew()
        await lease.release()
    await background_ends()
