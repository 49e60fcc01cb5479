"""kraal's locks and Curator's exclude each other, whoever is first, on servers of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

import kraal
from kraal.client import Client
from kraal.recipes import Held, LeaderElection, LeaderLatch, Lock, ReadWriteLock, Semaphore
from kraal.recipes._names import Layout
from kraal.testing import Server
from tests.recipes.conftest import background_ends, until_contenders
from tests.recipes.curator.peer import Peer, Thing, curator, require_curator
from tests.support import servers
from tests.support.servers import HOST

pytestmark = pytest.mark.apache
SHORT = 0.05
SEEN_BY_CURATOR: tuple[Layout, ...] = ("kraal", "curator")


@pytest.fixture(scope="module", params=["kraal", "apache"])
def hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    require_curator()
    if request.param == "kraal":
        with Server() as server:
            yield server.hosts
    else:
        servers.require_reference()
        with servers.apache(tmp_path_factory.mktemp("apache")) as server:
            yield f"{HOST}:{server.port}"


@pytest.fixture
async def zk(hosts: str) -> AsyncIterator[Client]:
    async with kraal.connect(hosts) as client:
        yield client
    await background_ends()


async def exclude(
    theirs: Thing, acquire: Callable[[], Awaitable[Held]], arrived: Callable[[], Awaitable[None]]
) -> None:
    """Curator's holder keeps ours waiting, and ours keeps Curator's."""
    assert await theirs.acquire()
    ours = asyncio.ensure_future(acquire())
    await arrived()
    assert not ours.done()
    await theirs.release()
    held = await ours
    assert not await theirs.acquire(SHORT)
    waiting = asyncio.create_task(theirs.acquire())
    await arrived()
    assert not waiting.done()
    await held.release()
    assert await waiting
    await theirs.release()


def both(zk: Client, path: str, layout: str) -> Callable[[], Awaitable[None]]:
    """Waits for one contender of Curator's and one of kraal's."""
    return lambda: until_contenders(zk, path, 3 if layout == "kraal" else 2)


async def test_locks(hosts: str, zk: Client, path: str) -> None:
    async with curator(hosts) as peer:
        for layout in SEEN_BY_CURATOR:
            await lock(peer, zk, f"{path}/lock-of-{layout}", layout)
            await read_and_write(peer, zk, f"{path}/rw-{layout}", layout)
        await latch(peer, zk, f"{path}/latch")
        await selector(peer, zk, f"{path}/selector")
        await semaphore(peer, zk, f"{path}/semaphore")
        await revocation(peer, zk, f"{path}/revocation")
        await downgrades(peer, zk, f"{path}/downgrades")


async def lock(peer: Peer, zk: Client, path: str, layout: Layout) -> None:
    theirs = await peer.make("mutex", path)
    await exclude(theirs, Lock(zk, path, layout=layout).acquire, both(zk, path, layout))


async def read_and_write(peer: Peer, zk: Client, path: str, layout: Layout) -> None:
    ours = ReadWriteLock(zk, path, layout=layout)
    read, write = await peer.make("read", path), await peer.make("write", path)
    await exclude(write, ours.read.acquire, both(zk, path, layout))
    await exclude(read, ours.write.acquire, both(zk, path, layout))
    await exclude(write, ours.write.acquire, both(zk, path, layout))
    async with ours.read:
        assert await read.acquire()
        await read.release()


async def latch(peer: Peer, zk: Client, path: str) -> None:
    theirs = await peer.make("latch", path)
    async with LeaderLatch(zk, path, "ours") as ours:
        await ours.wait_leading()
        assert not await theirs.acquire(SHORT)
        await until_contenders(zk, path, 3)
    assert await theirs.acquire()
    async with LeaderLatch(zk, path, "ours") as ours:
        await until_contenders(zk, path, 3)
        assert not ours.is_leading
        await theirs.release()
        await ours.wait_leading()


async def selector(peer: Peer, zk: Client, path: str) -> None:
    """Curator's LeaderSelector is a mutex."""
    theirs = await peer.make("mutex", path)

    async def lead(leadership: Held) -> bool:
        return await theirs.acquire(SHORT)

    assert not await LeaderElection(zk, path).run(lead)


async def semaphore(peer: Peer, zk: Client, path: str) -> None:
    first, second = [await peer.make("semaphore", path, 2) for _ in range(2)]
    ours = Semaphore(zk, path, 2)
    held = await ours.acquire()
    assert await first.acquire()
    assert not await second.acquire(SHORT)
    waiting = asyncio.create_task(ours.acquire())
    await until_contenders(zk, f"{path}/leases", 3)
    assert not waiting.done()
    await first.release()
    another = await waiting
    assert not await first.acquire(SHORT)
    await held.release()
    assert await first.acquire()
    await first.release()
    await another.release()


async def revocation(peer: Peer, zk: Client, path: str) -> None:
    theirs = await peer.make("revocable", path)
    assert await theirs.acquire()
    await Lock(zk, path).revoke()
    assert await theirs.hears() == "revoked"
    await theirs.release()
    async with Lock(zk, path) as held:
        await theirs.revoke(held.path)
        async with asyncio.timeout(10):
            await held.revoked.wait()


async def downgrades(peer: Peer, zk: Client, path: str) -> None:
    ours = ReadWriteLock(zk, path)
    read, write = await peer.make("read", path), await peer.make("write", path)
    async with ours.write as held:
        waiting = asyncio.create_task(read.acquire())
        await until_contenders(zk, path, 3)
        await ours.downgrade(held)
        assert await waiting
        await read.release()
        assert not await write.acquire(SHORT)
