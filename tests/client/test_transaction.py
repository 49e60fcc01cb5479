"""Transactions, multi_read, protected creates and the view that retries."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest

from kraal.client import (
    BadVersionError,
    ClosedError,
    ConnectionLossError,
    Created,
    CreateMode,
    Get,
    GetChildren,
    Node,
    NodeExistsError,
    NoNodeError,
    Protected,
    Retry,
    RuntimeInconsistencyError,
    SessionState,
    Stat,
    TransactionError,
)
from kraal.errors import ErrorCode
from kraal.wire.opcodes import OpCode
from tests.client.conftest import Connector
from tests.client.scripted import client_of, reply
from tests.client.test_session import changed_to
from tests.support.proxy import Proxy
from tests.support.servers import Server


async def test_a_transaction_happens_at_one_zxid(connect: Connector) -> None:
    async with connect() as zk:
        await zk.create("/a")
        async with zk.transaction() as t:
            t.check("/a", 0).set("/a", b"x").create("/s-", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
            t.create_with_stat("/c", b"data", mode=CreateMode.CONTAINER)
            t.create("/t", mode=CreateMode.PERSISTENT_WITH_TTL, ttl=60)
            t.create_with_stat("/p", b"").delete("/p")
            assert len(t) == 7
        check, stat, path, container, ttl, created, deleted = t.results
        assert (check, path, ttl, deleted) == (None, "/s-0000000001", "/t", None)
        assert isinstance(stat, Stat) and stat.version == 1
        assert isinstance(container, Created) and container.path == "/c"
        assert isinstance(created, Created) and created.stat.czxid == stat.mzxid


async def test_a_refused_transaction_changes_nothing(connect: Connector) -> None:
    async with connect() as zk:
        with pytest.raises(TransactionError, match=r"operation 1 .*: /b$") as caught:
            async with zk.transaction() as t:
                t.create("/a").set("/b", b"").create("/c")
        error = caught.value
        assert (error.index, error.path) == (1, "/b")
        assert isinstance(error.error, NoNodeError)
        assert error.code == NoNodeError.code
        first, second, third = error.results
        assert first is None
        assert isinstance(second, NoNodeError)
        assert isinstance(third, RuntimeInconsistencyError)
        assert await zk.get_children("/") == []
        with pytest.raises(TransactionError) as first_one:
            await zk.transaction().check("/", 99).create("/a").commit()
        assert isinstance(first_one.value.error, BadVersionError)


async def test_a_block_that_raises_sends_nothing(connect: Connector) -> None:
    async with connect() as zk:
        with pytest.raises(KeyError):
            async with zk.transaction() as t:
                t.create("/a")
                raise KeyError
        assert await zk.exists("/a") is None
        empty = zk.transaction()
        assert await empty.commit() == []
        with pytest.raises(ClosedError, match="committed already"):
            empty.create("/a")


async def test_multi_read(connect: Connector) -> None:
    async with connect() as zk:
        await zk.create("/a", b"x")
        await zk.create("/a/b")
        node, names, missing = await zk.multi_read([Get("/a"), GetChildren("/a"), Get("/nope")])
        assert isinstance(node, Node) and node.data == b"x"
        assert names == ["b"]
        assert isinstance(missing, NoNodeError)
        assert missing.path == "/nope"
        assert await zk.multi_read([]) == []
        reads = (GetChildren(path) for path in ("/a", "/"))
        assert await zk.multi_read(reads) == [["b"], ["a"]]


@pytest.mark.parametrize(
    ("name", "start"), [(Protected.CURATOR, "/_c_id-lock-"), (Protected.KAZOO, "/idlock-")]
)
async def test_protected_names(connect: Connector, name: Protected, start: str) -> None:
    async with connect() as zk:
        created = await zk.create_protected("/lock-", name=name, id="id")
        assert created.path == f"{start}0000000000"
        assert created.stat.ephemeral_owner == zk.session_id
        random_one = await zk.create_protected("/lock-", name=name)
        assert random_one.path.endswith("lock-0000000001")


async def test_a_protected_create_finds_what_a_lost_answer_has_created(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect() as other, connect(port=proxy.port) as zk:
        proxy.hold_answers()
        waiting = asyncio.ensure_future(zk.create_protected("/lock-"))
        while not await other.get_children("/"):
            await asyncio.sleep(0.01)
        proxy.cut()
        proxy.release()
        created = await waiting
        assert await other.get_children("/") == [created.path[1:]]


async def test_a_protected_create_that_did_not_arrive_is_repeated(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        proxy.hold_requests()
        waiting = asyncio.ensure_future(zk.create_protected("/lock-"))
        await asyncio.sleep(0.05)
        proxy.cut()
        proxy.release()
        created = await waiting
        assert await zk.get_children("/") == [created.path[1:]]


async def test_a_server_that_throttles_leaves_no_doubt_of_a_protected_create() -> None:
    asked: list[int] = []

    def answer(xid: int, op: int, body: bytes) -> bytes | None:
        asked.append(op)
        if op == OpCode.CREATE2:
            return None
        if op == OpCode.SYNC:
            is_busy = asked.count(op) == 1
            return reply(xid, ErrorCode.THROTTLED_OP) if is_busy else reply(xid, 0, ustring("/"))
        if op == OpCode.GET_CHILDREN:
            return reply(xid, 0, struct.pack(">i", 1) + ustring("_c_id-lock-0000000000"))
        return reply(xid, 0, bytes(68))

    async with client_of(answer) as (zk, _):
        assert (await zk.create_protected("/lock-", id="id")).path == "/_c_id-lock-0000000000"
        assert asked.count(OpCode.CREATE2) == 1


def ustring(text: str) -> bytes:
    return struct.pack(">i", len(text)) + text.encode()


async def test_a_cancelled_protected_create_leaves_nothing(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect() as other:
        for cut in (False, True):
            async with connect(port=proxy.port) as zk:
                proxy.hold_answers()
                waiting = asyncio.ensure_future(
                    zk.create_protected("/p-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
                )
                while not await other.get_children("/"):
                    await asyncio.sleep(0.01)
                waiting.cancel()
                if cut:
                    proxy.cut()
                proxy.release()
                await asyncio.wait((waiting,))
                assert waiting.cancelled()
                while await other.get_children("/"):
                    await asyncio.sleep(0.01)


async def test_close_waits_for_what_a_cancelled_create_has_left(connect: Connector) -> None:
    async with connect() as other:
        async with connect() as zk:
            waiting = asyncio.ensure_future(
                zk.create_protected("/p-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
            )
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait((waiting,))
        assert await other.get_children("/") == []


async def test_retrying_repeats_reads_and_no_writes_in_doubt(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        again = zk.retrying(Retry(attempts=5, base=0.01))
        await zk.create("/a", b"x")
        proxy.hold_answers()
        reading = asyncio.ensure_future(again.get("/a"))
        ensuring = asyncio.ensure_future(again.ensure_path("/p/q"))
        writing = asyncio.ensure_future(again.set("/a", b"y"))
        await asyncio.sleep(0.05)
        proxy.cut()
        proxy.release()
        assert (await reading).data in (b"x", b"y")
        await ensuring
        with pytest.raises(ConnectionLossError) as caught:
            await writing
        assert caught.value.sent
        with pytest.raises(NodeExistsError):
            await again.create("/a")


async def test_retrying_gives_up(connect: Connector, server: Server) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect(port=proxy.port, while_disconnected="fail") as zk,
    ):
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        with pytest.raises(ConnectionLossError):
            await zk.retrying(Retry(attempts=2, base=0.01)).create("/a")
        waiting = asyncio.ensure_future(zk.retrying(Retry(base=0.01)).create("/a"))
        await asyncio.sleep(0.02)
        proxy.allow()
        assert await waiting == "/a"


def test_pauses_grow_up_to_a_limit() -> None:
    rng = random.Random(1)
    steady = Retry(base=0.1, max=1.0, jitter=0)
    assert [steady.pause(n, rng) for n in (1, 2, 3, 9, 5000)] == [0.1, 0.2, 0.4, 1.0, 1.0]
    shaken = Retry(base=1, max=1, jitter=0.5)
    assert all(0.5 <= shaken.pause(1, rng) <= 1 for _ in range(50))
    with pytest.raises(ValueError, match="impossible"):
        Retry(attempts=0)
