"""Ids are unique, whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from kraal.client import Client
from kraal.recipes import BlockIds, Counter, RecipeError, SequenceIds
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_sequence(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        mine, theirs = SequenceIds(zk, path), SequenceIds(other, path)
        assert await mine.next() == 0
        assert await theirs.next() == 1
        many = await asyncio.gather(*((mine, theirs)[n % 2].next() for n in range(40)))
        assert sorted(many) == list(range(2, 42))
        await until_clean(server, zk, path)


async def test_blocks(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        mine, theirs = BlockIds(zk, path, 3), BlockIds(other, path, 3)
        assert [await mine.next() for _ in range(2)] == [0, 1]
        assert await theirs.next() == 3
        assert [await mine.next() for _ in range(2)] == [2, 6]
        assert await theirs.reserve() == range(9, 12)
        assert await Counter(zk, path).get() == 12
        many = await asyncio.gather(*(mine.next() for _ in range(10)))
        assert many == sorted(set(many))
        await zk.set(path, b"x")
        with pytest.raises(RecipeError, match="no number"):
            await theirs.reserve()
        with pytest.raises(ValueError, match="size"):
            BlockIds(zk, path, 0)
        assert await BlockIds(zk, f"{path}/other", first=100).next() == 100


@pytest.mark.parametrize("kind", [SequenceIds, BlockIds])
async def test_nothing_is_given_twice_under_faults_and_cancellations(
    server: Server, connect: Connector, path: str, kind: type[SequenceIds | BlockIds]
) -> None:
    given: list[int] = []

    async def draw(zk: Client) -> None:
        ids = SequenceIds(zk, path) if kind is SequenceIds else BlockIds(zk, path, 2)
        for _ in range(40):
            drawing = asyncio.ensure_future(ids.next())
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                drawing.cancel()
            with suppress(asyncio.CancelledError):
                given.append(await drawing)

    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        async with trouble(server, proxy, [zk, other], seed=5) as rng:
            await asyncio.gather(draw(zk), draw(other))
        assert len(given) > 40
        assert len(given) == len(set(given))
        await background_ends()
        await until_clean(server, zk, path)
