"""Never more than the limit, in the order of arrival, and nothing left behind."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from kraal.client import Client
from kraal.recipes import AcquireTimeoutError, Held, LimitMismatchError, LostError, Semaphore
from kraal.testing import Server
from tests.recipes.conftest import (
    Connector,
    background_ends,
    until,
    until_contenders,
    watches,
)
from tests.support.proxy import Proxy

Layout = Literal["curator", "kazoo"]
LAYOUTS = ["curator", "kazoo"]


def places(path: str, layout: Layout) -> str:
    return f"{path}/leases" if layout == "curator" else path


def queue(path: str, layout: Layout) -> str:
    return f"{path}/locks" if layout == "curator" else f"{path}-__lock__"


async def until_clean(server: Server, zk: Client, path: str, layout: Layout = "curator") -> None:
    await until_contenders(zk, places(path, layout), 0)
    await until_contenders(zk, queue(path, layout), 0)
    async with asyncio.timeout(20):
        while await watches(server):
            await asyncio.sleep(0.001)


async def watches_at_rest(server: Server, zk: Client, gate: str) -> int:
    """Once nobody is in the queue; who has got a place leaves it in the background."""
    await until_contenders(zk, gate, 0)
    await background_ends()
    return await watches(server)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_never_more_than_the_limit_and_in_order(
    server: Server, connect: Connector, path: str, layout: Layout
) -> None:
    inside, most = 0, 0
    order: list[int] = []
    full = asyncio.Event()

    async def enter(zk: Client, number: int) -> None:
        nonlocal inside, most
        async with Semaphore(zk, path, 3, layout=layout):
            inside += 1
            most = max(most, inside)
            order.append(number)
            if inside == 3:
                full.set()
            await full.wait()
            inside -= 1

    async with connect() as zk, connect() as other:
        async with asyncio.TaskGroup() as group:
            others = [await Semaphore(zk, path, 3, layout=layout).acquire() for _ in range(3)]
            for number in range(9):
                group.create_task(enter((zk, other)[number % 2], number))
                await until_contenders(zk, queue(path, layout), number + 1)
            for held in others:
                await held.release()
        assert most == 3
        # Those who enter together hear of it on different connections.
        assert all(abs(place - number) < 3 for place, number in enumerate(order))
        await until_clean(server, zk, path, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_only_the_first_one_in_the_queue_watches_the_places(
    server: Server, connect: Connector, path: str, layout: Layout
) -> None:
    async with connect() as zk:
        semaphore = Semaphore(zk, path, 1, layout=layout)
        held = await semaphore.acquire()
        alone = await watches_at_rest(server, zk, queue(path, layout))
        waits = []
        for number in range(4):
            waits.append(asyncio.create_task(semaphore.acquire()))
            await until_contenders(zk, queue(path, layout), number + 1)
        # The place of the first that waits, the children, and one for each in the queue.
        async with asyncio.timeout(10):
            while await watches(server) != alone + 2 + 4:
                await asyncio.sleep(0.001)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        await held.release()
        await until_clean(server, zk, path, layout)


async def test_one_task_may_hold_several_places(connect: Connector, path: str) -> None:
    async with connect() as zk:
        semaphore = Semaphore(zk, path, 2, "me")
        async with semaphore as first, semaphore as second:
            assert second.token > first.token
            assert sorted(await semaphore.holders()) == ["me", "me"]
            assert await semaphore.acquire(blocking=False) is None
        assert await semaphore.holders() == []


async def test_without_blocking(connect: Connector, path: str) -> None:
    async with connect() as zk:
        semaphore = Semaphore(zk, path, 1)
        held = await semaphore.acquire(blocking=False)
        assert held is not None
        assert await semaphore.acquire(blocking=False) is None
        await held.release()


async def test_a_timeout_leaves_nothing(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk:
        semaphore = Semaphore(zk, path, 1)
        async with semaphore:
            before = await watches_at_rest(server, zk, f"{path}/locks")
            with pytest.raises(AcquireTimeoutError):
                await semaphore.acquire(timeout=0.02)
            await until_contenders(zk, f"{path}/leases", 1)
            await until_contenders(zk, f"{path}/locks", 0)
            async with asyncio.timeout(10):
                while await watches(server) != before:
                    await asyncio.sleep(0.001)
        await until_clean(server, zk, path)


@pytest.mark.parametrize("steps", range(40))
async def test_a_task_cancelled_at_any_point_leaves_nothing(
    server: Server, connect: Connector, path: str, steps: int
) -> None:
    async with connect() as zk, connect() as other:
        async with Semaphore(zk, path, 1):
            before = await watches_at_rest(server, zk, f"{path}/locks")
            task = asyncio.create_task(Semaphore(other, path, 1).acquire())
            for _ in range(steps):
                await asyncio.sleep(0 if steps % 3 else 0.0005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until_contenders(zk, f"{path}/leases", 1)
            await until_contenders(zk, f"{path}/locks", 0)
            async with asyncio.timeout(10):
                while await watches(server) != before:
                    await asyncio.sleep(0.001)
        await until_clean(server, zk, path)


async def test_all_must_agree_on_the_limit(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with Semaphore(zk, path, 2):
            assert (await zk.get(path)).data == b"2"
            with pytest.raises(LimitMismatchError, match="2 places, not 3"):
                await Semaphore(zk, path, 3).acquire()
            await until_contenders(zk, f"{path}/leases", 1)
        await zk.set(path, b"somebody's")
        async with Semaphore(zk, path, 3):
            assert (await zk.get(path)).data == b"somebody's"
    with pytest.raises(ValueError, match="at least 1"):
        Semaphore(zk, path, 0)


async def test_the_place_of_a_lost_session_is_free(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        held = await Semaphore(zk, path, 1).acquire()
        waiting = asyncio.create_task(Semaphore(other, path, 1).acquire())
        await until_contenders(other, f"{path}/leases", 2)
        server.expire(zk.session_id)
        theirs = await waiting
        await until(held.lost.is_set)
        with pytest.raises(LostError):
            held.check()
        await held.release()
        await theirs.release()
        await until_clean(server, other, path)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_who_waits_first_loses_its_session(
    server: Server, connect: Connector, path: str, layout: Layout
) -> None:
    async with connect() as zk, connect() as other:
        held = await Semaphore(zk, path, 1, layout=layout).acquire()
        waiting = asyncio.create_task(Semaphore(other, path, 1, layout=layout).acquire())
        await until_contenders(zk, places(path, layout), 2)
        server.expire(other.session_id)
        await until_contenders(zk, places(path, layout), 2)
        await held.release()
        await (await waiting).release()
        await until_clean(server, zk, path, layout)


async def test_waits_survive_their_connections(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect() as zk, connect(proxy.port) as other:
        held = await Semaphore(zk, path, 1).acquire()
        waits: list[asyncio.Task[Held]] = []
        for number in range(2):
            waits.append(asyncio.create_task(Semaphore(other, path, 1).acquire()))
            await until_contenders(zk, f"{path}/locks", number + 1)
        proxy.cut()
        await held.release()
        for wait in waits:
            await (await wait).release()
        await until_clean(server, zk, path)
