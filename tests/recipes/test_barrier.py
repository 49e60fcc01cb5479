"""Barriers: none hangs, none opens early, and a dead member does not matter."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from kraal.client import Client
from kraal.recipes import (
    Barrier,
    DoubleBarrier,
    LimitMismatchError,
    LostError,
    NotHeldError,
    RecipeError,
)
from kraal.testing import Server
from tests.recipes.conftest import (
    Connector,
    background_ends,
    turns,
    until,
    until_clean,
    until_contenders,
    watches,
)
from tests.recipes.trouble import a_while, trouble
from tests.support.proxy import Proxy


async def test_waiters_pass_when_the_barrier_goes(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        barrier = Barrier(zk, path)
        await barrier.wait()  # there is none
        await barrier.create()
        await barrier.create()
        assert await barrier.is_closed()
        waiting = [asyncio.create_task(Barrier(client, path).wait()) for client in (zk, other)]
        await until_watches(server, 2)
        assert not any(task.done() for task in waiting)
        assert await barrier.remove()
        await asyncio.gather(*waiting)
        assert not await barrier.remove()
        await until_clean(server, zk, path)


async def test_a_barrier_that_is_renewed_at_once_has_been_open(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        barrier = Barrier(zk, path)
        await barrier.create()
        waiting = asyncio.create_task(Barrier(other, path).wait())
        await until_watches(server, 1)
        await asyncio.gather(barrier.remove(), barrier.create())
        await waiting
        assert await barrier.is_closed()


async def test_waiters_pass_through_trouble(server: Server, connect: Connector, path: str) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        barrier = Barrier(other, path)
        async with trouble(server, proxy, [zk], seed=3):
            for _ in range(10):
                await barrier.create()
                waiting = asyncio.create_task(Barrier(zk, path).wait())
                await turns(50)
                assert not waiting.done()
                await barrier.remove()
                await waiting
        await until_clean(server, other, path)


async def test_members_begin_and_end_together_round_after_round(
    server: Server, connect: Connector, path: str
) -> None:
    inside = 0
    rounds: list[int] = []

    async def member(zk: Client, number: int) -> None:
        nonlocal inside
        barrier = DoubleBarrier(zk, path, 3, f"member {number}")
        for _ in range(5):
            rounds.append(await barrier.enter())
            inside += 1
            while inside % 3:
                await asyncio.sleep(0)
            await turns(number)
            await barrier.leave()

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect()) for _ in range(3)]
        await asyncio.gather(*(member(zk, number) for number, zk in enumerate(clients)))
        assert rounds == sorted(rounds)
        assert sorted(rounds) == sorted(list(range(1, 6)) * 3)
        await until_clean(server, clients[0], path)


async def test_who_gives_up_waiting_is_not_counted(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await DoubleBarrier(zk, path, 2).enter()
        await until_clean(server, zk, path)
        second = DoubleBarrier(other, path, 2)
        waiting = asyncio.create_task(second.enter())
        await until_contenders(zk, path, 1)
        await turns(100)
        assert not waiting.done()
        third = DoubleBarrier(zk, path, 2)
        assert await third.enter() == await waiting == 1
        await asyncio.gather(second.leave(), third.leave())
        await until_clean(server, zk, path)


async def test_who_counts_otherwise_is_told_so(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        three = DoubleBarrier(other, path, 3)
        waiting = asyncio.create_task(three.enter())
        await until_contenders(zk, path, 1)
        two = DoubleBarrier(zk, path, 2)
        assert await two.enter() == 1
        with pytest.raises(LimitMismatchError, match="has 2 members, not 3"):
            await waiting
        await two.leave()
        await background_ends()


async def test_a_late_one_waits_for_the_next_round(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        first, second, late = (DoubleBarrier(zk, path, 2) for _ in range(3))
        await asyncio.gather(first.enter(), second.enter())
        waiting = asyncio.create_task(late.enter())
        await until_contenders(zk, path, 3)
        await asyncio.gather(first.leave(), second.leave())  # do not wait for the late one
        await turns(50)
        assert not waiting.done()
        assert await first.enter() == await waiting == 2
        leaving = asyncio.create_task(late.leave())
        await turns(100)
        assert not leaving.done()
        await first.leave()
        await leaving
        await until_clean(server, zk, path)


async def test_a_dead_member_is_not_waited_for(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        mine, theirs = DoubleBarrier(zk, path, 2), DoubleBarrier(other, path, 2)
        await asyncio.gather(mine.enter(), theirs.enter())
        leaving = asyncio.create_task(mine.leave())
        await until_contenders(zk, path, 1)
        session = other.session_id
        server.expire(session)
        await leaving
        await until(lambda: other.session_id not in (0, session))
        with pytest.raises(LostError):
            await theirs.leave()
        await until_clean(server, zk, path)


async def test_a_round_of_the_dead_does_not_stop_the_next_one(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        async with connect() as dead:
            members = [DoubleBarrier(dead, path, 2) for _ in range(2)]
            await asyncio.gather(*(member.enter() for member in members))
        members = [DoubleBarrier(zk, path, 2) for _ in range(2)]
        assert await asyncio.gather(*(member.enter() for member in members)) == [2, 2]


async def test_who_waits_through_an_expiry_enters(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        waiting = asyncio.create_task(DoubleBarrier(zk, path, 2).enter())
        await until_contenders(other, path, 1)
        server.expire(zk.session_id)
        assert await DoubleBarrier(other, path, 2).enter() == await waiting == 1


async def test_who_is_cancelled_in_leaving_has_left(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        members = [DoubleBarrier(zk, path, 2), DoubleBarrier(other, path, 2)]
        await asyncio.gather(*(member.enter() for member in members))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await members[0].leave()
        await members[1].leave()
        await background_ends()
        await until_clean(server, zk, path)


async def test_wrong_use_is_said(connect: Connector, path: str) -> None:
    async with connect() as zk:
        barrier = DoubleBarrier(zk, path, 1)
        with pytest.raises(NotHeldError):
            await barrier.leave()
        async with barrier:
            with pytest.raises(RecipeError, match="entered"):
                await barrier.enter()
        with pytest.raises(ValueError, match="at least 1"):
            DoubleBarrier(zk, path, 0)
        await zk.set(path, b"something else")
        with pytest.raises(RecipeError, match="not the data"):
            await barrier.enter()


@pytest.mark.parametrize("seed", range(3))
async def test_nobody_is_alone_in_there_whatever_happens(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    """Three members under cuts, expiries and cancellations: rounds are of three or of none."""
    rounds: dict[int, int] = {}

    async def member(zk: Client, cancels: bool) -> None:
        done = 0
        while done < 4:
            barrier = DoubleBarrier(zk, path, 3)
            entering = asyncio.create_task(barrier.enter())
            if cancels:
                await a_while(server, rng, 300)
                entering.cancel()
            with suppress(LostError, asyncio.CancelledError):
                number = await entering
                rounds[number] = rounds.get(number, 0) + 1
                done += 1
                await turns(rng.randrange(20))
                await barrier.leave()

    async def crowd(zk: Client) -> None:
        """Keeps entering, so that the others are never short of company."""
        while not over:
            with suppress(LostError):
                async with DoubleBarrier(zk, path, 3):
                    await asyncio.sleep(0)

    over = False
    async with Proxy(server.port) as proxy, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(proxy.port)) for _ in range(3)]
        async with trouble(server, proxy, clients, seed) as rng:
            helpers = [asyncio.create_task(crowd(zk)) for zk in clients]
            async with asyncio.timeout(60):
                await asyncio.gather(member(clients[0], False), member(clients[1], True))
            over = True
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        assert max(rounds.values()) <= 3
        await background_ends()
        await until_clean(server, clients[0], path)


async def until_watches(server: Server, waiting: int) -> None:
    """Wait until so many wait; a persistent watch counts as one of data and one of children."""
    async with asyncio.timeout(20):
        while await watches(server) != 2 * waiting:
            await asyncio.sleep(0.001)


async def test_who_waits_is_told_when_its_watch_is_removed(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        barrier = Barrier(zk, path)
        await barrier.create()
        waiting = asyncio.create_task(barrier.wait())
        await until_watches(server, 1)
        await zk.remove_watches(path)
        with pytest.raises(RecipeError, match="was removed"):
            await waiting
