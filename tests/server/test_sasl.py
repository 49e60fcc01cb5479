"""SASL of a server, byte by byte: kraal as a process, and Apache ZooKeeper does the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kraal.wire.digest_md5 import DIGEST_URI, is_proof, respond
from tests.server.conftest import connected
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.servers import Server

USERS = {"bob": "secret", "al": "other", "root": "r", "super": "in the file", "jürg": "grün"}
REFUSED, DEMANDED, NO_AUTH = -115, -124, -102
HOST = ("ip", "127.0.0.1")
KINDS = ["kraal", pytest.param("apache", marks=pytest.mark.apache)]


def serving(kind: str, directory: Path, **properties: object) -> Server:
    return servers.with_sasl(kind, directory, USERS, **properties)


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    properties = {
        "superUser.1": "root",
        "letAnySaslUserDoX": "everybody",
        "SASLAuthenticationProvider.superPassword": "of the property",
    }
    with serving(request.param, tmp_path_factory.mktemp("sasl"), **properties) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[raw.RawClient]:
    with connected(server.port) as one:
        yield one


def token(client: raw.RawClient, data: bytes | None) -> raw.Reply:
    return client.call("sasl", raw.buffer(data))


def response(client: raw.RawClient, username: str, password: str) -> tuple[bytes, bytes]:
    """What answers the challenge of a new exchange, and what the server must say to it."""
    challenge = token(client, b"")
    assert (challenge.zxid, challenge.err) == (0, 0)
    assert isinstance(challenge.value, bytes)
    assert len(challenge.value) == 101
    return respond(challenge.value, username, password, digest_uri=DIGEST_URI, cnonce="c")


def log_in(client: raw.RawClient, username: str, password: str | None = None) -> raw.RawClient:
    message, proof = response(client, username, USERS[username] if password is None else password)
    reply = token(client, message)
    assert (reply.zxid, reply.err) == (0, 0)
    assert isinstance(reply.value, bytes)
    assert is_proof(reply.value, proof)
    return client


def identities(client: raw.RawClient) -> set[tuple[str, str]]:
    found = client.call("whoAmI").value
    assert isinstance(found, list)
    return set(found)


def assert_refused(client: raw.RawClient, data: bytes, code: int = REFUSED) -> None:
    """A reply with an error and a null token, then the end."""
    client.send("sasl", raw.buffer(data))
    frames = client.receive_until_closed()
    assert [frame.rest for frame in frames if isinstance(frame, raw.Reply)] == [raw.i32(-1)]
    assert [frame.err for frame in frames if isinstance(frame, raw.Reply)] == [code]


@pytest.mark.parametrize("name", ["bob", "jürg"])
def test_who_knows_the_password_is_known(client: raw.RawClient, name: str) -> None:
    log_in(client, name)
    assert identities(client) == {HOST, ("sasl", name)}


def test_a_superuser(client: raw.RawClient) -> None:
    log_in(client, "root")
    assert identities(client) == {HOST, ("sasl", "root"), ("super", "")}


def test_the_password_of_super_is_that_of_the_property(server: Server) -> None:
    with connected(server.port) as client:
        log_in(client, "super", "of the property")
        assert identities(client) == {HOST, ("sasl", "super")}
    with connected(server.port) as client:
        message, _ = response(client, "super", "in the file")
        assert_refused(client, message)


@pytest.mark.parametrize(("user", "password"), [("bob", "wrong"), ("nobody", "secret")])
def test_wrong_credentials(client: raw.RawClient, user: str, password: str) -> None:
    message, _ = response(client, user, password)
    assert_refused(client, message)


def test_an_answer_to_another_challenge(server: Server, client: raw.RawClient) -> None:
    message, _ = response(client, "bob", "secret")
    with connected(server.port) as other:
        response(other, "bob", "secret")
        assert_refused(other, message)
    assert token(client, message).err == 0


@pytest.mark.parametrize("garbage", [b"", b"hello", b"\x00" * 40, b"x" * 5000])
def test_garbage(client: raw.RawClient, garbage: bytes) -> None:
    response(client, "bob", "secret")
    assert_refused(client, garbage)


def test_the_first_token(server: Server) -> None:
    with connected(server.port) as client:
        assert isinstance(token(client, b"whatever").value, bytes)
    with connected(server.port) as client:
        assert_refused(client, b"x" * 4097)
    with connected(server.port) as client:
        client.send("sasl", raw.buffer(None))
        assert client.receive_until_closed() == []


def test_a_connection_logs_in_once(client: raw.RawClient) -> None:
    log_in(client, "bob")
    assert_refused(client, b"")


def test_every_connection_logs_in_anew(server: Server) -> None:
    with connected(server.port) as client:
        log_in(client, "bob")
        assert client.handshake is not None
        session, password = client.handshake.session, client.handshake.password
    with raw.RawClient(server.port) as again:
        greeting = again.connect(raw.connect_request(session, password))
        assert greeting.session == session
        assert identities(again) == {HOST}
        log_in(again, "al")
        assert identities(again) == {HOST, ("sasl", "al")}


def test_an_auth_packet_is_no_login(client: raw.RawClient) -> None:
    client.send("auth", raw.auth_body(0, "sasl", b"bob"), raw.AUTH_XID)
    (refused,) = client.receive_until_closed()
    assert isinstance(refused, raw.Reply)
    assert refused.err == REFUSED


def create(client: raw.RawClient, path: str, id_: str, scheme: str = "sasl") -> int:
    return client.call("create", raw.create_body(path, b"", [(31, scheme, id_)], 0)).err


def read(client: raw.RawClient, path: str) -> int:
    return client.call("getData", raw.path_and_watch(path, False)).err


def test_acls(server: Server, client: raw.RawClient) -> None:
    log_in(client, "bob")
    assert create(client, "/mine", "", "auth") == 0
    acl = client.call("getACL", raw.ustring("/mine")).value
    assert isinstance(acl, tuple)
    assert acl[0] == [(31, "sasl", "bob")]
    assert create(client, "/al", "al") == create(client, "/all", "everybody") == 0
    assert (read(client, "/mine"), read(client, "/al"), read(client, "/all")) == (0, NO_AUTH, 0)
    with connected(server.port) as al:
        log_in(al, "al")
        assert (read(al, "/mine"), read(al, "/al"), read(al, "/all")) == (NO_AUTH, 0, 0)
    with connected(server.port) as root:
        log_in(root, "root")
        assert (read(root, "/mine"), read(root, "/al")) == (0, 0)
    with connected(server.port) as named_super:
        log_in(named_super, "super", "of the property")
        assert (read(named_super, "/mine"), read(named_super, "/al")) == (0, 0)
    with connected(server.port) as nobody:
        assert (read(nobody, "/mine"), read(nobody, "/all")) == (NO_AUTH, NO_AUTH)


# Other settings


@pytest.mark.parametrize("kind", KINDS)
def test_sasl_is_demanded(kind: str, tmp_path: Path) -> None:
    properties = {"sessionRequireClientSASLAuth": True, "allowSaslFailedClients": True}
    with serving(kind, tmp_path, **properties) as server:
        with connected(server.port) as client:
            log_in(client, "bob")
            assert identities(client) == {HOST, ("sasl", "bob")}
        with connected(server.port) as client:
            assert client.call("ping", xid=raw.PING_XID).err == DEMANDED
            assert client.receive_until_closed() == []
        with connected(server.port) as client:
            message, _ = response(client, "bob", "wrong")
            assert_refused(client, message, DEMANDED)


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_refused_may_go_on(kind: str, tmp_path: Path) -> None:
    with (
        serving(kind, tmp_path, allowSaslFailedClients=True) as server,
        connected(server.port) as client,
    ):
        message, _ = response(client, "bob", "wrong")
        for data in (message, b""):
            reply = token(client, data)
            assert (reply.err, reply.value) == (0, None)
        assert identities(client) == {HOST}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("without", ["java.security.auth.login.config", "authProvider.sasl"])
def test_half_of_it(kind: str, without: str, tmp_path: Path) -> None:
    """Without users nobody logs in; without the provider no ACL can name who did."""
    with serving(kind, tmp_path, **{without: None}) as server, connected(server.port) as client:
        if without == "authProvider.sasl":
            log_in(client, "bob")
            assert identities(client) == {HOST, ("sasl", "")}
            assert create(client, "/bob", "bob") == -114
        else:
            assert token(client, b"").value is None
            assert create(client, "/bob", "bob") == 0


def test_the_operator_is_told_who_was_refused_and_why(tmp_path: Path) -> None:
    with serving("kraal", tmp_path) as server:
        with connected(server.port) as client:
            message, _ = response(client, "bob", "wrong")
            assert_refused(client, message)
        with connected(server.port) as client:
            log_in(client, "bob")
            port = client.socket.getsockname()[1]
    log = server.log_path.read_text()
    assert "by DIGEST-MD5: the password of 'bob' is wrong" in log
    assert f"127.0.0.1:{port} is 'bob' by DIGEST-MD5" in log
    assert "secret" not in log


def test_refusals_without_end_are_few_lines(tmp_path: Path) -> None:
    with (
        serving("kraal", tmp_path, allowSaslFailedClients=True) as server,
        connected(server.port) as client,
    ):
        message, _ = response(client, "bob", "wrong")
        for _ in range(300):
            assert token(client, message).value is None
    lines = server.log_path.read_text().count("Refused the login of 127.0.0.1")
    assert 1 <= lines < 100


def test_the_audit_log_names_the_user(tmp_path: Path) -> None:
    with (
        serving("kraal", tmp_path, **{"audit.enable": True}) as server,
        connected(server.port) as client,
    ):
        log_in(client, "bob")
        assert create(client, "/bob", "bob") == 0
    assert "user=127.0.0.1,bob\tip=127.0.0.1\toperation=create" in server.log_path.read_text()
