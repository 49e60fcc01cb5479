"""SASL: the exchange before everything else, with kraal's server and Apache ZooKeeper.

Servers that misbehave are here, too.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import kraal
from kraal import sync
from kraal.client import (
    CREATOR_ALL_ACL,
    Acl,
    AuthFailedError,
    Client,
    ClosedError,
    ConnectionLossError,
    DigestMd5,
    EventType,
    Id,
    NoAuthError,
    Perms,
    SessionState,
    WatchEvent,
)
from kraal.wire.digest_md5 import parse, respond
from kraal.wire.opcodes import OpCode
from tests.client.scripted import ScriptedServer, accepted, client_of, reply
from tests.client.test_session import changed_to
from tests.support import servers
from tests.support.proxy import Proxy
from tests.support.servers import HOST, Server

USERS = {"alice": "secret", "bob": "other secret", "jürg": "grün", "euro": "ä€"}
ALICE = DigestMd5("alice", "secret")
BOB = DigestMd5("bob", "other secret")
CHALLENGE = b'realm="zk-sasl-md5",nonce="n",charset=utf-8,algorithm=md5-sess'


@pytest.fixture(scope="module", params=["kraal", pytest.param("apache", marks=pytest.mark.apache)])
def kind(request: pytest.FixtureRequest) -> str:
    """Whose servers they are."""
    return str(request.param)


@pytest.fixture(scope="module")
def running(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.with_sasl(kind, tmp_path_factory.mktemp(kind), USERS) as server:
        yield server


def connected(server: Server, user: DigestMd5) -> Client:
    return kraal.connect(f"{HOST}:{server.port}", sasl=user)


# With both servers


@pytest.mark.parametrize("name", USERS)
async def test_the_server_knows_the_user(running: Server, name: str) -> None:
    async with connected(running, DigestMd5(name, USERS[name])) as zk:
        assert Id("sasl", name) in await zk.who_am_i()


@pytest.mark.parametrize("user", [DigestMd5("alice", "wrong"), DigestMd5("nobody", "secret")])
async def test_wrong_credentials_are_final(running: Server, user: DigestMd5) -> None:
    zk = kraal.connect(f"{HOST}:{running.port}", sasl=user)
    states: list[SessionState] = []
    zk.on_state(states.append)
    with pytest.raises(AuthFailedError, match="DIGEST-MD5: the server refused the credentials"):
        await zk.start()
    assert states == [SessionState.AUTH_FAILED, SessionState.CLOSED]


async def test_acls_of_sasl_users_are_honoured(running: Server) -> None:
    only_bob = [Acl(Perms.ALL, "sasl", "bob")]
    async with connected(running, ALICE) as alice, connected(running, BOB) as bob:
        await alice.create("/alice", b"hers", acl=CREATOR_ALL_ACL)
        assert (await alice.get_acl("/alice")).acl == [Acl(Perms.ALL, "sasl", "alice")]
        await alice.create("/bob", b"his", acl=only_bob)
        with pytest.raises(NoAuthError):
            await alice.get("/bob")
        with pytest.raises(NoAuthError):
            await bob.get("/alice")
        assert (await alice.get("/alice")).data == b"hers"
        assert (await bob.get("/bob")).data == b"his"


async def test_other_credentials_are_sent_after_the_exchange(running: Server) -> None:
    async with kraal.connect(
        f"{HOST}:{running.port}", sasl=ALICE, auth=[("digest", b"carol:x")]
    ) as zk:
        assert {Id("sasl", "alice"), Id("digest", "carol")} <= set(await zk.who_am_i())


async def test_every_connection_is_authenticated(running: Server) -> None:
    events: list[WatchEvent] = []
    async with (
        Proxy(running.port) as proxy,
        connected(running, ALICE) as other,
        kraal.connect(f"{HOST}:{proxy.port}", sasl=ALICE) as zk,
    ):
        session = zk.session_id
        await zk.create("/again", acl=CREATOR_ALL_ACL)
        await zk.get("/again", watch=events.append)
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        waiting = asyncio.ensure_future(zk.set("/again", b"from the queue"))
        await other.set("/again", b"meanwhile")
        proxy.allow()
        assert (await waiting).version == 2
        assert zk.session_id == session
        assert Id("sasl", "alice") in await zk.who_am_i()
    # The watch was registered anew by somebody who may read the znode.
    assert [event.type for event in events] == [EventType.CHANGED]


async def test_a_server_that_starts_again_is_told_again(running: Server) -> None:
    async with connected(running, ALICE) as zk:
        await zk.create("/restart", acl=CREATOR_ALL_ACL)
        await asyncio.to_thread(running.stop)
        await changed_to(zk, SessionState.CONNECTING)
        await asyncio.to_thread(running.start)
        assert (await zk.set("/restart", b"again")).version == 1
        assert Id("sasl", "alice") in await zk.who_am_i()


def test_for_threads(running: Server) -> None:
    hosts = f"{HOST}:{running.port}"
    with sync.connect(hosts, sasl=sync.DigestMd5("alice", "secret")) as zk:
        assert Id("sasl", "alice") in zk.who_am_i()
        zk.create("/threads", acl=CREATOR_ALL_ACL)
        zk.delete("/threads")
    with pytest.raises(AuthFailedError), sync.connect(hosts, sasl=DigestMd5("alice", "wrong")):
        pass


@asynccontextmanager
async def another(running: Server) -> AsyncIterator[Server]:
    await asyncio.to_thread(running.start)
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)


async def test_a_failure_that_the_server_puts_up_with(kind: str, tmp_path: Path) -> None:
    """Who asks for SASL and fails does not go on as somebody else."""
    async with another(
        servers.with_sasl(kind, tmp_path, USERS, allowSaslFailedClients=True)
    ) as lenient:
        async with connected(lenient, ALICE) as zk:
            assert Id("sasl", "alice") in await zk.who_am_i()
        with pytest.raises(AuthFailedError, match="refused the credentials"):
            await connected(lenient, DigestMd5("alice", "wrong")).start()


async def test_a_server_may_require_sasl(kind: str, tmp_path: Path) -> None:
    async with another(
        servers.with_sasl(kind, tmp_path, USERS, sessionRequireClientSASLAuth=True)
    ) as strict:
        async with connected(strict, ALICE) as zk:
            await zk.create("/allowed")
        with pytest.raises(AuthFailedError, match="refused the credentials"):
            await connected(strict, DigestMd5("alice", "wrong")).start()


@pytest.mark.apache
async def test_apache_without_sasl(tmp_path: Path) -> None:
    servers.require_reference()
    async with another(servers.apache(tmp_path)) as plain:
        with pytest.raises(AuthFailedError, match="no SASL configured"):
            await connected(plain, ALICE).start()


# Without


async def test_kraal_without_sasl(server: Server) -> None:
    zk = kraal.connect(f"{HOST}:{server.port}", sasl=ALICE)
    with pytest.raises(AuthFailedError, match="the server has no SASL configured"):
        await zk.start()
    assert zk.state is SessionState.CLOSED
    with (
        pytest.raises(AuthFailedError, match="no SASL configured"),
        sync.connect(f"{HOST}:{server.port}", sasl=ALICE),
    ):
        pass


class Peer:
    """The server's half, and what it was asked; `first` are answers to the first tokens."""

    def __init__(self, *first: bytes | None, password: str = "secret") -> None:
        self.asked: list[int] = []
        self.first = list(first)
        self._password = password

    def __call__(self, xid: int, op: int, body: bytes) -> bytes | None:
        self.asked.append(op)
        if op != OpCode.SASL:
            return reply(xid)
        if self.first:
            answer = self.first.pop(0)
            return None if answer is None else reply(xid, body=answer, zxid=0)
        token = body[4:]
        if not token:
            return reply(xid, body=buffer(CHALLENGE), zxid=0)
        sent = parse(token)
        _, proof = respond(
            CHALLENGE, "alice", self._password,
            digest_uri=sent["digest-uri"].decode(), cnonce=sent["cnonce"].decode(),
        )  # fmt: skip
        return reply(xid, body=buffer(b"rspauth=" + proof), zxid=0)


def buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


NULL = struct.pack(">i", -1)


async def test_nothing_is_sent_before_the_exchange_is_over() -> None:
    peer = Peer()
    async with ScriptedServer(peer) as scripted:
        zk = kraal.connect(f"{HOST}:{scripted.port}", sasl=ALICE, auth=[("digest", b"a:b")])
        starting = asyncio.ensure_future(zk.start())
        await asyncio.sleep(0)
        await asyncio.gather(starting, zk.sync(), zk.delete("/a"))
        await zk.close()
    assert peer.asked == [OpCode.SASL, OpCode.SASL, OpCode.AUTH, OpCode.SYNC, OpCode.DELETE]


async def test_a_connection_that_breaks_in_the_exchange_is_followed_by_another() -> None:
    async with client_of(Peer(None, buffer(CHALLENGE), None), sasl=ALICE) as (zk, scripted):
        await zk.sync()
        assert zk.state is SessionState.CONNECTED
    # The session of the first handshake is gone on with.
    assert [session for _, _, session in scripted.greetings] == [0, 7, 7]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ([NULL], "no SASL configured"),
        ([buffer(CHALLENGE), NULL], "refused the credentials"),
        ([buffer(CHALLENGE), buffer(b"rspauth=1234")], "does not know the password"),
        ([buffer(b"hello")], "cannot be answered"),
        ([buffer(b'nonce="n",algorithm=md5-sess,qop="auth-conf"')], "security layer"),
    ],
)
async def test_servers_that_do_not_authenticate(first: list[bytes], reason: str) -> None:
    peer = Peer(*first)
    async with ScriptedServer(peer) as scripted:
        zk = kraal.connect(f"{HOST}:{scripted.port}", sasl=ALICE)
        with pytest.raises(AuthFailedError, match=reason):
            await zk.start()
    assert set(peer.asked) == {OpCode.SASL}


async def test_a_server_must_know_the_password_itself() -> None:
    with pytest.raises(AuthFailedError, match="does not know the password"):
        async with client_of(Peer(password="a guess"), sasl=ALICE):
            pass


async def test_a_server_that_does_not_know_the_operation() -> None:
    with pytest.raises(AuthFailedError, match="DIGEST-MD5: the server has not got this"):
        async with client_of(lambda xid, *_: reply(xid, -6), sasl=ALICE):
            pass


async def test_failure_on_a_later_connection_is_told_to_all_who_wait() -> None:
    states: list[SessionState] = []
    peer = Peer()
    async with (
        ScriptedServer(peer) as scripted,
        Proxy(scripted.port) as proxy,
        kraal.connect(f"{HOST}:{proxy.port}", sasl=ALICE) as zk,
    ):
        zk.on_state(states.append)
        peer.first = [NULL]
        proxy.cut()
        await changed_to(zk, SessionState.CONNECTING)
        waiting = asyncio.ensure_future(zk.get("/a"))
        for asked in (waiting, zk.get("/b"), zk.wait_connected()):
            with pytest.raises(AuthFailedError, match="no SASL configured"):
                await asked
    assert states == [SessionState.CONNECTING, SessionState.AUTH_FAILED, SessionState.CLOSED]


async def test_a_server_that_falls_silent_is_left() -> None:
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted())
        while await reader.read(1024):
            silent.set()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as mute, ScriptedServer(Peer()) as good:
        port = mute.sockets[0].getsockname()[1]
        zk = kraal.connect(f"{HOST}:{port}", sasl=ALICE, connect_timeout=0.2)
        starting = asyncio.ensure_future(zk.start())
        await silent.wait()
        zk.set_hosts(f"{HOST}:{good.port}")
        await starting
        assert zk.server is not None and zk.server.port == good.port
        await zk.close()


async def test_waiting_for_the_exchange_can_be_given_up() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted())
        while await reader.read(1024):
            pass
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as mute:
        zk = kraal.connect(
            f"{HOST}:{mute.sockets[0].getsockname()[1]}", sasl=ALICE, while_disconnected="fail"
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await zk.start()
        assert zk.state is SessionState.CLOSED


async def test_there_is_no_connection_before_the_exchange_is_over() -> None:
    challenged = asyncio.Event()

    def answer(xid: int, op: int, body: bytes) -> bytes:
        challenged.set()
        return b""

    async with ScriptedServer(answer) as scripted:
        zk = kraal.connect(f"{HOST}:{scripted.port}", sasl=ALICE, while_disconnected="fail")
        starting = asyncio.ensure_future(zk.start())
        await challenged.wait()
        with pytest.raises(ConnectionLossError) as caught:
            await zk.get("/a")
        assert not caught.value.sent
        await zk.close()
        with pytest.raises(ClosedError):
            await starting


@pytest.mark.parametrize("peer", [Peer(), Peer(NULL), Peer(buffer(CHALLENGE), NULL)])
async def test_the_password_is_not_shown(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedServer(peer) as scripted:
        zk = kraal.connect(f"{HOST}:{scripted.port}", sasl=ALICE)
        try:
            await zk.start()
        except AuthFailedError as error:
            assert "secret" not in str(error)
        await zk.close()
    assert caplog.text
    for shown in (caplog.text, repr(ALICE), repr(zk._session.options)):
        assert "secret" not in shown


async def test_a_password_that_has_no_code_is_not_shown() -> None:
    challenge = b'nonce="n",algorithm=md5-sess'
    with pytest.raises(AuthFailedError, match="cannot be answered") as caught:
        async with client_of(Peer(buffer(challenge)), sasl=DigestMd5("alice", "hush€")):
            pass
    assert "hush" not in str(caught.value)


def test_what_is_no_mechanism() -> None:
    with pytest.raises(TypeError, match="sasl must be DigestMd5 or Gssapi, not dict") as caught:
        kraal.connect("h", sasl={"password": "secret"})  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    with pytest.raises(TypeError, match="password must be a str, not bytes") as bad:
        DigestMd5("alice", b"secret")  # type: ignore[arg-type]
    assert "secret" not in str(bad.value)
