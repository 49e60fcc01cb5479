"""kraal's locks and kazoo's exclude each other, whoever is first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError

from kraal.client import Client
from kraal.recipes import (
    Barrier,
    Held,
    LeaderElection,
    LeaderLatch,
    Lease,
    Lock,
    MultiLease,
    ReadWriteLock,
    Semaphore,
)
from kraal.recipes._names import Layout
from kraal.testing import Server
from tests.recipes.conftest import Connector, until_clean, until_contenders

SEEN_BY_KAZOO = ["kraal", "kazoo"]


@asynccontextmanager
async def kazoo(server: Server) -> AsyncIterator[Any]:
    """A client of kazoo, whose calls belong into threads."""
    client = KazooClient(hosts=server.hosts)
    await asyncio.to_thread(client.start)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.close)


async def exclude(
    theirs: Any, acquire: Callable[[], Awaitable[Held]], arrived: Callable[[], Awaitable[None]]
) -> None:
    """kazoo's holder keeps ours waiting, and ours keeps kazoo's."""
    assert await asyncio.to_thread(theirs.acquire)
    ours = asyncio.ensure_future(acquire())
    await arrived()
    assert not ours.done()
    await asyncio.to_thread(theirs.release)
    held = await ours
    assert not await asyncio.to_thread(theirs.acquire, blocking=False)
    waiting = asyncio.create_task(asyncio.to_thread(theirs.acquire))
    await arrived()
    assert not waiting.done()
    await held.release()
    assert await waiting
    await asyncio.to_thread(theirs.release)


def arrivals(zk: Client, path: str, count: int) -> Callable[[], Awaitable[None]]:
    return lambda: until_contenders(zk, path, count)


def both(layout: str) -> int:
    """The znodes of one contender of kazoo and one of kraal."""
    return 3 if layout == "kraal" else 2


@pytest.mark.parametrize("layout", SEEN_BY_KAZOO)
async def test_lock(server: Server, connect: Connector, path: str, layout: Layout) -> None:
    async with kazoo(server) as client, connect() as zk:
        await exclude(
            client.Lock(path, "theirs"),
            Lock(zk, path, layout=layout).acquire,
            arrivals(zk, path, both(layout)),
        )
        await until_clean(server, zk, path)


@pytest.mark.parametrize("layout", SEEN_BY_KAZOO)
async def test_read_and_write_locks(
    server: Server, connect: Connector, path: str, layout: Layout
) -> None:
    async with kazoo(server) as client, connect() as zk:
        lock = ReadWriteLock(zk, path, layout=layout)
        arrived = arrivals(zk, path, both(layout))
        await exclude(client.WriteLock(path), lock.read.acquire, arrived)
        await exclude(client.ReadLock(path), lock.write.acquire, arrived)
        await exclude(client.WriteLock(path), lock.write.acquire, arrived)
        async with lock.read:
            assert await asyncio.to_thread(client.ReadLock(path).acquire, blocking=False)


async def test_a_downgraded_writer_lets_kazoos_readers_in(
    server: Server, connect: Connector, path: str
) -> None:
    async with kazoo(server) as client, connect() as zk:
        lock = ReadWriteLock(zk, path)
        async with lock.write as held:
            theirs = client.ReadLock(path)
            waiting = asyncio.create_task(asyncio.to_thread(theirs.acquire))
            await until_contenders(zk, path, 3)
            await lock.downgrade(held)
            assert await waiting
            await asyncio.to_thread(theirs.release)
            assert not await asyncio.to_thread(client.WriteLock(path).acquire, blocking=False)


async def test_contenders_are_each_others(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk, Lock(zk, path, "ours"):
        theirs = client.Lock(path, "theirs")
        waiting = asyncio.create_task(asyncio.to_thread(theirs.acquire))
        await until_contenders(zk, path, 3)
        assert await Lock(zk, path).contenders() == ["ours", "theirs"]
        assert await asyncio.to_thread(theirs.contenders) == ["ours", "theirs"]
        theirs.cancel()
        with pytest.raises(CancelledError):
            await waiting


async def test_semaphore(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk:
        ours = Semaphore(zk, path, 2, layout="kazoo")
        theirs = [client.Semaphore(path, max_leases=2) for _ in range(3)]
        assert await asyncio.to_thread(theirs[0].acquire)
        held = await ours.acquire()
        assert await ours.acquire(blocking=False) is None
        assert not await asyncio.to_thread(theirs[1].acquire, blocking=False)
        waiting = asyncio.create_task(ours.acquire())
        await until_contenders(zk, f"{path}-__lock__", 1)
        await asyncio.to_thread(theirs[0].release)
        second = await waiting
        late = asyncio.create_task(asyncio.to_thread(theirs[2].acquire))
        await until_contenders(zk, f"{path}-__lock__", 1)
        assert not late.done()
        await held.release()
        assert await late
        await second.release()
        wrong = client.Semaphore(path, max_leases=5)
        with pytest.raises(ValueError, match="Inconsistent max leases"):
            await asyncio.to_thread(wrong.acquire)


async def test_lease(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk:

        def take(name: str) -> bool:
            lease = client.NonBlockingLease(path, timedelta(minutes=5), identifier=name)
            return bool(lease)

        held = await Lease(zk, path, 60.0, "ours").obtain()
        assert held is not None
        assert not await asyncio.to_thread(take, "theirs")
        await held.release()
        assert await asyncio.to_thread(take, "theirs")
        assert await Lease(zk, path, 60.0, "ours").obtain() is None
        assert await Lease(zk, path, 60.0, "theirs").obtain() is not None


async def test_leases_of_which_there_are_two(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk:

        def take(name: str) -> bool:
            lease = client.MultiNonBlockingLease(2, path, timedelta(minutes=5), identifier=name)
            return bool(lease)

        assert await asyncio.to_thread(take, "theirs")
        held = await MultiLease(zk, path, 2, 60.0, "ours").obtain()
        assert held is not None
        assert not await asyncio.to_thread(take, "third")
        assert await MultiLease(zk, path, 2, 60.0, "third").obtain() is None
        await held.release()
        assert await asyncio.to_thread(take, "third")


async def test_barrier(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk:
        theirs, ours = client.Barrier(path), Barrier(zk, path)
        await asyncio.to_thread(theirs.create)
        waiting = asyncio.create_task(ours.wait())
        await asyncio.sleep(0)
        assert not await asyncio.to_thread(theirs.wait, 0.01)
        assert not waiting.done()
        assert await asyncio.to_thread(theirs.remove)
        await waiting
        await ours.create()
        assert not await asyncio.to_thread(theirs.wait, 0.01)
        await ours.remove()
        assert await asyncio.to_thread(theirs.wait, 10)


async def test_election(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk:
        leads: list[str] = []
        election = client.Election(path, "theirs")

        async def lead(leadership: Held) -> asyncio.Task[None]:
            task = asyncio.create_task(
                asyncio.to_thread(election.run, lambda: leads.append("theirs"))
            )
            await until_contenders(zk, path, 3)
            assert not leads
            leadership.check()
            return task

        await (await LeaderElection(zk, path, "ours").run(lead))
        assert leads == ["theirs"]
        await until_clean(server, zk, path)


async def test_latch(server: Server, connect: Connector, path: str) -> None:
    async with kazoo(server) as client, connect() as zk:
        leads: list[str] = []
        election = client.Election(path, "theirs")
        async with LeaderLatch(zk, path, "ours") as latch:
            await latch.wait_leading()
            theirs = asyncio.create_task(
                asyncio.to_thread(election.run, lambda: leads.append("theirs"))
            )
            await until_contenders(zk, path, 3)
            assert not leads
            assert latch.is_leading
        await theirs
        assert leads == ["theirs"]
        await until_clean(server, zk, path)
