"""The lock when connections are lost, sessions end, and both happen at random."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, suppress

import pytest

from kraal.client import Client, ClosedError, ConnectionLossError, SessionExpiredError, SessionState
from kraal.recipes import Held, Lock, LostError
from kraal.testing import Server
from tests.recipes.conftest import (
    Connector,
    turns,
    until,
    until_clean,
    until_contenders,
    znodes,
)
from tests.support.proxy import Proxy


async def lost(held: Held) -> None:
    async with asyncio.timeout(20):
        await held.lost.wait()


async def connected(zk: Client) -> None:
    await until(lambda: zk.state is SessionState.CONNECTED)


async def test_a_short_disconnection_loses_nothing(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk:
        async with Lock(zk, path) as held:
            proxy.refuse()
            await until(lambda: not held.is_sure)
            held.check()
            proxy.allow()
            await connected(zk)
            assert held.is_sure
            assert not held.lost.is_set()
        await until_clean(server, zk, path)


async def test_a_strict_lock_is_lost_with_the_connection(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk:
        async with Lock(zk, path, strict=True) as held:
            proxy.cut()
            await lost(held)
            with pytest.raises(LostError, match="connection is lost"):
                held.check()
            await connected(zk)
            assert not held.is_sure
        await until_clean(server, zk, path)


async def test_a_lock_is_lost_before_another_client_can_have_it(
    server: Server, connect: Connector, path: str
) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect(proxy.port, session_timeout=0.4) as zk,
        connect() as other,
    ):
        async with Lock(zk, path) as held:
            waiting = asyncio.create_task(Lock(other, path).acquire())
            await until_contenders(other, path, 4)
            proxy.refuse()
            assert not held.lost.is_set()
            theirs = await waiting
            assert held.lost.is_set()
            assert theirs.token > held.token
            await theirs.release()
            proxy.allow()
        await until_clean(server, other, path)


async def test_a_lock_is_lost_when_no_server_answers(
    server: Server, connect: Connector, path: str
) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect(proxy.port, session_timeout=0.4) as zk,
        connect() as other,
    ):
        held = await Lock(zk, path).acquire()
        waiting = asyncio.create_task(Lock(other, path).acquire())
        await until_contenders(other, path, 4)
        proxy.hold_requests()
        theirs = await waiting
        assert held.lost.is_set()
        proxy.release()
        await held.release()
        await theirs.release()


async def test_a_lock_is_lost_with_its_session(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        lock = Lock(zk, path)
        async with lock as held:
            session = zk.session_id
            server.expire(session)
            await lost(held)
            with pytest.raises(LostError, match="the session is over"):
                held.check()
            await until(lambda: zk.session_id not in (0, session))
        async with lock as again:
            assert again.token > held.token
        await until_clean(server, zk, path)


async def test_a_lock_is_lost_when_its_znode_is_deleted(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        async with Lock(zk, path) as held:
            for name in await other.get_children(path):
                await other.delete(f"{path}/{name}")
            await lost(held)
            assert not held.is_sure
            with pytest.raises(LostError, match="its znode is gone"):
                held.check()
        await until_clean(server, zk, path)


async def test_a_lock_is_lost_with_its_client(connect: Connector, path: str) -> None:
    async with connect() as zk:
        held = await Lock(zk, path).acquire()
    assert held.lost.is_set()
    with pytest.raises(LostError, match="the client was closed"):
        held.check()


async def test_a_release_without_connection_is_made_up_for(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        held = await Lock(zk, path).acquire()
        proxy.refuse()
        await until(lambda: zk.state is SessionState.CONNECTING)
        await held.release()  # returns at once
        assert await znodes(other, path) == 2
        proxy.allow()
        await until_clean(server, other, path)


async def test_a_release_in_doubt_is_made_up_for(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        held = await Lock(zk, path).acquire()
        proxy.hold_requests()
        release = asyncio.create_task(held.release())
        await turns(5)
        proxy.cut()
        proxy.release()
        await release
        await until_clean(server, other, path)


async def test_a_creation_whose_answer_is_lost_happens_once(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        await other.ensure_path(path)
        proxy.hold_answers()
        acquiring = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(other, path, 2)
        proxy.cut()
        proxy.release()
        held = await acquiring
        assert await znodes(other, path) == 2
        await held.release()
        await until_clean(server, other, path)


async def test_a_creation_that_is_given_up_in_doubt_leaves_nothing(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        await other.ensure_path(path)
        proxy.hold_answers()
        acquiring = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(other, path, 2)
        acquiring.cancel()
        proxy.cut()
        proxy.release()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        await until_clean(server, other, path)


async def test_a_wait_survives_its_connection(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        held = await Lock(other, path).acquire()
        waiting = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(other, path, 4)
        proxy.refuse()
        await held.release()  # the event comes after the reconnection
        await until_contenders(other, path, 2)
        assert not waiting.done()
        proxy.allow()
        await (await waiting).release()
        await until_clean(server, other, path)


async def test_who_waits_queues_again_after_the_end_of_the_session(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        held = await Lock(other, path).acquire()
        waiting = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(other, path, 4)
        server.expire(zk.session_id)
        await until_contenders(other, path, 4)
        assert not waiting.done()
        await held.release()
        theirs = await waiting
        assert (await zk.get(theirs.path)).stat.ephemeral_owner == zk.session_id
        await theirs.release()
        await until_clean(server, other, path)


async def test_who_waits_queues_again_when_its_znode_is_deleted(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        held = await Lock(other, path).acquire()
        before = set(await other.get_children(path))
        waiting = asyncio.create_task(Lock(zk, path).acquire())
        await until_contenders(other, path, 4)
        for name in set(await other.get_children(path)) - before:
            with suppress(Exception):
                await other.delete(f"{path}/{name}")
        await until_contenders(other, path, 4)
        await held.release()
        await (await waiting).release()
        await until_clean(server, other, path)


async def test_a_wait_ends_when_its_client_is_closed(connect: Connector, path: str) -> None:
    async with connect() as other, Lock(other, path):
        async with connect() as zk:
            lock = Lock(zk, path)
            waiting = asyncio.create_task(lock.acquire())
            await until_contenders(other, path, 4)
        with pytest.raises(ClosedError):
            await waiting
        with pytest.raises(ClosedError):
            await lock.acquire()
        await until_contenders(other, path, 2)


async def test_a_process_that_stood_still_for_too_long_does_not_pass_the_check(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect(session_timeout=0.4) as zk, Lock(zk, path) as held:
        time.sleep(0.5)  # nothing else runs in this process, and no ping is sent
        assert not held.is_sure
        assert not held.lost.is_set()
        with pytest.raises(LostError, match="no server"):
            held.check()
        assert held.lost.is_set()


@pytest.mark.parametrize("seed", range(4))
async def test_random_faults_never_make_two_holders(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    """Clients whose connections are cut, whose sessions end, and who give up at any point.

    The holder's knowledge lags behind an end of its session that comes out of nothing, so what is
    checked is what the servers promise: whoever holds the lock has the first znode.
    """
    rng = random.Random(seed)
    rounds, highest = 0, 0

    async def contend(zk: Client) -> None:
        nonlocal rounds, highest
        lock = Lock(zk, path)
        for _ in range(12):
            try:
                async with asyncio.timeout(rng.choice((None, None, rng.random() * 0.02))):
                    async with lock as held:
                        await turns(rng.randrange(4))
                        with suppress(LostError, ConnectionLossError, SessionExpiredError):
                            held.check()
                            stat = await zk.exists(held.path)
                            if stat is not None and held.is_sure:
                                assert held.token >= highest
                                highest = max(highest, held.token)
                            rounds += 1
            except TimeoutError:
                pass

    async with Proxy(server.port) as proxy, connect() as observer, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(proxy.port)) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(contend(zk)) for zk in clients]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(rng.random() * 0.01)
                if rng.random() < 0.5:
                    proxy.cut()
                elif (zk := rng.choice(clients)).session_id in server.sessions():
                    with suppress(Exception):
                        server.expire(zk.session_id)
        assert rounds
        for zk in clients:
            await connected(zk)
        await until_clean(server, observer, path)
