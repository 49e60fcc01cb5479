"""Following znodes: no last state is missed, and no watch is left behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from kraal.client import ClosedError, Node
from kraal.recipes import follow, follow_children
from kraal.testing import Server
from tests.recipes.conftest import Connector, until_clean, watches
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_a_znode_is_followed_from_nothing_to_nothing(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        async with aclosing(follow(zk, path)) as states:
            assert await anext(states) is None
            await other.create(path, b"1", make_parents=True)
            assert data(await anext(states)) == b"1"
            await other.create(f"{path}/child")  # is no change of the znode
            await other.set(path, b"2")
            assert data(await anext(states)) == b"2"
            await other.delete_recursive(path)
            assert await anext(states) is None
        await until_clean(server, zk, path)


async def test_a_slow_reader_gets_the_last_state(connect: Connector, path: str) -> None:
    async with connect() as zk:
        await zk.create(path, b"first", make_parents=True)
        async with aclosing(follow(zk, path)) as states:
            assert data(await anext(states)) == b"first"
            for number in range(50):
                await zk.set(path, b"%d" % number)
            assert data(await anext(states)) == b"49"


async def test_children_are_followed(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with aclosing(follow_children(zk, path)) as states:
            assert await anext(states) is None
            await zk.create(f"{path}/b", make_parents=True)
            while await anext(states) != ["b"]:
                pass
            await zk.create(f"{path}/a")
            assert await anext(states) == ["a", "b"]
        await zk.delete_recursive(path)
        await until_clean(server, zk, path)


async def test_the_last_state_arrives_through_lost_connections_and_sessions(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        await other.create(path, b"-1", make_parents=True)
        seen: list[int] = []

        async def read() -> None:
            async with aclosing(follow(zk, path)) as states:
                async for node in states:
                    seen.append(int(data(node)))
                    if seen[-1] == 99:
                        return

        reading = asyncio.create_task(read())
        async with trouble(server, proxy, [zk], seed=1):
            for number in range(100):
                await other.set(path, b"%d" % number)
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                await reading
        assert seen == sorted(seen)
        assert await other.exists(path)
        await other.delete(path)
        await until_clean(server, other, path)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_reader_cancelled_at_any_point_leaves_no_watch(
    server: Server, connect: Connector, path: str, turns: int
) -> None:
    async with connect() as zk:

        async def read() -> None:
            async with aclosing(follow(zk, path)) as states:
                async for _ in states:
                    pass

        reading = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until_clean(server, zk, path)


async def test_the_end_of_the_client_ends_it(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk:
        states = follow(zk, path)
        assert await anext(states) is None
        waiting = asyncio.ensure_future(anext(states))
        await zk.close()
        with pytest.raises(ClosedError):
            await waiting


async def test_an_iterator_that_is_forgotten_takes_its_watch_along(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        async for _ in follow(zk, path):
            break
        await until_clean(server, zk, path)
        assert await watches(server) == 0


def data(node: Node | None) -> bytes:
    assert node is not None
    return node.data
