"""What servers do that they must not, or that is rare: the client goes on, or says why not."""

from __future__ import annotations

import asyncio
import logging
import struct
import time

import pytest

import kraal
from kraal.client import (
    AuthFailedError,
    ConnectionLossError,
    EventType,
    QuotaExceededError,
    SessionState,
    ThrottledError,
    UnknownCodeError,
    WatchEvent,
)
from tests.client.conftest import Connector
from tests.client.scripted import ScriptedServer, accepted, client_of, frame, reply
from tests.client.test_session import changed_to
from tests.support.servers import HOST

PING = 11


@pytest.mark.parametrize(
    "nonsense",
    [
        struct.pack(">i", -1),
        struct.pack(">i", 1 << 30),
        frame(b"short"),
        reply(99),
        frame(struct.pack(">iqi", 1, 1, 0) + b"\0\0"),
        frame(struct.pack(">iqi", 1, 1, 0) + struct.pack(">i", -2)),
        frame(struct.pack(">iqi", 1, 1, 0) + struct.pack(">i", 1 << 20)),
        frame(struct.pack(">iqi", -1, 1, 0) + b"\0"),
    ],
)
async def test_nonsense_ends_the_connection_and_not_the_client(nonsense: bytes) -> None:
    answers = [nonsense]

    def answer(xid: int, op: int, body: bytes) -> bytes | None:
        return answers.pop() if answers else reply(xid, -101)

    async with client_of(answer) as (zk, scripted):
        with pytest.raises(ConnectionLossError):
            await zk.get("/a")
        assert await zk.exists("/a") is None
        assert len(scripted.greetings) == 2


@pytest.mark.parametrize("hello", [frame(b""), frame(bytes(16)), frame(bytes(40)), None])
async def test_a_handshake_that_makes_no_sense_is_tried_again(hello: bytes | None) -> None:
    async with client_of(lambda xid, *_: reply(xid, -101), hello, accepted()) as (zk, _scripted):
        assert zk.session_id == 7


async def test_a_handshake_without_the_read_only_byte_is_accepted() -> None:
    old = accepted(read_only=None)
    async with client_of(lambda xid, *_: reply(xid, -101), old) as (zk, _scripted):
        assert zk.state is SessionState.CONNECTED


async def test_codes_that_are_rare() -> None:
    codes = {b"/quota": -125, b"/throttled": -127, b"/new": -4711}

    def answer(xid: int, op: int, body: bytes) -> bytes | None:
        return reply(xid, codes.get(body[4:-1], 0))

    async with client_of(answer) as (zk, _scripted):
        with pytest.raises(QuotaExceededError):
            await zk.get("/quota")
        with pytest.raises(ThrottledError):
            await zk.get("/throttled")
        with pytest.raises(UnknownCodeError) as unknown:
            await zk.get("/new")
        assert unknown.value.code == -4711


async def test_a_server_that_requires_sasl_is_no_use() -> None:
    async with client_of(lambda xid, *_: reply(xid, -124), session_timeout=0.3) as (zk, _scripted):
        await changed_to(zk, SessionState.AUTH_FAILED)
        with pytest.raises(AuthFailedError):
            await zk.get("/a")


async def test_an_unknown_event_is_passed_over() -> None:
    events: list[WatchEvent] = []
    told = b"".join(
        reply(-1, zxid=5, body=struct.pack(">iii", kind, 3, 2) + b"/a") for kind in (77, 1)
    )

    def answer(xid: int, op: int, body: bytes) -> bytes | None:
        return reply(xid, -101) + told

    async with client_of(answer) as (zk, _scripted):
        assert await zk.exists("/a", watch=events.append) is None
        while not events:
            await asyncio.sleep(0.01)
    assert events == [(EventType.CREATED, "/a", 5)]


async def test_the_zxid_that_was_seen_is_told_to_the_next_server() -> None:
    def answer(xid: int, op: int, body: bytes) -> bytes | None:
        return reply(xid, -101, zxid=0x1_0000_0007) if body[4:6] == b"/a" else None

    async with client_of(answer, session_timeout=5) as (zk, scripted):
        await zk.exists("/a")
        assert zk.last_zxid == 0x1_0000_0007
        with pytest.raises(ConnectionLossError):
            await zk.exists("/b")
        await zk.exists("/a")
    assert scripted.greetings == [(0, 5000, 0), (0x1_0000_0007, 5000, 7)]


async def test_a_server_that_is_behind_is_left_for_another() -> None:
    """A server refuses, without a word, a client that has seen more than itself."""

    def answer(xid: int, op: int, body: bytes) -> bytes | None:
        return reply(xid, -101, zxid=50) if body[4:6] == b"/a" else None

    async with (
        ScriptedServer(answer) as other,
        client_of(answer, accepted(), None) as (zk, one),
    ):
        await zk.exists("/a")
        with pytest.raises(ConnectionLossError):
            await zk.exists("/b")
        zk.set_hosts(f"{HOST}:{one.port},{HOST}:{other.port}")
        await zk.exists("/a")
        assert zk.server == (HOST, other.port)
        assert zk.session_id == 7


async def test_a_silent_server_costs_only_its_share_of_the_timeout() -> None:
    """All servers can be tried before the session would end."""
    async with ScriptedServer(lambda xid, *_: reply(xid, -101)) as scripted:
        silent = [await asyncio.start_server(_say_nothing, HOST, 0) for _ in range(3)]
        ports = [each.sockets[0].getsockname()[1] for each in silent]
        hosts = ",".join(f"{HOST}:{port}" for port in (*ports, scripted.port))
        began = time.monotonic()
        async with kraal.connect(hosts, session_timeout=1.2):
            assert time.monotonic() - began < 1.2
        for each in silent:
            each.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await reader.read()
    writer.close()


async def test_a_blocked_loop_is_reported_and_harms_nothing(
    connect: Connector, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(session_timeout=0.9) as zk:
        states: list[SessionState] = []
        zk.on_state(states.append)
        with caplog.at_level(logging.WARNING, "kraal.client"):
            await asyncio.sleep(0)
            time.sleep(0.7)
            await asyncio.sleep(0.2)
        assert "the event loop was blocked for 0." in caplog.text
        assert states == []
        await zk.get("/")


async def test_an_expired_session_does_not_make_the_client_forget_what_it_has_seen() -> None:
    """A server that lags refuses it; that the session is over as well says nothing of lost data."""
    lags = True

    def hello(zxid: int, session: int) -> bytes | None:
        if zxid == 0:
            return accepted(0 if session else 300)
        return None if lags else accepted(10_000, session=8)

    def answer(xid: int, _op: int, _body: bytes) -> bytes | None:
        return None if xid > 1 else reply(xid, -101, zxid=100)

    async with client_of(answer, hello, session_timeout=0.3) as (zk, scripted):
        await zk.exists("/a")
        expiry = asyncio.create_task(changed_to(zk, SessionState.EXPIRED))
        with pytest.raises(ConnectionLossError):
            await zk.exists("/a")
        await expiry
        lags = False
        await zk.wait_connected()
        assert zk.session_id == 8
        assert scripted.greetings[-1][0] == zk.last_zxid == 100
