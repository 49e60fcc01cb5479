"""The partitioner: every partition has one owner, and never two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from kraal.client import Client
from kraal.recipes import Allocation, Partitioner
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, turns, until, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy

NAMES = [f"part/{number}" for number in range(6)]


class Owners:
    """Who works on which partition; two at once are a failure."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}
        self.owner: dict[str, object] = {}
        self.overlaps = 0

    async def member(self, partitioner: Partitioner, me: object) -> None:
        mine: dict[str, Callable[[], bool]] = {}
        async for allocation in partitioner:
            for name in allocation.revoked:
                if mine.pop(name, None) and self.owner.get(name) is me:
                    del self.owner[name]
                await asyncio.sleep(0)
            for name, held in allocation.held.items():
                if name not in mine:
                    assert held.token > self.tokens.get(name, 0)
                    self.tokens[name] = held.token
                    self.owner[name] = me
                    mine[name] = held.lost.is_set
        for name in mine:
            if self.owner.get(name) is me:
                del self.owner[name]


async def settled(partitioner: Partitioner) -> Allocation:
    async for allocation in partitioner:
        if allocation.is_settled:
            return allocation
    raise AssertionError


async def test_shares_follow_the_group(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        async with Partitioner(zk, path, NAMES, "a") as first:
            assert (await settled(first)).owned == set(NAMES)
            async with Partitioner(other, path, NAMES, "b") as second:
                waiting = asyncio.create_task(settled(second))
                shrunk = await anext(first)
                assert len(shrunk.revoked) == 3
                await turns(200)
                assert not waiting.done()  # not given away before the next question
                mine = asyncio.create_task(settled(first))
                theirs = (await waiting).owned
                assert (await mine).owned == set(NAMES) - theirs
                assert len(theirs) == 3
            assert (await settled(first)).owned == set(NAMES)
        await background_ends()
        await until_clean(server, zk, f"{path}/members")
        for name in NAMES:
            await until_clean(server, zk, f"{path}/owners/{name.replace('/', '%2F')}")


async def test_a_dead_member_is_followed_and_comes_back(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        async with (
            Partitioner(zk, path, NAMES) as first,
            Partitioner(other, path, NAMES) as second,
        ):
            owners = Owners()
            members = [asyncio.create_task(owners.member(each, each)) for each in (first, second)]
            await until(lambda: len(first.allocation.held) == len(second.allocation.held) == 3)
            session = other.session_id
            server.expire(session)
            await until(lambda: other.session_id not in (0, session))
            await until(
                lambda: (
                    len(first.allocation.held) == len(second.allocation.held) == 3
                    and first.allocation.is_settled
                    and second.allocation.is_settled
                )
            )
        await asyncio.gather(*members)


async def test_changes_that_pass_have_no_effect(connect: Connector, path: str) -> None:
    async with (
        connect() as zk,
        connect() as other,
        Partitioner(zk, path, NAMES, settle=0.1) as first,
    ):
        before = await settled(first)
        async with Partitioner(other, path, NAMES):
            await turns(20)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(first)
        assert first.allocation.held == before.held


@pytest.mark.parametrize("seed", range(2))
async def test_no_partition_has_two_owners_under_faults(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    async def come_and_go(zk: Client) -> None:
        for _ in range(4):
            async with Partitioner(zk, path, NAMES) as partitioner:
                working = asyncio.create_task(owners.member(partitioner, partitioner))
                await turns(rng.randrange(100, 400))
            await working

    owners = Owners()
    async with Proxy(server.port) as proxy, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(proxy.port)) for _ in range(3)]
        async with Partitioner(clients[0], path, NAMES) as stays:
            working = asyncio.create_task(owners.member(stays, stays))
            async with trouble(server, proxy, clients, seed) as rng:
                await asyncio.gather(*map(come_and_go, clients[1:]))
            await until(lambda: stays.allocation.owned == set(NAMES))
        await working
        await background_ends()
        await until_clean(server, clients[0], f"{path}/members")
