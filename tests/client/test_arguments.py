"""Arguments that make no sense: the caller hears of it, and nothing is sent."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import kraal
from kraal.client import (
    OPEN_ACL,
    Acl,
    BadArgumentsError,
    ClosedError,
    CreateMode,
    DigestMd5,
    EventType,
    Retry,
    Session,
    SessionState,
    digest_acl,
)
from kraal.client.dialer import PAUSE_MAX
from kraal.client.session import SessionKeeper
from kraal.errors import ConfigError
from tests.client.conftest import Connector
from tests.client.scripted import ScriptedServer, accepted, client_of, frame, reply
from tests.support.servers import HOST, Server


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"auth": [("digest", "alice:secret")]}, TypeError, r"it has \(str, str\)"),
        ({"auth": ("digest", "a:b")}, TypeError, r"must be a list of \(scheme, bytes\)"),
        ({"auth": "digest"}, TypeError, "not str"),
        ({"auth": None}, TypeError, "not NoneType"),
        ({"tls": "yes"}, TypeError, "tls"),
        ({"max_request_bytes": -1}, ValueError, "max_request_bytes"),
        ({"session_timeout": "5"}, TypeError, "session_timeout"),
        ({"default_acl": "open"}, TypeError, "ACL"),
        ({"hosts": None}, TypeError, "hosts must be a str"),
        ({"hosts": ["h:1"]}, TypeError, "hosts must be a str"),
        ({"hosts": b"h:1"}, TypeError, "hosts must be a str"),
        ({"hosts": "zk://h:1"}, ConfigError, "scheme"),
        ({"hosts": "h:1 i:2"}, ConfigError, "space"),
        ({"hosts": "a b"}, ConfigError, "space"),
        ({"hosts": "\ud800:1"}, ConfigError, "characters"),
        ({"session": 5}, TypeError, "session must be a Session"),
        ({"rng": 5}, TypeError, "rng must be"),
        ({"session_timeout": None}, TypeError, "session_timeout must be a number"),
        ({"session_timeout": math.nan}, ValueError, "session_timeout must be a positive"),
        ({"connect_timeout": math.nan}, ValueError, "connect_timeout must be a positive"),
        ({"session": Session("a", b"secret", 10.0)}, TypeError, "id of a session"),  # type: ignore[arg-type]
        ({"session": Session(2**63, b"secret", 10.0)}, ValueError, "64 bits"),
        ({"session": Session(1, "secret", 10.0)}, TypeError, "password of a session"),  # type: ignore[arg-type]
        ({"session": Session(1, b"secret", None)}, TypeError, "timeout of a session"),  # type: ignore[arg-type]
        ({"session": Session(1, b"secret", -1)}, ValueError, "timeout of a session"),
        ({"session": Session(1, b"secret", math.nan)}, ValueError, "timeout of a session"),
        ({"default_acl": [Acl("31", "world", "anyone")]}, TypeError, "ACL"),  # type: ignore[arg-type]
        ({"default_acl": [Acl(3.5, "world", "anyone")]}, TypeError, "ACL"),  # type: ignore[arg-type]
    ],
)
def test_connect_says_what_it_expects(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as raised:
        kraal.connect(**{"hosts": "h:1", **options})
    assert "secret" not in str(raised.value)


async def _later(_: object) -> None:
    raise AssertionError("never called")


class _Awaitable:
    async def __call__(self, _: object) -> None:
        raise AssertionError("never called")


Call = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda zk: zk.set("/", b"", version="1"), TypeError, "version must be an int"),
        (lambda zk: zk.set("/", b"", version=None), TypeError, "version must be an int"),
        (lambda zk: zk.set("/", b"", version=2**40), ValueError, "32 bits"),
        (lambda zk: zk.delete("/a", version="1"), TypeError, "version must be an int"),
        (lambda zk: zk.transaction().check("/a", None), TypeError, "version must be an int"),
        (lambda zk: zk.create("/a", mode="EPHEMERAL"), TypeError, "mode must be a CreateMode"),
        (lambda zk: zk.create("/a", acl=Acl(31, "world", "anyone")), TypeError, "ACL"),
        (lambda zk: zk.create("/a", acl=["world"]), TypeError, "ACL"),
        (lambda zk: zk.set_acl("/a", [(31, 1, 2)]), TypeError, "ACL"),
        (lambda zk: zk.create("/a", acl=iter(OPEN_ACL)), TypeError, "ACL must be a list"),
        (lambda zk: zk.create(None), TypeError, "path must be a str, not NoneType"),
        (lambda zk: zk.create(b"/a"), TypeError, "path must be a str, not bytes"),
        (lambda zk: zk.create_protected(None), TypeError, "path must be a str"),
        (lambda zk: zk.create_protected("/x", name=None), TypeError, "name must be a Protected"),
        (lambda zk: zk.create_protected("/x", id=1), TypeError, "id must be a str"),
        (lambda zk: zk.create_protected("/x", id="a/b"), ValueError, "part of a name"),
        (lambda zk: zk.watch("/", limit="a"), TypeError, "limit must be an int"),
        (lambda zk: zk.watch("/", limit=0), ValueError, "limit must be at least 1"),
        (lambda zk: zk.multi_read(["/a"]), TypeError, "Get and GetChildren"),
        (lambda zk: zk.add_auth("digest", "a:secret"), TypeError, "bytes"),
        (lambda zk: zk.get("/", watch=True), TypeError, "callback must be a function"),
        (lambda zk: zk.exists("/", watch=_later), TypeError, "plain function"),
        (lambda zk: zk.get_children("/", watch=_Awaitable()), TypeError, "plain function"),
        (lambda zk: zk.add_watch("/", _later), TypeError, "plain function"),
        (lambda zk: zk.on_state(None), TypeError, "callback must be a function"),
        (lambda zk: zk.create("/\U0001f600"), BadArgumentsError, r"no U\+1F600"),
        (lambda zk: zk.create("/.."), BadArgumentsError, "empty names"),
    ],
)
async def test_operations_say_what_they_expect(
    connect: Connector, call: Call, error: type[Exception], text: str
) -> None:
    async with connect() as zk:
        with pytest.raises(error, match=text):
            await call(zk)
        assert await zk.get_children("/") == []


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((b"alice", b"secret"), TypeError, "bytes and bytes"),
        ((None, None), TypeError, "NoneType and NoneType"),
        ((1, "secret"), TypeError, "int and str"),
        (("", "secret"), ValueError, "name without a colon"),
        (("a:b", "secret"), ValueError, "name without a colon"),
        (("alice", "secret", "31"), TypeError, "perms must be"),
        (("alice", "secret", True), TypeError, "perms must be"),
        (("alice", "secret", 32), ValueError, "from 0 to 31"),
    ],
)
def test_an_acl_of_a_user_says_what_it_expects(
    arguments: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as raised:
        digest_acl(*arguments)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("wrong", [{"base": math.nan}, {"base": math.inf}, {"max": math.nan}])
def test_pauses_between_attempts_are_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        Retry(**wrong)  # type: ignore[arg-type]
    assert Retry(max=math.inf)


async def test_a_client_that_was_closed_unstarted_stays_closed() -> None:
    zk = kraal.connect("127.0.0.1:1")
    await zk.close()
    assert zk.state is SessionState.CLOSED
    with pytest.raises(ClosedError):
        await zk.start()
    with pytest.raises(ClosedError):
        await zk.get("/")
    await zk.close()


async def test_a_client_shows_its_session(connect: Connector) -> None:
    assert repr(kraal.connect("h")) == "<kraal.Client connecting, session 0x0>"
    async with connect() as zk:
        assert repr(zk) == f"<kraal.Client connected, session 0x{zk.session_id:x} on {zk.server}>"


async def test_a_bug_at_the_handshake_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and the pause before the next attempt is that of any failure."""
    real, bugs = SessionKeeper.accepted, [TypeError("on purpose"), TypeError("on purpose")]

    def accepted_badly(*args: Any) -> None:
        if bugs:
            raise bugs.pop()
        real(*args)

    monkeypatch.setattr(SessionKeeper, "accepted", accepted_badly)
    async with client_of(lambda xid, *_: reply(xid, -101)) as (zk, scripted):
        assert await zk.exists("/a") is None
        assert len(scripted.greetings) == 3
    faults = [each for each in caplog.records if each.exc_info]
    assert [each.exc_info[0] for each in faults if each.exc_info] == [TypeError]
    assert caplog.text.count("no server could be reached") == 1
    assert "in doubt" not in caplog.text


async def test_a_server_that_always_sends_nonsense_is_not_asked_in_a_hot_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that accepts every session: each connection was good until then."""
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    caplog.set_level(logging.WARNING)
    async with ScriptedServer(lambda *_: b"", accepted() + frame(b"short")) as scripted:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        zk = kraal.connect(f"{HOST}:{scripted.port}")
        await zk.start()
        while max(pauses, default=0.0) < PAUSE_MAX:
            await real(0.001)
        await zk.close()
    # Those of a dial that failed for want of processor time are not whole steps.
    steps = [0.05 * 2**step for step in range(5)]
    assert [pause for pause in pauses if pause in steps] == steps
    assert caplog.text.count("nonsense") == 1


async def test_paths_that_cannot_be_are_refused_before_anything_is_sent(
    connect: Connector,
) -> None:
    async with connect() as zk:
        before = await zk.get_children("/")
        for path in ("/t/", "/t//u", "/t/../u", "/.", "t", ""):
            for request in (
                zk.get, zk.exists, zk.get_children, zk.get_children_with_stat, zk.delete,
                zk.get_acl, zk.sync, zk.count_descendants, zk.delete_recursive, zk.ensure_path,
                partial(zk.set, data=b""), partial(zk.create, make_parents=True),
                partial(zk.add_watch, callback=print),
            ):  # fmt: skip
                with pytest.raises(BadArgumentsError):
                    await request(path)
        with pytest.raises(BadArgumentsError):
            async with zk.watch("/t/"):
                pass
        assert await zk.get_children("/") == before
        await zk.ensure_path("/t")
        made = await zk.create("/t/", mode=CreateMode.PERSISTENT_SEQUENTIAL)
        assert made == "/t/0000000000"


async def test_nothing_is_made_beside_the_chroot(connect: Connector, server: Server) -> None:
    async with connect() as zk, kraal.connect(f"{HOST}:{server.port}") as outside:
        before = await outside.get_children("/")
        for mode in (CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.PERSISTENT_SEQUENTIAL):
            with pytest.raises(BadArgumentsError, match="chroot"):
                await zk.create("/", mode=mode)
            with pytest.raises(BadArgumentsError, match="chroot"):
                zk.transaction().create("/", mode=mode)
        assert (await zk.create_protected("/")).path.startswith("/_c_")
        assert await outside.get_children("/") == before
        await zk.delete_recursive("/")
        assert await zk.exists("/") is None
        with pytest.raises(BadArgumentsError, match="no server deletes"):
            await outside.delete_recursive("/")


async def test_a_stream_of_events_that_was_not_entered_says_so(connect: Connector) -> None:
    async with connect() as zk:
        events = zk.watch("/a")
        with pytest.raises(ClosedError, match="async with"):
            await anext(events)
        async with events:
            await zk.create("/a")
            assert (await anext(events)).type is EventType.CREATED
        with pytest.raises(ClosedError, match="once"):
            await events.__aenter__()


def test_digest_md5_needs_a_name() -> None:
    with pytest.raises(ValueError, match="username"):
        DigestMd5("", "")


async def test_servers_and_prefixes_are_text() -> None:
    zk: Any = kraal.connect("h:1")
    with pytest.raises(TypeError, match="servers"):
        await zk.reconfig(joining=5)
    with pytest.raises(TypeError, match="prefix"):
        await zk.get_ephemerals(None)
