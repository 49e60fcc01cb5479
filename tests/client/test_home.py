"""A client belongs to one event loop, and to one owner: others are told so, and nothing is sent."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from collections.abc import Awaitable, Callable

import pytest

import kraal
from kraal import testing
from kraal.client import Client, ClosedError, ForeignLoopError, SessionState
from tests.client.conftest import Connector
from tests.support.servers import Server

Use = Callable[[Client], Awaitable[object]]


async def _first_state(zk: Client) -> SessionState:
    states = zk.states()
    await anext(states)
    return await anext(states)


USES: list[Use] = [
    lambda zk: zk.create("/written"),
    lambda zk: zk.retrying().create("/written"),
    lambda zk: zk.transaction().create("/written").commit(),
    lambda zk: zk.add_watch("/", print),
    lambda zk: zk.wait_connected(),
    lambda zk: zk.add_auth("digest", b"a:b"),
    lambda zk: zk.close(),
    _first_state,
]


@pytest.mark.parametrize("use", USES)
async def test_another_loop_is_refused_and_nothing_is_sent(connect: Connector, use: Use) -> None:
    async with connect() as zk:
        with pytest.raises(ForeignLoopError, match=r"another event loop; kraal\.sync"):
            await asyncio.to_thread(lambda: asyncio.run(_awaited(use, zk)))
        assert zk.state is SessionState.CONNECTED
        assert await zk.exists("/written") is None


async def _awaited(use: Use, zk: Client) -> None:
    await use(zk)


async def test_a_thread_without_a_loop_is_refused(connect: Connector, server: Server) -> None:
    async with connect() as zk:
        watch = await zk.add_watch("/a", print)
        for use in (
            lambda: zk.forget_watch("/a", print),
            lambda: zk.set_hosts(f"h:1{zk._chroot.decode()}"),
            lambda: watch.remove().__await__().send(None),
        ):
            with pytest.raises(ForeignLoopError):
                await asyncio.to_thread(use)
        await zk.create("/a")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # as asyncio leaves them
def test_a_second_run_of_asyncio_is_refused() -> None:
    with testing.Server() as server:
        _use_in_two_runs(server.hosts)
        gc.collect()


def _use_in_two_runs(hosts: str) -> None:
    zk = kraal.connect(hosts)
    asyncio.run(zk.start())
    with pytest.raises(ForeignLoopError):
        asyncio.run(zk.get("/"))
    with pytest.raises(ForeignLoopError):
        asyncio.run(zk.close())


def test_a_closed_client_is_closed_on_every_loop() -> None:
    with testing.Server() as server:
        zk = kraal.connect(server.hosts)

        async def live() -> None:
            async with zk:
                await zk.get("/")

        asyncio.run(live())
        asyncio.run(zk.close())
        with pytest.raises(ClosedError):
            asyncio.run(zk.get("/"))
        with pytest.raises(ClosedError):
            asyncio.run(zk.start())


async def test_a_loop_that_rests_may_be_used_from_outside() -> None:
    """Between two turns nothing else is at work."""
    with testing.Server() as server:

        def live() -> None:
            zk = kraal.connect(server.hosts)
            with asyncio.Runner() as runner:
                runner.run(zk.start())
                zk.forget_watch("/", print)
                zk.set_hosts(server.hosts)
                runner.run(zk.close())

        await asyncio.to_thread(live)


async def test_a_client_is_not_copied(connect: Connector) -> None:
    async with connect() as zk:
        for make in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="a client cannot be copied or pickled"):
                make(zk)


async def test_states_can_be_left_at_any_time(connect: Connector) -> None:
    async with connect() as zk:
        states = zk.states()
        assert await anext(states) is SessionState.CONNECTED
        later = zk.states()
        del states
        assert not zk._session.states._callbacks
    assert [state async for state in later] == [SessionState.CLOSED]
    assert [state async for state in later] == []
    assert [state async for state in zk.states()] == [SessionState.CLOSED]
    assert not zk._session.states._callbacks
