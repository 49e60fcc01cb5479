"""Elections and latches: who leads, until when, and who follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kraal.recipes import (
    AcquireCancelledError,
    Held,
    LeaderElection,
    LeaderLatch,
    NotHeldError,
    NotRunningError,
    Participant,
)
from kraal.testing import Server
from tests.recipes.conftest import Connector, until, until_clean, until_contenders
from tests.support.proxy import Proxy


async def test_one_leads_at_a_time_and_epochs_grow(
    server: Server, connect: Connector, path: str
) -> None:
    epochs: list[int] = []
    leading = 0

    async def lead(leadership: Held) -> str:
        nonlocal leading
        leading += 1
        assert leading == 1
        epochs.append(leadership.token)
        await asyncio.sleep(0)
        leading -= 1
        return "done"

    async with connect() as zk, connect() as other:
        runs = [LeaderElection((zk, other)[n % 2], path, str(n)).run(lead) for n in range(6)]
        assert await asyncio.gather(*runs) == ["done"] * 6
        assert epochs == sorted(set(epochs))
        await until_clean(server, zk, path)


async def test_a_leader_that_loses_its_session_is_cancelled_and_stands_again(
    server: Server, connect: Connector, path: str
) -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def lead(leadership: Held) -> int:
        begun.append(leadership.token)
        if len(begun) == 2:
            return leadership.token
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(leadership.token)
        raise AssertionError

    async with connect() as zk:
        running = asyncio.create_task(LeaderElection(zk, path).run(lead))
        await until(lambda: bool(begun))
        server.expire(zk.session_id)
        assert await running == begun[1] > begun[0]
        assert ended == begun[:1]
        await until_clean(server, zk, path)


async def test_a_strict_leader_ends_with_its_connection(
    server: Server, connect: Connector, path: str
) -> None:
    epochs: list[int] = []

    async def lead(leadership: Held) -> None:
        epochs.append(leadership.token)
        if len(epochs) < 3:
            proxy.cut()
            await asyncio.Event().wait()

    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        await LeaderElection(zk, path, strict=True).run(lead)
        assert epochs == sorted(set(epochs))
        await until_clean(server, other, path)


async def test_the_error_of_a_leader_is_raised_and_leadership_given_up(
    server: Server, connect: Connector, path: str
) -> None:
    async def lead(leadership: Held) -> None:
        raise KeyError(leadership.path)

    async with connect() as zk:
        with pytest.raises(KeyError, match=path):
            await LeaderElection(zk, path).run(lead)
        await until_clean(server, zk, path)


async def test_what_is_no_coroutine_function_cannot_lead(
    server: Server, connect: Connector, path: str
) -> None:
    async def generate(leadership: Held) -> AsyncIterator[None]:
        yield

    async with connect() as zk:
        for lead in (generate, None, "lead"):
            with pytest.raises(TypeError, match="coroutine function"):
                await LeaderElection(zk, path).run(lead)  # type: ignore[arg-type]
        assert await zk.exists(path) is None
        with pytest.raises(TypeError, match="returned 1"):
            await LeaderElection(zk, path).run(lambda _: 1)  # type: ignore[arg-type,return-value]
        await until_clean(server, zk, path)


async def test_a_cancelled_run_gives_leadership_up(
    server: Server, connect: Connector, path: str
) -> None:
    async def lead(leadership: Held) -> None:
        await asyncio.Event().wait()

    async with connect() as zk:
        elections = [LeaderElection(zk, path, name) for name in "ab"]
        runs = []
        for number, election in enumerate(elections):
            runs.append(asyncio.create_task(election.run(lead)))
            await until_contenders(zk, path, 2 * number + 2)
        assert await elections[0].contenders() == ["a", "b"]
        elections[1].cancel()
        with pytest.raises(AcquireCancelledError):
            await runs[1]
        runs[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await runs[0]
        await until_clean(server, zk, path)


async def test_a_leader_is_asked_to_step_down(connect: Connector, path: str) -> None:
    async def lead(leadership: Held) -> str:
        await leadership.revoked.wait()
        return "stepped down"

    async with connect() as zk:
        election = LeaderElection(zk, path)
        running = asyncio.create_task(election.run(lead))
        await until_contenders(zk, path, 2)
        await election.revoke()
        assert await running == "stepped down"


async def test_a_latch_leads_until_it_closes(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        async with LeaderLatch(other, path, "b") as second:
            changes: list[bool] = []
            await until_contenders(zk, path, 2)
            async with LeaderLatch(zk, path, "a") as first:
                leadership = await second.wait_leading()
                assert second.is_leading
                assert second.token == leadership.token
                await until_contenders(zk, path, 4)
                assert not first.is_leading
                with pytest.raises(NotHeldError):
                    _ = first.token
                assert await first.leader() == "b"
                assert await first.participants() == [
                    Participant("b", True), Participant("a", False),
                ]  # fmt: skip
                end = first.on_change(changes.append)
                await second.close()
                assert not second.is_leading
                assert (await first.wait_leading()).token > leadership.token
                assert changes == [True]
            assert changes == [True, False]
            end()
        await until_clean(server, zk, path)
        assert await second.leader() is None


async def test_a_latch_takes_part_again_after_a_loss(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        changes: list[bool] = []
        async with LeaderLatch(zk, path) as latch:
            latch.on_change(changes.append)
            first = await latch.wait_leading()
            server.expire(zk.session_id)
            await until(first.lost.is_set)
            assert not latch.is_leading
            assert (await latch.wait_leading()).token > first.token
        assert changes == [True, False, True, False]
        await until_clean(server, zk, path)


async def test_who_waits_for_a_latch_that_closes_learns_of_it(
    connect: Connector, path: str
) -> None:
    async with connect() as zk:
        latch = LeaderLatch(zk, path)
        with pytest.raises(NotRunningError, match="not started"):
            await latch.wait_leading()
        async with LeaderLatch(zk, path) as other:
            await other.wait_leading()
            await latch.start()
            waiting = asyncio.create_task(latch.wait_leading())
            await until_contenders(zk, path, 4)
            await latch.close()
            with pytest.raises(NotRunningError, match="closed"):
                await waiting
