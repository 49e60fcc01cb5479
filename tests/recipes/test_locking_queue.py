"""The locking queue: an item is worked on until it is done, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from kazoo.client import KazooClient

from kraal.client import Client
from kraal.recipes import LockingQueue, LostError
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, turns, until, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_items_are_held_consumed_and_given_back(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        queue, others = LockingQueue(zk, path), LockingQueue(other, path)
        await queue.put_all([b"1", b"2"])
        await queue.put(b"0", 5)
        first = await queue.take()
        assert first.data == b"0"
        second = await others.take()
        assert second.data == b"1"
        await first.release()
        again = await others.take()
        assert again.data == b"0" and again.token > first.token
        await again.consume()
        assert not again.lost.is_set()
        await again.consume()  # is done already
        await second.consume()
        assert await queue.size() == 1
        with pytest.raises(KeyError):
            async with queue.item() as item:
                raise KeyError(item.data)
        async with queue.item() as item:
            assert item.data == b"2"
            assert await queue.take_nowait() is None
        with pytest.raises(LostError, match="released"):
            item.check()
        assert await queue.size() == 0
        await until_clean(server, zk, f"{path}/entries")
        await until_clean(server, zk, f"{path}/taken")


async def test_an_item_comes_back_when_its_consumer_dies(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        await LockingQueue(zk, path).put(b"x")
        item = await LockingQueue(zk, path).take()
        waiting = asyncio.create_task(LockingQueue(other, path).take())
        await turns(50)
        assert not waiting.done()
        server.expire(zk.session_id)
        again = await waiting
        assert again.data == b"x"
        await until(item.lost.is_set)
        with pytest.raises(LostError):
            await item.consume()
        await item.release()
        again.check()
        await again.consume()


async def test_kazoo_shares_the_queue(server: Server, connect: Connector, path: str) -> None:
    client = KazooClient(hosts=server.hosts)
    await asyncio.to_thread(client.start)
    try:
        async with connect() as zk:
            theirs, ours = client.LockingQueue(path), LockingQueue(zk, path)
            await asyncio.to_thread(theirs.put, b"1")
            await ours.put(b"2")
            assert await asyncio.to_thread(theirs.get, 5) == b"1"
            async with ours.item() as item:
                assert item.data == b"2"
                other = client.LockingQueue(path)
                assert await asyncio.to_thread(other.get, 0.05) is None
            assert await asyncio.to_thread(theirs.release)
            async with ours.item() as item:
                assert item.data == b"1"
            assert await ours.size() == 0
    finally:
        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.close)


@pytest.mark.parametrize("count", range(0, 60, 3))
async def test_a_take_that_is_cancelled_holds_nothing(
    server: Server, connect: Connector, path: str, count: int
) -> None:
    async with connect() as zk:
        queue = LockingQueue(zk, path)
        await queue.put(b"1")
        taking = asyncio.create_task(queue.take())
        await turns(count)
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await (await taking).release()
        await background_ends()
        async with queue.item() as item:
            assert item.data == b"1"
        await until_clean(server, zk, f"{path}/taken")


@pytest.mark.parametrize("seed", range(3))
async def test_under_faults_every_item_is_done(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    """Done at least once, and never by two holders who both could consume it."""
    consumed: list[bytes] = []
    begun: set[bytes] = set()

    async def work(zk: Client) -> None:
        queue = LockingQueue(zk, path)
        while await queue.size():
            try:
                async with asyncio.timeout(0.05), queue.item() as item:
                    begun.add(item.data)
                    await turns(rng.randrange(10))
                consumed.append(item.data)
            except (LostError, TimeoutError):
                pass

    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        items = [b"%d" % number for number in range(40)]
        await LockingQueue(zk, path).put_all(items)
        async with trouble(server, proxy, [zk, other], seed) as rng:
            async with asyncio.timeout(60):
                await asyncio.gather(work(zk), work(other))
        assert begun == set(items)
        assert len(consumed) == len(set(consumed))
        await background_ends()
        await until_clean(server, zk, f"{path}/taken")
