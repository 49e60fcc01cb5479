"""Both ends of a login between servers, and connections of which one misbehaves."""

from __future__ import annotations

import asyncio
import struct

import pytest

from kraal.model.config import QuorumSaslConfig
from kraal.server import election_transport
from kraal.server.quorum_sasl import AuthEnd, Login, QuorumAuthError, QuorumSasl
from kraal.server.quorum_transport import QuorumLink
from kraal.wire.digest_md5 import parse
from kraal.wire.records.quorum_auth import AuthPacket, AuthStatus, decode
from tests.server.election_peers import (
    Ours,
    Stream,
    ensemble,
    frame,
    initial,
    settings_of,
    started,
)  # fmt: skip
from tests.support.servers import HOST

FIRST = bytes.fromhex("5f2435013501edcc0000000000000000")
ERROR = bytes.fromhex("5f2435013501edccffffffff00000000")


def sasl(*, required: bool = True, password: str = "secret") -> QuorumSasl:
    return QuorumSasl(config(required=required, password=password))


def config(*, required: bool = True, password: str = "secret") -> QuorumSaslConfig:
    return QuorumSaslConfig(
        username="zk", password=password, passwords={"zk": "secret"},
        learner_requires=True, server_requires=required,
    )  # fmt: skip


def dialled(password: str = "secret") -> AuthEnd:
    end = sasl(password=password).dialled()
    assert end is not None
    return end


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_two_ends_in_pieces_of_any_size(size: int) -> None:
    here, there = dialled(), sasl().accepted()
    to_there = here.begin()
    assert to_there == FIRST
    for _ in range(3):
        answer = b"".join(there.feed(piece) for piece in pieces(to_there, size))
        to_there = b"".join(here.feed(piece) for piece in pieces(answer, size))
    assert here.is_over and there.is_over
    assert (here.rest, there.rest, to_there) == (b"", b"", b"")


def test_what_is_said_as_the_reference_says_it() -> None:
    here, there = dialled(), sasl().accepted()
    challenge, _ = decode(there.feed(here.begin())) or (None, 0)
    assert challenge is not None
    assert challenge.status is AuthStatus.IN_PROGRESS
    said = parse(challenge.token)
    assert said["realm"] == b"zk-quorum-sasl-md5"
    response, _ = decode(here.feed(challenge.encode())) or (None, 0)
    assert response is not None
    assert response.status is AuthStatus.IN_PROGRESS
    answered = parse(response.token)
    assert answered["digest-uri"] == b"zookeeper-quorum/zk-quorum-sasl-md5"
    assert answered["authzid"] == answered["username"] == b"zk"
    success, _ = decode(there.feed(response.encode() + b"what follows")) or (None, 0)
    assert success is not None
    assert success.status is AuthStatus.SUCCESS
    assert success.token.startswith(b"rspauth=")
    assert there.rest == b"what follows"
    assert here.feed(success.encode() + b"more") == b""
    assert here.rest == b"more"


def test_a_wrong_password() -> None:
    here, there = dialled("wrong"), sasl().accepted()
    response = here.feed(there.feed(here.begin()))
    with pytest.raises(QuorumAuthError, match="the password of 'zk' is wrong"):
        there.feed(response)
    assert there.last_words == ERROR
    with pytest.raises(QuorumAuthError, match="refuses the login of 'zk'"):
        here.feed(ERROR)


def test_what_is_not_demanded() -> None:
    silent = sasl(required=False).accepted()
    assert silent.ended()
    assert silent.feed(b"\x00\x00") == b""
    assert (silent.is_over, silent.rest) == (True, b"\x00\x00")
    here, there = dialled("wrong"), sasl(required=False).accepted()
    assert there.feed(here.feed(there.feed(here.begin()))) == ERROR
    assert there.is_over
    begun = sasl(required=False).accepted()
    begun.feed(FIRST)
    assert not begun.ended()


@pytest.mark.parametrize(
    "answer",
    [
        b"hello",
        AuthPacket(AuthStatus.SUCCESS, b"").encode(),
        AuthPacket(AuthStatus.IN_PROGRESS, b"no challenge").encode(),
        AuthPacket(AuthStatus.ERROR, b"").encode(),
        FIRST[:12] + b"\x7f\xff\xff\xff",
    ],
)
def test_a_server_that_does_not_know_what_it_should(answer: bytes) -> None:
    here = dialled()
    here.begin()
    with pytest.raises(QuorumAuthError):
        here.feed(answer)
    assert not here.is_over


@pytest.mark.parametrize(
    "garbage", [b"\x00", b"hello", FIRST[:12] + b"\x7f\xff\xff\xff", FIRST * 2]
)
def test_who_dials_and_does_not_log_in(garbage: bytes) -> None:
    with pytest.raises(QuorumAuthError):
        sasl().accepted().feed(garbage)


async def test_waiting_for_the_end_of_a_login() -> None:
    await Login().over()
    login = Login()
    login.begin(dialled())
    waiting = asyncio.ensure_future(login.over())
    await asyncio.sleep(0)
    login.fail("the connection is closed")
    with pytest.raises(OSError, match="the connection is closed"):
        await waiting


# Connections


async def test_an_election_connection_counts_when_the_login_is_over() -> None:
    members = ensemble(1, 2)
    ours = Ours(1, settings_of(members, sasl=config()))
    theirs = Ours(2, settings_of(members, sasl=config()))
    async with asyncio.timeout(20), started(ours, theirs):
        ours.send(2, b"from the smaller")
        theirs.send(1, b"from the larger")
        assert await ours.inbox.get() == (2, b"from the larger")
        assert await theirs.inbox.get() == (1, b"from the smaller")


async def dialling(ours: Ours) -> Stream:
    address = ours._own[0]
    return Stream(*await asyncio.open_connection(HOST, address.port))


@pytest.mark.parametrize("behind", [frame(b"a notification"), b"", FIRST[:5]])
async def test_nobody_is_heard_without_a_login(behind: bytes) -> None:
    members = ensemble(1, 2)
    ours = Ours(1, settings_of(members, sasl=config(), quorum_cnxn_timeout_ms=300))
    async with asyncio.timeout(20), started(ours):
        peer = await dialling(ours)
        peer.writer.write(initial(2, f"{HOST}:1") + behind)
        if behind[:1] == b"\x00":
            assert await peer.reader.readexactly(16) == ERROR
        assert await peer.is_closed()
        peer.writer.close()
        assert ours.inbox.empty()


@pytest.mark.parametrize("required", [True, False])
async def test_who_says_who_it_is_and_leaves_is_dialled_back(
    required: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless a login is demanded; it dials in order to be dialled."""
    members = ensemble(1, 2)
    ours = Ours(2, settings_of(members, sasl=config(required=required)))
    called = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    async with asyncio.timeout(20), started(ours):
        async with await asyncio.start_server(serve, HOST, members.members[1].election[0].port):
            peer = await dialling(ours)
            address = str(members.members[1].election[0])
            peer.writer.write(initial(1, address))
            peer.writer.write_eof()
            await peer.is_closed()
            peer.writer.close()
            if not required:
                await called.wait()
        assert called.is_set() is not required
    assert ("Server 1 at 127.0.0.1" in caplog.text) is required
    assert ("left before it had logged in" in caplog.text) is required


async def test_who_is_never_dialled_back_is_told_what_that_may_mean(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election_transport, "DIAL_BACK_SECONDS", 0.0)
    members = ensemble(1, 2)
    ours = Ours(1, settings_of(members))
    theirs = Ours(2, settings_of(members, sasl=config()))
    async with asyncio.timeout(20), started(ours, theirs):
        while "says nothing: it refuses" not in caplog.text:
            ours.send(2, b"a vote")
            await asyncio.sleep(0.01)
    assert "Server 2 says nothing" in caplog.text
    assert "Server 1 at 127.0.0.1" in caplog.text


async def test_a_learner_that_says_nothing_is_closed() -> None:
    opened: list[QuorumLink] = []
    lost: list[QuorumLink] = []

    def link() -> QuorumLink:
        return QuorumLink(
            opened=opened.append,
            received=lambda _link, _data: None,
            lost=lost.append,
            auth=sasl().accepted(),
            auth_seconds=0.1,
        )

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20), await loop.create_server(link, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(FIRST)
        head = await reader.readexactly(16)
        await reader.readexactly(struct.unpack(">i", head[12:])[0])
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(1)
        writer.close()
    assert (opened, lost) == ([], [])
