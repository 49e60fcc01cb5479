"""The exclusive lock: who has it, in which order, and what is left behind."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

import pytest

import kraal
from kraal.client import Client, SessionState
from kraal.client.connection import Request
from kraal.client.session import SessionKeeper
from kraal.recipes import (
    AcquireCancelledError,
    AcquireTimeoutError,
    AlreadyHeldError,
    LeaderLatch,
    Lock,
    LostError,
    NotHeldError,
)
from kraal.recipes._names import Layout
from kraal.testing import Server
from kraal.wire.opcodes import OpCode
from tests.recipes.conftest import (
    PATIENCE_SECONDS,
    Connector,
    background_ends,
    turns,
    until_clean,
    until_contenders,
    watches,
    znodes,
)

LAYOUTS = ["kraal", "curator", "kazoo"]


def width(layout: str) -> int:
    """The znodes of one contender."""
    return 2 if layout == "kraal" else 1


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_one_at_a_time_in_the_order_of_arrival(
    server: Server, connect: Connector, path: str, layout: Layout
) -> None:
    entered: list[int] = []
    tokens: list[int] = []
    inside = 0

    async def contend(zk: Client, number: int) -> None:
        nonlocal inside
        async with Lock(zk, path, layout=layout) as held:
            inside += 1
            assert inside == 1
            entered.append(number)
            tokens.append(held.token)
            await turns(3)
            inside -= 1

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect()) for _ in range(3)]
        async with asyncio.TaskGroup() as group, Lock(clients[0], path, layout=layout):
            for number in range(12):
                group.create_task(contend(clients[number % 3], number))
                await until_contenders(clients[0], path, (number + 2) * width(layout))
        assert entered == list(range(12))
        assert tokens == sorted(set(tokens))
        await until_clean(server, clients[0], path)


async def test_the_token_is_the_zxid_of_the_creation(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with Lock(zk, path) as held:
            node = await zk.get(held.path)
            assert held.token == node.stat.czxid
            assert node.stat.ephemeral_owner == zk.session_id
            assert held.is_sure
            held.check()
        with pytest.raises(LostError, match="released"):
            held.check()


async def test_the_server_removes_a_directory_that_nobody_uses(path: str) -> None:
    settings = {"znode.container.checkIntervalMs": 20}
    async with Server(settings=settings) as server, kraal.connect(server.hosts) as zk:
        async with Lock(zk, path):
            pass
        async with asyncio.timeout(10):
            while await zk.exists(path):
                await asyncio.sleep(0.005)


async def test_a_directory_that_goes_is_made_again(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = Lock(zk, path)
        async with lock:
            pass
        await zk.delete(path)
        async with lock:
            assert await znodes(zk, path)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_wait_that_times_out_leaves_nothing(
    server: Server, connect: Connector, path: str, layout: Layout
) -> None:
    async with connect() as zk:
        async with Lock(zk, path, layout=layout):
            await background_ends()
            before = await watches(server)
            with pytest.raises(AcquireTimeoutError, match="not acquired in"):
                await Lock(zk, path, layout=layout).acquire(timeout=0.02)
            await until_contenders(zk, path, width(layout))
            await background_ends()
            assert await watches(server) == before
        await until_clean(server, zk, path)


async def test_a_timeout_is_a_timeout_error(connect: Connector, path: str) -> None:
    async with connect() as zk, Lock(zk, path):
        with pytest.raises(TimeoutError):
            await Lock(zk, path).acquire(timeout=0.0)


async def test_without_blocking_a_taken_lock_is_none(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        first, second = Lock(zk, path), Lock(zk, path)
        held = await first.acquire(blocking=False)
        assert held is not None
        assert await second.acquire(blocking=False) is None
        await held.release()
        held = await second.acquire(blocking=False)
        assert held is not None
        await held.release()
        await until_clean(server, zk, path)


@pytest.mark.parametrize("steps", range(40))
async def test_a_task_cancelled_at_any_point_leaves_nothing(
    server: Server, connect: Connector, path: str, steps: int
) -> None:
    async with connect() as zk, connect() as other:
        async with Lock(zk, path):
            await background_ends()
            before = await watches(server)
            task = asyncio.create_task(Lock(other, path).acquire())
            for _ in range(steps):
                # Some of the turns have to wait for the server's answers.
                await asyncio.sleep(0 if steps % 3 else 0.0005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await other.sync(path)
            await until_contenders(zk, path, 2)
            await background_ends()
            assert await watches(server) == before
        await until_clean(server, zk, path)


async def test_a_release_is_all_that_the_next_one_needs(
    connect: Connector, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect() as zk, connect() as other:
        held = await Lock(zk, path).acquire()
        task = asyncio.create_task(Lock(other, path).acquire())
        await until_contenders(zk, path, 4)
        asked: list[int] = []
        submit = SessionKeeper.submit

        def count(session: SessionKeeper, op: int, *given: Any) -> Request[Any]:
            asked.append(op)
            return submit(session, op, *given)

        monkeypatch.setattr(SessionKeeper, "submit", count)
        while asked != [OpCode.SYNC, OpCode.SYNC]:  # until the other has nothing more to ask
            asked.clear()
            await zk.sync(path)
            await other.sync(path)
            await background_ends()
        asked.clear()
        await held.release()
        await (await task).release()
        assert asked == [OpCode.MULTI, OpCode.MULTI]


async def test_one_that_gives_up_in_the_middle_is_skipped(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        first = await Lock(zk, path).acquire()
        second = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(zk, path, 4)
        third = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(zk, path, 6)
        second.cancel()
        await until_contenders(zk, path, 4)
        assert not third.done()
        await first.release()
        await (await third).release()
        await until_clean(server, zk, path)


async def test_each_waits_for_one_other(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk:
        held = await Lock(zk, path, layout="curator").acquire()
        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(Lock(zk, path, layout="curator").acquire()))
            await until_contenders(zk, path, number + 2)
        # Each watches its own znode, and that is the one which the next one waits for.
        while await watches(server) != 11:
            await asyncio.sleep(0.001)
        await held.release()
        for task in tasks:
            await (await task).release()
        await until_clean(server, zk, path)


async def test_cancel_ends_the_waits_of_this_object(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, Lock(zk, path):
        lock = Lock(zk, path)
        waits = [asyncio.create_task(lock.acquire()) for _ in range(2)]
        await until_contenders(zk, path, 6)
        lock.cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(outcome, AcquireCancelledError) for outcome in outcomes)
        await until_contenders(zk, path, 2)


async def test_a_task_would_wait_for_itself(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = Lock(zk, path)
        async with lock:
            with pytest.raises(AlreadyHeldError):
                await lock.acquire()
        with pytest.raises(NotHeldError):
            await lock.release()


async def test_a_reentrant_lock_is_released_as_often_as_it_was_acquired(
    connect: Connector, path: str
) -> None:
    async with connect() as zk:
        lock = Lock(zk, path, reentrant=True)
        async with lock as outer:
            async with lock as inner:
                assert inner is outer
            assert not outer.is_released
            assert await Lock(zk, path).acquire(blocking=False) is None
        assert outer.is_released
        assert await znodes(zk, path) == 0


async def test_a_reentrant_lock_is_one_tasks(connect: Connector, path: str) -> None:
    async with connect() as zk:
        lock = Lock(zk, path, reentrant=True)
        async with lock:
            other = asyncio.create_task(lock.acquire(timeout=0.02))
            with pytest.raises(AcquireTimeoutError):
                await other


async def test_contenders_in_their_order(connect: Connector, path: str) -> None:
    async with connect() as zk:
        assert await Lock(zk, path).contenders() == []
        async with asyncio.TaskGroup() as group, Lock(zk, path, "first"):
            waits = []
            for number, name in enumerate(("second", "größer", "")):
                waits.append(group.create_task(Lock(zk, path, name).acquire()))
                await until_contenders(zk, path, 2 * number + 4)
            assert await Lock(zk, path).contenders() == ["first", "second", "größer", ""]
            for wait in waits:
                wait.cancel()


async def test_what_others_keep_there_does_not_matter(connect: Connector, path: str) -> None:
    async with connect() as zk:
        await zk.create(f"{path}/config", make_parents=True)
        async with Lock(zk, path) as held:
            assert held.is_sure


async def test_revocation_is_asked_for_and_the_holder_decides(
    connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        lock = Lock(zk, path)
        async with lock as held:
            assert not held.revoked.is_set()
            await Lock(other, path).revoke()
            async with asyncio.timeout(10):
                await held.revoked.wait()
            held.check()
        await Lock(other, path).revoke()  # nobody to ask


async def test_work_is_cancelled_when_the_lock_is_lost(connect: Connector, path: str) -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    async with connect() as zk, Lock(zk, path) as held:
        running = asyncio.create_task(held.run(work()))
        await turns(2)
        await zk.delete(held.path)
        with pytest.raises(LostError, match="gone"):
            await running
        assert ended


async def test_work_does_not_begin_when_the_lock_is_lost_or_released(
    connect: Connector, path: str
) -> None:
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    async with connect() as zk:
        held = await Lock(zk, path).acquire()
        await zk.delete(held.path)
        await held.lost.wait()
        with pytest.raises(LostError, match="gone"):
            await held.run(work())
        await held.release()
        held = await Lock(zk, path).acquire()
        await held.release()
        with pytest.raises(LostError, match="is released"):
            await held.run(work())
        with pytest.raises(TypeError, match="coroutine"):
            await held.run(work)  # type: ignore[arg-type]
    assert not begun


async def test_work_is_cancelled_when_the_lock_is_released(connect: Connector, path: str) -> None:
    async with connect() as zk:
        held = await Lock(zk, path).acquire()
        running = asyncio.create_task(held.run(asyncio.sleep(PATIENCE_SECONDS)))
        await turns(2)
        await held.release()
        with pytest.raises(LostError, match="is released"):
            await running


async def test_a_forked_child_holds_nothing(connect: Connector, path: str) -> None:
    async with (
        connect() as zk,
        Lock(zk, path) as held,
        LeaderLatch(zk, f"{path}-latch") as latch,
    ):
        leadership = await latch.wait_leading()
        child = os.fork()
        if not child:
            seen = (
                held.is_sure, held.lost.is_set(), latch.is_leading, leadership.lost.is_set(),
                zk.state, zk.session_deadline < 0,
            )  # fmt: skip
            try:
                held.check()
            except LostError as error:
                if "fork" in str(error):
                    expected = (False, True, False, True, SessionState.CLOSED, True)
                    os._exit(0 if seen == expected else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        held.check()
        assert held.is_sure
        assert latch.is_leading


async def test_work_returns_and_raises_what_is_its_own(connect: Connector, path: str) -> None:
    async def work(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    async with connect() as zk, Lock(zk, path) as held:
        assert await held.run(work(7)) == 7
        with pytest.raises(ValueError, match="-1"):
            await held.run(work(-1))


async def test_a_client_that_closes_gives_its_locks_to_others(
    connect: Connector, path: str
) -> None:
    async with connect() as zk:
        async with connect() as other:
            held = await Lock(other, path).acquire()
            waiting = asyncio.create_task(Lock(zk, path).acquire())
            await until_contenders(zk, path, 4)
        assert held.lost.is_set()
        await held.release()
        await (await waiting).release()
