"""Readers share, writers are alone, and nobody waits for who came later."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from kraal.recipes import AlreadyHeldError, Lock, LostError, ReadWriteLock
from kraal.testing import Server
from tests.recipes.conftest import Connector, turns, until_clean, until_contenders
from tests.support.proxy import Proxy


async def test_readers_share_and_writers_do_not(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        lock, theirs = ReadWriteLock(zk, path), ReadWriteLock(other, path)
        async with lock.read as first, theirs.read as second:
            assert first.is_shared and second.is_shared
            assert await ReadWriteLock(zk, path).write.acquire(blocking=False) is None
        async with lock.write as held:
            assert not held.is_shared
            assert await theirs.read.acquire(blocking=False) is None
            assert await theirs.write.acquire(blocking=False) is None
        await until_clean(server, zk, path)


async def test_a_reader_does_not_wait_for_a_later_writer(connect: Connector, path: str) -> None:
    """A writer before two readers and another one between them: no circle of waits."""
    order: list[str] = []

    async with connect() as zk:
        lock = ReadWriteLock(zk, path)

        async def enter(name: str) -> None:
            async with lock.write if name.startswith("w") else lock.read:
                order.append(name)
                await turns(5)

        async with asyncio.TaskGroup() as group, lock.write:
            for number, name in enumerate(("r1", "w2", "r3", "r4", "w5")):
                group.create_task(enter(name))
                await until_contenders(zk, path, 2 * number + 4)
        assert order[:2] == ["r1", "w2"]
        assert set(order[2:4]) == {"r3", "r4"}
        assert order[4:] == ["w5"]


async def test_a_writer_waits_for_all_readers_before_it(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        lock = ReadWriteLock(zk, path)
        readers = [await asyncio.create_task(lock.read.acquire()) for _ in range(3)]
        writing = asyncio.create_task(lock.write.acquire())
        await until_contenders(zk, path, 8)
        for reader in (readers[2], readers[0]):
            await reader.release()
            await turns(10)
            assert not writing.done()
        await readers[1].release()
        await (await writing).release()
        await until_clean(server, zk, path)


async def test_a_writer_becomes_a_reader_without_a_moment_in_between(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        lock, theirs = ReadWriteLock(zk, path, "a"), ReadWriteLock(other, path, "b")
        async with lock.write as held:
            before = held.token
            writing = asyncio.create_task(theirs.write.acquire())
            await until_contenders(zk, path, 4)
            await lock.downgrade(held)
            await lock.downgrade(held)  # a reader already
            assert held.is_shared and held.is_sure
            assert held.token == before, "it must not be above that of a writer that waits"
            assert await lock.contenders() == ["a", "b"]
            await turns(20)
            assert not writing.done()
        assert (await writing).token > before
        await (await writing).release()
        await until_clean(server, zk, path)


async def test_readers_come_in_after_a_downgrade(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        lock = ReadWriteLock(zk, path)
        held = await lock.write.acquire()
        reading = asyncio.create_task(lock.read.acquire())
        await until_contenders(zk, path, 4)
        await lock.downgrade(held)
        await (await reading).release()
        assert not held.is_released
        await held.release()
        await until_clean(server, zk, path)


async def test_a_downgrade_whose_answer_is_lost_happens_once(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        lock = ReadWriteLock(zk, path)
        async with lock.write as held:
            old = held.path
            proxy.hold_answers()
            downgrading = asyncio.create_task(lock.downgrade(held))
            while await other.exists(old):
                await asyncio.sleep(0.001)
            proxy.cut()
            proxy.release()
            await downgrading
            assert held.is_shared
            held.check()
        await until_clean(server, other, path)


async def test_a_downgrade_of_what_was_lost_fails(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = ReadWriteLock(zk, path)
        async with lock.write as held:
            await zk.delete(held.path)
            with pytest.raises(LostError):
                await lock.downgrade(held)


async def test_who_holds_a_side_is_told_which(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = ReadWriteLock(zk, path)
        for side, name in ((lock.read, "read"), (lock.write, "write")):
            async with side:
                with pytest.raises(AlreadyHeldError, match=f"holds the {name} lock of {path}"):
                    await lock.read.acquire()


async def test_a_reader_cannot_become_a_writer(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = ReadWriteLock(zk, path, reentrant=True)
        async with lock.read:
            with pytest.raises(AlreadyHeldError, match="reader"):
                await lock.write.acquire()
        async with lock.write as held:
            async with lock.read as same:
                assert same is held
            assert not held.is_released


async def test_a_lock_and_a_writer_exclude_each_other(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = ReadWriteLock(zk, path)
        async with Lock(zk, path):
            assert await lock.read.acquire(blocking=False) is None
        async with lock.read:
            assert await Lock(zk, path).acquire(blocking=False) is None


@pytest.mark.parametrize("steps", range(24))
async def test_a_reader_that_gives_up_leaves_the_other_readers_their_watch(
    server: Server, connect: Connector, path: str, steps: int
) -> None:
    async with connect() as zk, connect() as writer:
        held = await ReadWriteLock(writer, path).write.acquire()
        lock = ReadWriteLock(zk, path)
        staying = asyncio.create_task(lock.read.acquire())
        await until_contenders(writer, path, 4)
        going = asyncio.create_task(lock.read.acquire())
        for _ in range(steps):
            await asyncio.sleep(0 if steps % 2 else 0.0005)
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going
        await until_contenders(writer, path, 4)
        await held.release()
        await (await staying).release()
        await until_clean(server, writer, path)
