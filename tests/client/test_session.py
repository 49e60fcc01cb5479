"""Sessions over connections that break: states, at most once, expiry, closing, cancellation."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

import kraal
import kraal.testing
from kraal.client import (
    OPEN_ACL,
    AuthFailedError,
    Client,
    ClosedError,
    ConnectionLossError,
    CreateMode,
    EventType,
    ForkedError,
    NoNodeError,
    RequestTimeoutError,
    SessionExpiredError,
    SessionState,
    WatchEvent,
)
from kraal.client import session as session_module
from kraal.client.codec import decode_path
from kraal.client.connection import Request
from kraal.errors import ConfigError
from kraal.wire.opcodes import OpCode
from tests.client.conftest import Connector
from tests.support.proxy import Proxy
from tests.support.servers import HOST, Server, free_port


async def changed_to(zk: Client, state: SessionState) -> None:
    async for now in zk.states():
        if now is state:
            return


async def test_the_session_survives_its_connection(connect: Connector, server: Server) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        session = zk.session
        await zk.create("/e", mode=CreateMode.EPHEMERAL)
        proxy.cut()
        await changed_to(zk, SessionState.CONNECTING)
        assert (await zk.get("/e")).stat.ephemeral_owner == session.id
        assert zk.session == session
        assert proxy.connections == 2


async def test_states_are_told_in_order(connect: Connector, server: Server) -> None:
    seen: list[SessionState] = []
    async with Proxy(server.port) as proxy:
        async with connect(port=proxy.port) as zk:
            unsubscribe = zk.on_state(seen.append)
            proxy.cut()
            await changed_to(zk, SessionState.CONNECTING)
            await zk.wait_connected()
        unsubscribe()
    assert seen == [SessionState.CONNECTING, SessionState.CONNECTED, SessionState.CLOSED]


async def test_a_lost_answer_is_in_doubt_and_never_repeated(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect() as other, connect(port=proxy.port) as zk:
        proxy.hold_answers()
        waiting = asyncio.ensure_future(zk.create("/s-", mode=CreateMode.PERSISTENT_SEQUENTIAL))
        while not await other.get_children("/"):
            await asyncio.sleep(0.01)
        proxy.release()
        proxy.cut()
        with pytest.raises(ConnectionLossError) as caught:
            await waiting
        assert caught.value.sent
        assert caught.value.path == "/s-"
        await zk.sync()
        assert await zk.get_children("/") == ["s-0000000000"]


async def test_unsent_requests_wait_for_the_next_connection(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        waiting = [asyncio.ensure_future(zk.create(f"/{n}")) for n in range(3)]
        await asyncio.sleep(0)
        proxy.allow()
        assert await asyncio.gather(*waiting) == ["/0", "/1", "/2"]


async def test_unsent_requests_fail_where_they_shall_not_wait(
    connect: Connector, server: Server
) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect(port=proxy.port, while_disconnected="fail") as zk,
    ):
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        with pytest.raises(ConnectionLossError) as caught:
            await zk.get("/")
        assert not caught.value.sent


async def test_request_timeout_says_whether_the_request_was_sent(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port, request_timeout=0.1) as zk:
        proxy.hold_answers()
        with pytest.raises(RequestTimeoutError) as late:
            await zk.get("/")
        assert late.value.sent
        proxy.release()
        assert (await zk.get("/")).data == b""  # the late answer was dropped, not taken for this
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        with pytest.raises(ConnectionLossError) as unsent:
            await zk.get("/")
        assert not unsent.value.sent


async def test_cancelled_before_it_was_sent_is_never_sent(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        proxy.hold_answers()
        reading = asyncio.ensure_future(zk.exists("/"))
        await asyncio.sleep(0)
        task = asyncio.ensure_future(zk.create("/same-turn"))
        task.add_done_callback(lambda _: proxy.release())
        asyncio.get_running_loop().call_soon(task.cancel)
        await reading
        assert task.cancelled()
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        waiting = asyncio.ensure_future(zk.create("/disconnected"))
        await asyncio.sleep(0)
        waiting.cancel()
        proxy.allow()
        await zk.create("/last")
        assert await zk.get_children("/") == ["last"]


async def test_cancelled_after_it_was_sent_leaves_its_place(connect: Connector) -> None:
    async with connect() as zk:
        for name in "abc":
            await zk.create(f"/{name}", name.encode())
        tasks = [asyncio.ensure_future(zk.get(f"/{name}")) for name in "abc"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[1].cancel()
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert not isinstance(first, BaseException) and first.data == b"a"
        assert isinstance(second, asyncio.CancelledError)
        assert not isinstance(third, BaseException) and third.data == b"c"


WRITES: list[tuple[Callable[[Client], Awaitable[object]], str]] = [
    (lambda zk: zk.create("/new"), "create /new"),
    (lambda zk: zk.create_with_stat("/new"), "create /new"),
    (lambda zk: zk.create("/new", mode=CreateMode.CONTAINER), "create /new"),
    (lambda zk: zk.set("/a", b"x"), "set /a"),
    (lambda zk: zk.set_acl("/a", OPEN_ACL), "set_acl /a"),
    (lambda zk: zk.delete("/a"), "delete /a"),
    (lambda zk: zk.transaction().set("/a", b"x").commit(), "a transaction"),
    (lambda zk: zk.retrying().set("/a", b"x"), "set /a"),
    (lambda zk: zk.reconfig(leaving="9"), "reconfig"),
]


async def test_a_write_that_was_cancelled_says_that_it_may_take_effect(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        await zk.create("/a")
        proxy.hold_requests()
        for write, name in WRITES:
            with pytest.raises(TimeoutError) as late:
                async with asyncio.timeout(0.01):
                    await write(zk)
            note = f"{name} was sent and may take effect"
            assert getattr(late.value.__cause__, "__notes__", []) == [note]
        for read in (zk.get("/a"), zk.sync(), zk.create_protected("/p-")):
            with pytest.raises(TimeoutError) as late:
                async with asyncio.timeout(0.01):
                    await read
            assert not hasattr(late.value.__cause__, "__notes__"), "nothing is left in doubt"
        proxy.refuse()
        proxy.release()
        await changed_to(zk, SessionState.CONNECTING)
        with pytest.raises(TimeoutError) as late:
            async with asyncio.timeout(0.01):
                await zk.create("/unsent")
        assert not hasattr(late.value.__cause__, "__notes__"), "it was not sent"
        proxy.allow()


async def test_what_a_server_has_refused_is_not_in_doubt() -> None:
    errors = (None, ConnectionLossError(), NoNodeError())
    in_doubt = []
    for error in errors:
        answer = asyncio.get_running_loop().create_future()
        request = Request(answer, OpCode.CREATE, b"", decode_path, "/a", None)
        assert not request.is_in_doubt, "it was not sent"
        request.sent = True
        if error is None:
            answer.set_result("/a")
        else:
            request.fail(error)
        in_doubt.append(request.is_in_doubt)
    assert in_doubt == [True, True, False]


async def test_an_expired_session_is_followed_by_a_new_one(
    connect: Connector, server: Server
) -> None:
    states: list[SessionState] = []
    events: list[WatchEvent] = []
    async with Proxy(server.port) as proxy, connect(port=proxy.port, session_timeout=0.4) as zk:
        old = zk.session_id
        await zk.create("/e", mode=CreateMode.EPHEMERAL)
        await zk.get("/e", watch=events.append)
        zk.on_state(states.append)
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        waiting = asyncio.ensure_future(zk.create("/late"))
        async with connect() as other:
            while await other.exists("/e"):
                await asyncio.sleep(0.05)
        proxy.allow()
        with pytest.raises(SessionExpiredError):
            await waiting
        await zk.wait_connected()
        assert zk.session_id != old
        assert states == [
            SessionState.CONNECTING,
            SessionState.EXPIRED,
            SessionState.CONNECTING,
            SessionState.CONNECTED,
        ]
        assert [event.type for event in events] == [EventType.SESSION_LOST]
        assert await zk.get_children("/") == []


async def test_silence_of_the_server_is_noticed(connect: Connector, server: Server) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port, session_timeout=0.6) as zk:
        proxy.hold_answers()
        await changed_to(zk, SessionState.CONNECTING)
        proxy.release()
        await zk.wait_connected()
        assert await zk.get_children("/") == []


async def test_the_deadline_moves_with_every_answer_and_stays_without(
    connect: Connector, server: Server
) -> None:
    time = asyncio.get_running_loop().time
    began = time()
    async with (
        Proxy(server.port) as proxy,
        connect(port=proxy.port, session_timeout=0.6) as zk,
        connect() as other,
    ):
        await zk.create("/a", mode=CreateMode.EPHEMERAL)
        first = zk.session_deadline
        assert began + 0.6 <= first <= time() + 0.6
        async with asyncio.timeout(10):
            while zk.session_deadline <= first:
                await asyncio.sleep(0.01)
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        stays = zk.session_deadline
        async with asyncio.timeout(10):
            while await other.exists("/a"):
                assert zk.session_deadline == stays
        assert time() >= stays
        expired = asyncio.ensure_future(changed_to(zk, SessionState.EXPIRED))
        proxy.allow()
        await expired
        await zk.wait_connected()
        assert zk.session_deadline > stays


async def test_an_idle_session_lives_on(connect: Connector) -> None:
    async with connect(session_timeout=0.4) as zk:
        session = zk.session_id
        states: list[SessionState] = []
        zk.on_state(states.append)
        await asyncio.sleep(1.5)
        await zk.get("/")
        assert (zk.session_id, states) == (session, [])


async def test_close_ends_the_session_at_once(connect: Connector) -> None:
    async with connect() as other:
        async with connect() as zk:
            await zk.create("/e", mode=CreateMode.EPHEMERAL)
        assert await other.exists("/e") is None
        assert zk.state is SessionState.CLOSED
        await zk.close()
        with pytest.raises(ClosedError):
            await zk.get("/")
        with pytest.raises(ClosedError):
            await zk.start()


async def test_close_ends_quickly_with_requests_that_wait(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        sent = asyncio.ensure_future(zk.get("/"))
        await asyncio.sleep(0)
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        unsent = asyncio.ensure_future(zk.get("/"))
        await asyncio.sleep(0)
        await asyncio.gather(zk.close(), zk.close())
        with pytest.raises((ConnectionLossError, ClosedError)):
            await sent
        with pytest.raises(ClosedError):
            await unsent


async def test_refused_credentials_are_told_at_the_start(server: Server) -> None:
    zk = kraal.connect(f"{HOST}:{server.port}", auth=[("bogus", b"")])
    with pytest.raises(AuthFailedError):
        await zk.start()
    assert zk.state is SessionState.CLOSED


async def test_refused_credentials_are_final(connect: Connector) -> None:
    async with connect() as zk:
        waiting = asyncio.ensure_future(zk.exists("/", watch=lambda _: None))
        with pytest.raises(AuthFailedError):
            await zk.add_auth("bogus", b"")
        await asyncio.wait((waiting,))
        assert zk.state.is_final
        with pytest.raises(AuthFailedError):
            await zk.get("/")
        with pytest.raises(AuthFailedError):
            await zk.wait_connected()
    assert zk.state is SessionState.CLOSED


async def test_a_client_that_was_not_started_says_so() -> None:
    zk = kraal.connect("h")
    with pytest.raises(ClosedError, match="not started"):
        await zk.get("/")
    with pytest.raises(ClosedError, match="not started"):
        await zk.wait_connected()
    await zk.close()


async def test_requests_that_were_given_up_do_not_pile_up(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        for _ in range(100):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await zk.get("/")
        assert len(zk._session._outbox) <= 1
        proxy.allow()
        await zk.get("/")


async def test_close_while_moving_to_another_server_still_ends_the_session(
    connect: Connector, server: Server
) -> None:
    async with Proxy(server.port) as proxy, connect() as other:
        async with connect(port=proxy.port) as zk:
            await zk.create("/e", mode=CreateMode.EPHEMERAL)
            proxy.hold_answers()
            reading = asyncio.ensure_future(zk.get("/"))
            await asyncio.sleep(0.01)
            zk.set_hosts(f"{HOST}:{free_port()}")
            closing = asyncio.ensure_future(zk.close())
            await asyncio.sleep(0.01)
            proxy.release()
            await asyncio.wait((reading, closing))
            assert not reading.exception()
        assert await other.exists("/e") is None


async def test_credentials_are_sent_on_every_connection(connect: Connector, server: Server) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect(port=proxy.port, auth=[("digest", b"a:1")]) as zk,
    ):
        await zk.add_auth("digest", b"b:2")
        proxy.cut()
        await changed_to(zk, SessionState.CONNECTING)
        users = {identity.id for identity in await zk.who_am_i()}
        assert {"a", "b"} <= users


async def test_another_server_is_found(connect: Connector, server: Server, chroot: str) -> None:
    nobody = free_port()
    hosts = f"{HOST}:{nobody},{HOST}:{server.port}{chroot}"
    async with connect(), kraal.connect(hosts) as zk:
        assert zk.server == (HOST, server.port)
        assert await zk.get_children("/") == []


async def test_start_may_be_given_up(server: Server) -> None:
    zk = kraal.connect(f"{HOST}:{free_port()}")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await zk.start()
    assert zk.state is SessionState.CLOSED


async def test_a_session_may_be_continued(connect: Connector, server: Server) -> None:
    async with Proxy(server.port) as proxy:
        async with connect(port=proxy.port) as zk:
            await zk.create("/e", mode=CreateMode.EPHEMERAL)
            session = zk.session
            proxy.refuse()
        async with connect(session=session) as again:
            assert again.session_id == session.id
            assert await again.get_ephemerals() == ["/e"]


async def test_a_forked_child_gets_an_error(connect: Connector) -> None:
    async with connect() as zk:
        pid = os.fork()
        if not pid:
            try:
                zk.get("/").send(None)
            except ForkedError:
                os._exit(7)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        with pytest.raises(NoNodeError):
            await zk.get("/nope")


@pytest.mark.parametrize(
    "hosts",
    ["", ",", "h:0", "h:99999", "h:x", "[::1", "h:1/a//b", "h:1/a/../b"],
)
def test_hosts_that_cannot_be_read(hosts: str) -> None:
    with pytest.raises(ConfigError, match="hosts"):
        kraal.connect(hosts)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="session_timeout"):
        kraal.connect("h", session_timeout=-1)
    with pytest.raises(ValueError, match="while_disconnected"):
        kraal.connect("h", while_disconnected="panic")  # type: ignore[arg-type]


async def test_the_end_of_a_session_that_is_not_answered_is_no_complaint(
    connect: Connector, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "CLOSE_TIMEOUT", 0.05)
    async with Proxy(server.port) as proxy, connect(port=proxy.port):
        proxy.hold_answers()
    gc.collect()  # what nobody has asked for is complained about then: see `nothing_left`


async def test_a_start_that_is_cancelled_leaves_no_session() -> None:
    async with kraal.testing.Server() as server:
        for turns in range(40):
            zk = kraal.connect(server.hosts)
            starting = asyncio.create_task(zk.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            await zk.close()
            assert zk.state is SessionState.CLOSED
        async with asyncio.timeout(8):  # less than the sessions' timeout
            while server.sessions():
                await asyncio.sleep(0.001)


async def test_a_dropped_client_is_complained_of(server: Server) -> None:
    zk = kraal.connect(f"{HOST}:{server.port}")
    await zk.start()
    keeper = zk._session
    with pytest.warns(ResourceWarning, match="unclosed client <kraal.Client connected"):
        del zk
        gc.collect()
    await keeper.close()
    closed = kraal.connect(f"{HOST}:{server.port}")
    async with closed:
        pass
    del closed, keeper  # every warning is an error here
    gc.collect()
