"""Counters and shared values: nothing is lost, nothing counted twice, doubt is said."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

import pytest
from kazoo.client import KazooClient

import kraal
from kraal.client import Client, ConnectionLossError
from kraal.recipes import Counter, RecipeError, SharedValue
from kraal.recipes.counter import CounterLayout
from kraal.testing import Server
from tests.recipes.conftest import Connector
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_many_clients_count(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        counters = [Counter(client, path) for client in (zk, other)]
        assert await counters[0].get() == 0
        results = await asyncio.gather(*(counters[n % 2].add(1) for n in range(40)))
        assert sorted(results) == list(range(1, 41))
        assert await counters[1].add(-41) == -1
        await counters[0].set(7)
        assert not await counters[1].compare_and_set(6, 1)
        assert await counters[1].compare_and_set(7, 1)
        assert await counters[0].get() == 1


async def test_floats_and_defaults(connect: Connector, path: str) -> None:
    async with connect() as zk:
        counter = Counter(zk, path, 0.5)
        assert await counter.get() == 0.5
        assert await counter.add(0.25) == 0.75
        assert await Counter(zk, path, 9.0).get() == 0.75
        with pytest.raises(RecipeError, match="no number"):
            await Counter(zk, path, 1).get()


async def test_an_int_may_be_large_and_junk_is_replaced(connect: Connector, path: str) -> None:
    async with connect() as zk:
        counter = Counter(zk, f"{path}/large")
        assert await counter.add(10**400) == await counter.get() == 10**400
        assert await counter.compare_and_set(10**400, 5)
        with pytest.raises(ValueError, match="as large as that"):
            await Counter(zk, path, 0.0).add(10**400)
        for junk, layout in ((b"junk", "kazoo"), (b"\xff", "kazoo"), (b"123", "curator")):
            await zk.set(counter.path, junk)
            counter = Counter(zk, counter.path, layout=cast("CounterLayout", layout))
            with pytest.raises(RecipeError, match="holds no number"):
                await counter.add(1)
            await counter.set(7)
            assert await counter.get() == 7


async def test_kazoo_counts_along(server: Server, connect: Connector, path: str) -> None:
    theirs = KazooClient(hosts=server.hosts)
    await asyncio.to_thread(theirs.start)
    try:
        async with connect() as zk:

            def count(default: int | float, curator: bool) -> object:
                where = f"{path}/{type(default).__name__}-{curator}"
                counter = theirs.Counter(where, default=default, support_curator=curator)
                counter += type(default)(2)
                return counter.value

            ours: list[tuple[Counter[int] | Counter[float], int | float, bool]] = [
                (Counter(zk, f"{path}/int-False"), 0, False),
                (Counter(zk, f"{path}/float-False", 0.0), 0.0, False),
                (Counter(zk, f"{path}/int-True", layout="curator"), 0, True),
            ]
            for counter, default, curator in ours:
                await counter.add(1)
                assert await asyncio.to_thread(count, default, curator) == 3
                assert await counter.add(1) == 4
            with pytest.raises(OverflowError):
                await ours[2][0].set(1 << 31)
    finally:
        await asyncio.to_thread(theirs.stop)
        await asyncio.to_thread(theirs.close)


@pytest.mark.parametrize("seed", range(3))
async def test_additions_are_made_once_or_are_in_doubt(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    done = doubtful = 0

    async def count(zk: Client) -> None:
        nonlocal done, doubtful
        for _ in range(30):
            try:
                await Counter(zk, path).add(1)
                done += 1
            except ConnectionLossError as error:
                assert error.sent
                doubtful += 1

    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        async with trouble(server, proxy, [zk, other], seed):
            await asyncio.gather(count(zk), count(other))
        assert done <= await Counter(zk, path).get() <= done + doubtful


async def test_alone_there_is_no_doubt(server: Server, connect: Connector, path: str) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk:
        counter = Counter(zk, path)
        async with trouble(server, proxy, [zk], seed=4):
            sure = 0
            for _ in range(30):
                try:
                    await counter.add(1)
                    sure += 1
                except ConnectionLossError:
                    pass
        # A write that has happened and whose reply was lost cannot be told from the same write
        # of somebody else, one that has not happened is repeated.
        assert sure <= await counter.get() <= 30


async def test_a_shared_value_is_replaced_by_those_who_know_it(
    connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        mine, theirs = SharedValue(zk, path, b"nobody"), SharedValue(other, path, b"nobody")
        now = await mine.get()
        assert now == (b"nobody", -1)
        results = await asyncio.gather(
            mine.compare_and_set(now.version, b"me"), theirs.compare_and_set(now.version, b"them")
        )
        assert sorted(results, key=str) == [0, None]
        assert await theirs.set(b"x") == 1
        assert await mine.compare_and_set(0, b"late") is None
        assert await mine.update(lambda data: data + b"y") == (b"xy", 2)
        changes = theirs.follow()
        assert await anext(changes) == (b"xy", 2)
        await mine.set(b"z")
        assert await anext(changes) == (b"z", 3)
        await changes.aclose()


async def test_nothing_is_written_that_is_no_number_of_the_counter(
    connect: Connector, path: str
) -> None:
    for default in ("x", True, None):
        with pytest.raises(TypeError, match="default"):
            Counter(kraal.connect("127.0.0.1:1"), path, cast("int", default))
    async with connect() as zk:
        counter = Counter(zk, path)
        for number in (1.5, "abc", True, None):
            for write in (
                counter.add, counter.set, partial(counter.compare_and_set, 0),
            ):  # fmt: skip
                with pytest.raises(TypeError, match="counts in int"):
                    await write(cast("int", number))
        real = Counter(zk, path, 0.0)
        for infinite in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="cannot hold"):
                await real.set(infinite)
        assert await zk.exists(path) is None
        assert await real.add(1) == 1.0
        with pytest.raises(ValueError, match="cannot hold"):
            await real.update(lambda value: value * 1e308 * 1e308)
        assert await real.get() == 1.0
