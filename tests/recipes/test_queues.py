"""Queues: order, nothing twice, nothing lost without a word."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from kazoo.client import KazooClient

from kraal.client import Client, ConnectionLossError, SessionExpiredError
from kraal.recipes import DelayQueue, ItemInDoubtError, PriorityQueue, Queue
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, turns, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_first_in_first_out(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        queue = Queue(zk, path)
        assert await queue.get_nowait() is None
        assert await queue.peek() is None
        await queue.put(b"1")
        await queue.put_all([b"2", b"3"])
        assert await queue.size() == 3
        assert await Queue(other, path).peek() == b"1"
        assert [await queue.get() for _ in range(3)] == [b"1", b"2", b"3"]
        waiting = asyncio.create_task(queue.get())
        await turns(30)
        await Queue(other, path).put(b"4")
        assert await waiting == b"4"
        await until_clean(server, zk, path)


async def test_it_is_read_item_by_item(connect: Connector, path: str) -> None:
    async with connect() as zk:
        queue = Queue(zk, path)
        await queue.put_all([b"1", b"2"])
        items = aiter(queue)
        assert [await anext(items) for _ in range(2)] == [b"1", b"2"]
        await items.aclose()


async def test_lower_priorities_come_first(connect: Connector, path: str) -> None:
    async with connect() as zk:
        queue = PriorityQueue(zk, path)
        await queue.put(b"usual")
        await queue.put_all([b"late 1", b"late 2"], 999)
        await queue.put(b"first", 0)
        expected = [b"first", b"usual", b"late 1", b"late 2"]
        assert [await queue.get() for _ in range(4)] == expected
        with pytest.raises(ValueError, match="priority"):
            await queue.put(b"", 1000)


async def test_kazoo_puts_and_takes_as_well(server: Server, connect: Connector, path: str) -> None:
    client = KazooClient(hosts=server.hosts)
    await asyncio.to_thread(client.start)
    try:
        async with connect() as zk:
            theirs, ours = client.Queue(path), PriorityQueue(zk, path)
            await asyncio.to_thread(theirs.put, b"theirs", 7)
            await ours.put(b"ours", 6)
            await asyncio.to_thread(theirs.put, b"last", 7)
            assert await asyncio.to_thread(theirs.get) == b"ours"
            assert await ours.get() == b"theirs"
            assert await ours.get() == b"last"
    finally:
        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.close)


async def test_strange_znodes_are_no_items(connect: Connector, path: str) -> None:
    async with connect() as zk:
        for name in ("x", "entry-", "entry-1-x", "entry-x-1", "other-100-0000000001"):
            await zk.create(f"{path}/{name}", make_parents=True)
        assert await Queue(zk, path).size() == 0


@pytest.mark.parametrize("count", range(0, 40, 2))
async def test_a_get_that_is_cancelled_loses_nothing(
    server: Server, connect: Connector, path: str, count: int
) -> None:
    async with connect() as zk:
        queue = Queue(zk, path)
        await queue.put_all([b"1", b"2"])
        getting = asyncio.create_task(queue.get())
        await turns(count)
        getting.cancel()
        with suppress(asyncio.CancelledError):
            assert await getting == b"1"
            await queue.put(b"1")
            assert [await queue.get() for _ in range(2)] == [b"2", b"1"]
            return
        await background_ends()
        assert [await queue.get() for _ in range(2)] == [b"1", b"2"]
        await until_clean(server, zk, path)


@pytest.mark.parametrize("count", range(0, 40, 4))
async def test_a_wait_that_is_cancelled_leaves_no_watch(
    server: Server, connect: Connector, path: str, count: int
) -> None:
    async with connect() as zk:
        getting = asyncio.create_task(Queue(zk, path).get())
        await turns(count)
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
        await until_clean(server, zk, path)


@pytest.mark.parametrize("seed", range(3))
async def test_under_faults_each_item_comes_once_or_is_in_doubt(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    sure: set[bytes] = set()
    doubtful: set[bytes] = set()
    got: Counter[bytes] = Counter()
    taken_in_doubt: Counter[bytes] = Counter()

    async def put(zk: Client) -> None:
        for number in range(60):
            data = b"%d" % number
            try:
                await Queue(zk, path).put(data)
                sure.add(data)
            except (ConnectionLossError, SessionExpiredError):
                doubtful.add(data)

    async def get(zk: Client) -> None:
        queue = Queue(zk, path)
        while not over or await queue.size():
            try:
                data = await queue.get_nowait()
                if data is not None:
                    got[data] += 1
            except ItemInDoubtError as error:
                taken_in_doubt[error.data] += 1

    over = False
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        getting = [asyncio.create_task(get(client)) for client in (zk, other)]
        async with trouble(server, proxy, [zk, other], seed):
            await put(zk)
            over = True
            await asyncio.gather(*getting)
        assert max(got.values()) == 1
        assert set(got) <= sure | doubtful
        assert sure <= set(got) | set(taken_in_doubt)
        assert len(got) > 30
        await until_clean(server, zk, path)


async def test_put_at_least_once(server: Server, connect: Connector, path: str) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        async with trouble(server, proxy, [zk], seed=7):
            for number in range(40):
                await Queue(zk, path).put(b"%d" % number, repeat=True)
        queue = Queue(other, path)
        found = []
        while (data := await queue.get_nowait()) is not None:
            found.append(int(data))
        assert found == sorted(found)
        assert set(found) == set(range(40))


async def test_items_have_their_time(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        queue = DelayQueue(zk, path)
        await queue.put(b"late", 0.2)
        await queue.put(b"early", 0.1)
        assert await queue.get_nowait() is None
        assert await queue.size() == 2
        waiting = asyncio.create_task(DelayQueue(other, path).get())
        await turns(20)
        await queue.put(b"now", 0)
        assert await waiting == b"now"
        began = asyncio.get_running_loop().time()
        assert [await queue.get() for _ in range(2)] == [b"early", b"late"]
        assert asyncio.get_running_loop().time() > began
        with pytest.raises(ValueError, match="delay"):
            await queue.put(b"", -1)
        await until_clean(server, zk, path)
