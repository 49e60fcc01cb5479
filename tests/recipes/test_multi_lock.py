"""Several locks as one: all of them, or none."""

from __future__ import annotations

import asyncio

import pytest

from kraal.recipes import AcquireTimeoutError, Lock, LostError, MultiLock, ReadWriteLock
from kraal.testing import Server
from tests.recipes.conftest import Connector, turns, until_clean


async def test_all_are_held_and_all_are_released(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        first, second = f"{path}/1", f"{path}/2"
        together = MultiLock([Lock(zk, second), ReadWriteLock(zk, first).read])
        async with together as held:
            assert [part.path.rpartition("/")[0] for part in held.parts] == [first, second]
            assert held.is_sure
            assert await Lock(zk, first).acquire(blocking=False) is None
            assert await Lock(zk, second).acquire(blocking=False) is None
        for each in (first, second):
            await until_clean(server, zk, each)


async def test_none_is_held_if_one_cannot_be_had(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        names = [f"{path}/{number}" for number in range(3)]
        together = MultiLock(Lock(zk, name) for name in names)
        async with Lock(zk, names[2]):
            assert await together.acquire(blocking=False) is None
            with pytest.raises(AcquireTimeoutError):
                await together.acquire(timeout=0.03)
        for name in names:
            await until_clean(server, zk, name)


async def test_different_combinations_do_not_wait_in_a_circle(
    connect: Connector, path: str
) -> None:
    async with connect() as zk:
        names = [f"{path}/{number}" for number in range(3)]

        async def work(first: int, second: int) -> None:
            for _ in range(5):
                async with MultiLock([Lock(zk, names[first]), Lock(zk, names[second])]):
                    await turns(2)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for pair in ((0, 1), (1, 2), (2, 0), (1, 0)):
                group.create_task(work(*pair))


async def test_one_lost_is_all_lost(connect: Connector, path: str) -> None:
    async with connect() as zk, MultiLock([Lock(zk, f"{path}/1"), Lock(zk, f"{path}/2")]) as held:
        await zk.delete(held.parts[1].path)
        async with asyncio.timeout(10):
            await held.lost.wait()
        with pytest.raises(LostError, match="/2/"):
            held.check()


async def test_a_lock_twice_is_refused(connect: Connector, path: str) -> None:
    async with connect() as zk:
        with pytest.raises(ValueError, match="twice"):
            MultiLock([Lock(zk, path), ReadWriteLock(zk, path).read])


async def test_a_release_that_is_cancelled_at_once_releases_all(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        held = await MultiLock([Lock(zk, f"{path}/{name}") for name in "ab"]).acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await held.release()
        for name in "ab":
            await until_clean(server, zk, f"{path}/{name}")
