"""TLS on the client port: who is let in, under which name, and what strangers send there."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import kraal
from kraal.client import TlsOptions
from tests.server.conftest import Memory, assert_alive, connected, create, data_of, figure
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.certificates import ALICE, Certificates, certificates, server_settings
from tests.support.servers import HOST, Server, free_port

MADE = certificates()
TRUSTED = MADE.client()
AS_ALICE = MADE.client(MADE.directory / "alice.pem")
OPEN: list[raw.RawClient | socket.socket] = []


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def plain(port: int) -> raw.RawClient:
    OPEN.append(client := connected(port))
    return client


def stranger(port: int) -> socket.socket:
    OPEN.append(sock := socket.create_connection((HOST, port), timeout=10))
    return sock


class TlsClient(raw.RawClient):
    """A raw client that shakes hands first."""

    def __init__(self, port: int, context: ssl.SSLContext = AS_ALICE) -> None:
        super().__init__(port)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        except OSError:
            self.socket.close()
            raise
        OPEN.append(self)

    def begin(self) -> TlsClient:
        self.connect(raw.connect_request())
        return self


@contextmanager
def secured(directory: Path, **settings: object) -> Iterator[tuple[Server, int]]:
    """A server with both ports, and the port that speaks TLS."""
    port = free_port()
    given = {
        **server_settings(MADE),
        "secureClientPort": port,
        "secureClientPortAddress": HOST,
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    with servers.kraal(directory, settings=given) as server:
        yield server, port
        assert_alive(server)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    with secured(tmp_path_factory.mktemp("tls"), ssl__clientAuth="want") as found:
        yield found


def word(port: int, text: str, context: ssl.SSLContext = TRUSTED) -> str:
    """A four-letter word over TLS."""
    answer = b""
    with TlsClient(port, context).socket as sock:
        sock.sendall(text.encode())
        while chunk := sock.recv(65536):
            answer += chunk
    return answer.decode()


def until(log: Path, text: str) -> None:
    """Wait until the log has it."""
    end = time.monotonic() + 10
    while text not in log.read_text():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.01)


def who_am_i(client: raw.RawClient) -> set[object]:
    value = client.call("whoAmI").value
    assert isinstance(value, list)
    return set(value)


def test_a_client_is_who_its_certificate_says(served: tuple[Server, int]) -> None:
    server, port = served
    alice, nobody = TlsClient(port).begin(), TlsClient(port, TRUSTED).begin()
    other = plain(server.port)
    assert who_am_i(alice) == {("ip", HOST), ("x509", ALICE)}
    assert who_am_i(nobody) == who_am_i(other) == {("ip", HOST)}
    mine = [(31, "auth", "")]
    assert alice.call("create", raw.create_body("/alices", b"1", mine, 0)).err == 0
    acl = alice.call("getACL", raw.ustring("/alices")).value
    assert isinstance(acl, tuple)
    assert acl[0] == [(31, "x509", ALICE)]
    assert data_of(alice, "/alices") == b"1"
    wrong = raw.create_body("/x", b"", [(31, "x509", "nobody")], 0)
    for each in (nobody, other):
        assert each.call("getData", raw.path_and_watch("/alices", False)).err == -102
        assert each.call("create", wrong).err == -114
    assert alice.call("auth", raw.auth_body(0, "x509", b"")).err == 0
    assert nobody.call("auth", raw.auth_body(0, "x509", b"")).err == -115
    assert other.call("auth", raw.auth_body(0, "x509", b"")).err == -115


def test_each_port_shows_its_own_connections(served: tuple[Server, int]) -> None:
    server, port = served
    clients = TlsClient(port).begin(), plain(server.port)
    names = [f":{client.socket.getsockname()[1]}[" for client in clients]
    for letters in ("cons", "stat"):
        over_tls, over_tcp = word(port, letters), servers.four_letter_word(server.port, letters)
        assert names[0] in over_tls
        assert names[1] not in over_tls
        assert names[1] in over_tcp
        assert names[0] not in over_tcp
    assert f"secureClientPort={port}\n" in word(port, "conf")
    assert figure(server, "non_mtls_local_conn_count") > 0


def test_large_data_goes_through(served: tuple[Server, int]) -> None:
    _server, port = served
    client = TlsClient(port).begin()
    data = bytes(range(256)) * 3900
    assert create(client, "/large", data) == 0
    for _ in range(30):
        client.send("getData", raw.path_and_watch("/large", False))
    for _ in range(30):
        reply = client.receive()
        assert isinstance(reply, raw.Reply)
        value = reply.value
        assert isinstance(value, tuple)
        assert value[0] == data


def test_who_does_not_read_costs_little(served: tuple[Server, int]) -> None:
    server, port = served
    client, slow = TlsClient(port).begin(), TlsClient(port).begin()
    assert create(client, "/heavy", bytes(900_000)) == 0
    memory = Memory(server)
    for _ in range(200):
        slow.send("getData", raw.path_and_watch("/heavy", False))
    while f":{slow.socket.getsockname()[1]}[0]" not in word(port, "cons"):
        time.sleep(0.01)  # it is not read any more
    assert client.call("sync", raw.ustring("/")).err == 0
    assert memory.peak_growth() < 64 << 20
    for _ in range(200):
        reply = slow.receive()
        assert isinstance(reply, raw.Reply)
        assert reply.err == 0


def test_a_client_with_a_large_certificate_is_answered(served: tuple[Server, int]) -> None:
    """What the handshake leaves to be sent is as large as that, and must not count as unread."""
    _server, port = served
    names = (f"service-{at:03}.production.example.com" for at in range(400))
    client = TlsClient(port, MADE.client(MADE.issue("large", *names))).begin()
    assert client.call("sync", raw.ustring("/")).err == 0


def test_kraals_own_client_speaks_with_it(served: tuple[Server, int]) -> None:
    _server, port = served

    async def use() -> object:
        tls = TlsOptions(
            ca_file=MADE.trust, cert_file=MADE.directory / "alice.pem", check_hostname=True
        )
        async with kraal.connect(f"localhost:{port}", tls=tls) as zk:
            await zk.create("/ours", b"here")
            return (await zk.get("/ours"))[0]

    assert asyncio.run(use()) == b"here"


REFUSALS = [
    ("nobody", "TLSv1.3", "certificate required", "the server demands a certificate of the client"),
    ("nobody", "TLSv1.2", "handshake failure", "it demands a certificate of the client"),
    ("stranger", "TLSv1.3", "unknown ca", "the server does not trust the client's certificate"),
    ("stranger", "TLSv1.2", "unknown ca", "the server does not trust the client's certificate"),
    ("expired", "TLSv1.3", "certificate expired", "the client's certificate has expired"),
]


def certificate_of(who: str, directory: Path) -> Path | None:
    if who == "nobody":
        return None
    if who == "stranger":
        return Certificates(directory).issue("stranger", "localhost")
    return MADE.issue("expired", "localhost", not_after=datetime.now(UTC) - timedelta(minutes=1))


@pytest.mark.parametrize(("who", "version", "alert", "reason"), REFUSALS)
def test_who_is_refused_reads_why(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    who: str,
    version: str,
    alert: str,
    reason: str,
) -> None:
    """Also who has sent something already, which must not have the connection reset."""
    own = certificate_of(who, tmp_path)
    with secured(tmp_path / "server", ssl__protocol=version) as (_server, port):
        for _ in range(3):
            with (
                pytest.raises(ssl.SSLError, match=alert),
                TlsClient(port, MADE.client(own)).socket as sock,
            ):
                sock.sendall(bytes(100))
                sock.recv(1)
        tls = TlsOptions(ca_file=MADE.trust, cert_file=own)
        assert reason in asyncio.run(complaint(caplog, f"localhost:{port}", tls))


async def complaint(caplog: pytest.LogCaptureFixture, host: str, tls: TlsOptions | None) -> str:
    """What kraal's own client says of a server that it cannot get at."""
    caplog.clear()
    zk = kraal.connect(host, tls=tls)
    starting = asyncio.ensure_future(zk.start())
    async with asyncio.timeout(20):
        while "no server could be reached: " not in caplog.text:
            await asyncio.sleep(0.01)
    await zk.close()
    await asyncio.gather(starting, return_exceptions=True)
    return caplog.text


def test_a_loop_of_asyncio_says_why_too() -> None:
    """Servers run in uvloop's, where it is installed."""
    from kraal.model.tls import Store, TlsSettings
    from kraal.server.tls.port import TlsPort, listen
    from kraal.tls.contexts import accepting

    key, trust = (Store("ssl.x", each) for each in (MADE.directory / "server.pem", MADE.trust))
    context = accepting(TlsSettings(prefix="ssl.", key=key, trust=trust)).context

    def refused(port: int) -> None:
        with (
            pytest.raises(ssl.SSLError, match="certificate required"),
            TlsClient(port, TRUSTED).socket as sock,
        ):
            sock.sendall(bytes(100))
            sock.recv(1)

    async def serve() -> None:
        port = TlsPort("test port", lambda: context, lambda _host: asyncio.Protocol())
        port.start(await listen(HOST, 0, backlog=5))
        await asyncio.to_thread(refused, port.port)
        port.close()
        await port.wait_closed()

    asyncio.run(serve())


def test_a_client_at_the_wrong_port_reads_so(
    served: tuple[Server, int], caplog: pytest.LogCaptureFixture
) -> None:
    server, port = served
    tls = TlsOptions(ca_file=MADE.trust)
    said = asyncio.run(complaint(caplog, f"localhost:{port}", None))
    assert "the server speaks TLS at this port: connect by TLS" in said
    until(server.log_path, f"it does not speak TLS, as this port demands; the port without it is"
          f" clientPort={server.port}")  # fmt: skip
    said = asyncio.run(complaint(caplog, f"localhost:{server.port}", tls))
    assert "perhaps it does not speak TLS at this port, and its secureClientPort is another" in said
    until(server.log_path, "it speaks TLS, and this port does not; the port with it is"
          f" secureClientPort={port}")  # fmt: skip


def test_what_is_wrong_with_the_servers_certificate_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = MADE.issue("old", "localhost", not_after=datetime.now(UTC) - timedelta(minutes=1))
    stranger = TlsOptions(ca_file=Certificates(tmp_path).trust)
    trusting = TlsOptions(ca_file=MADE.trust)
    for store, tls, reason in (
        (MADE.directory / "server.pem", stranger, "is of an authority that is not trusted: name"),
        (MADE.directory / "alice.pem", trusting, "is of other names: name the server as"),
        (old, trusting, "has expired: the server needs a new one"),
    ):
        directory = tmp_path / store.stem
        with secured(directory, ssl__keyStore__location=store) as (_server, port):
            said = asyncio.run(complaint(caplog, f"localhost:{port}", tls))
            assert f"the server's certificate {reason}" in said


def test_strangers_are_refused_with_a_reason(tmp_path: Path) -> None:
    strangers = MADE.client(Certificates(tmp_path).issue("stranger", "localhost"))
    with secured(tmp_path / "server") as (server, port):
        for context, reason in (
            (TRUSTED, "it shows no certificate"),
            (strangers, "its certificate is refused: unable to get local issuer certificate"),
        ):
            with suppress(OSError), TlsClient(port, context).socket as sock:
                sock.sendall(bytes(8))  # with TLS 1.3 the client learns of it behind its hello
                while sock.recv(100):
                    pass
            until(server.log_path, f"with the client port failed: {reason}")
            time.sleep(1)  # one line a second is written
        assert figure(server, "unsuccessful_handshake") == 2
        assert figure(server, "auth_failed_count") == 2
        TlsClient(port).begin().call("closeSession")


@pytest.mark.parametrize(
    "junk",
    [b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\x2d" + bytes(45), b"ruok\n", b"\x16\x03\x01\x00\x05hello",
     b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\xff" * 100_000],
)  # fmt: skip
def test_junk_is_closed_and_others_are_served(served: tuple[Server, int], junk: bytes) -> None:
    server, port = served
    before = figure(server, "unsuccessful_handshake")
    with socket.create_connection((HOST, port), timeout=10) as sock, suppress(OSError):
        sock.sendall(junk)
        while sock.recv(65536):
            pass
    while figure(server, "unsuccessful_handshake") == before:
        time.sleep(0.01)
    assert_alive(server)


def test_what_breaks_off_in_the_middle_holds_nobody_up(served: tuple[Server, int]) -> None:
    server, port = served
    silent, hello = ([stranger(port) for _ in range(20)] for _ in range(2))
    for sock in hello:
        sock.sendall(b"\x16\x03\x01\x02\x00")
    while figure(server, "outstanding_tls_handshake") < 40:
        time.sleep(0.01)
    client = TlsClient(port).begin()
    assert client.call("sync", raw.ustring("/")).err == 0
    for sock in (*silent, *hello):
        sock.close()
    while figure(server, "outstanding_tls_handshake"):
        time.sleep(0.01)
    # Garbage instead of a record, after the handshake.
    with socket.socket(fileno=client.socket.detach()) as bare, suppress(OSError):
        bare.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        while bare.recv(65536):
            pass
    assert_alive(server)


def test_both_are_spoken_on_one_port(tmp_path: Path) -> None:
    settings = {
        "client.portUnification": "true",
        "ssl.handshakeDetectionTimeoutMillis": "100",
        **server_settings(MADE),
    }
    with servers.kraal(tmp_path, settings=settings) as server:
        assert who_am_i(TlsClient(server.port).begin()) == {("ip", HOST), ("x509", ALICE)}
        assert who_am_i(plain(server.port)) == {("ip", HOST)}
        OPEN.append(late := raw.RawClient(server.port))
        time.sleep(0.3)  # silence is plain
        late.connect(raw.connect_request())
        assert late.call("sync", raw.ustring("/")).err == 0
        assert_alive(server)


def test_the_superuser_has_a_certificate(tmp_path: Path) -> None:
    written = ALICE.replace("\\", "\\\\")  # a properties file takes one backslash away
    with secured(tmp_path, X509AuthenticationProvider__superUser=written) as (_server, port):
        alice = TlsClient(port).begin()
        assert who_am_i(alice) == {("ip", HOST), ("x509", ALICE), ("super", "")}
        bobs = raw.create_body("/x", b"", [(31, "x509", "CN=bob")], 0)
        assert alice.call("create", bobs).err == 0
        assert data_of(alice, "/x") == b""


def test_a_renewed_certificate_is_taken_up(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made")
    made.directory.mkdir()
    settings = {"ssl__keyStore__location": made.issue("server", "localhost")}
    with secured(tmp_path / "server", ssl__clientAuth="none", **settings) as (server, port):
        context = made.client()

        def serial() -> object:
            sock = TlsClient(port, context).socket
            assert isinstance(sock, ssl.SSLSocket)
            certificate = sock.getpeercert()
            assert certificate is not None
            return certificate["serialNumber"]

        open_before, first = TlsClient(port, context).begin(), serial()
        assert serial() == first
        made.issue("server", "localhost")
        assert serial() != first
        until(server.log_path, f"New TLS files are in use: {made.directory / 'server.pem'}")
        assert open_before.call("sync", raw.ustring("/")).err == 0


def test_limits_count_before_the_handshake(tmp_path: Path) -> None:
    limits = {"maxClientCnxns": 3, "netty.server.outstandingHandshake.limit": 2}
    with secured(tmp_path, **limits) as (server, port):
        waiting = [stranger(port) for _ in range(2)]
        while figure(server, "outstanding_tls_handshake") < 2:
            time.sleep(0.01)
        assert stranger(port).recv(1) == b""
        assert figure(server, "tls_handshake_exceeded") == 1
        for sock in waiting:
            sock.close()
        while figure(server, "outstanding_tls_handshake"):
            time.sleep(0.01)
        for _ in range(3):
            TlsClient(port).begin()
        assert stranger(port).recv(1) == b""
        until(server.log_path, f"Too many connections from /{HOST} - max is 3")
        assert plain(server.port).call("closeSession").err == 0


def test_a_certificate_must_name_its_address_if_that_is_asked_for(tmp_path: Path) -> None:
    verified = {"ssl__clientHostnameVerification": "true"}
    with secured(tmp_path, **verified) as (server, port):
        here = MADE.client(MADE.directory / "server.pem")
        assert TlsClient(port, here).begin().call("closeSession").err == 0
        elsewhere = MADE.client(MADE.issue("elsewhere", "192.0.2.1"))
        with pytest.raises((OSError, raw.ClosedError)):
            TlsClient(port, elsewhere).begin()
        until(server.log_path, f"its certificate is of 192.0.2.1, which is not at {HOST}")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ssl.keyStore.location": "/missing.pem"}, "/missing.pem: No such file"),
        ({"ssl.keyStore.location": ""}, "ssl.keyStore.location names no file"),
        ({"ssl.trustStore.location": ""}, "ssl.trustStore.location names no file"),
        ({"ssl.protocol": "TLSv9"}, "ssl.protocol: TLSv9 is none of the protocols"),
        ({"ssl.enabledProtocols": "TLSv9"}, "ssl.enabledProtocols: TLSv9 is none of the protocols"),
        ({"ssl.ciphersuites": "TLS_NULL"}, "ssl.ciphersuites: there is no cipher suite TLS_NULL"),
        ({"ssl.keyStore.location": MADE.trust}, "authority.pem: there is no private key in it"),
    ],
)
def test_a_server_without_its_certificates_does_not_start(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    given = {**server_settings(MADE), "secureClientPort": free_port(), **settings}
    server = servers.kraal(tmp_path, settings=given)
    assert server.launch().wait(20) == 2
    log, (key,) = server.log_path.read_text(), settings
    assert "Invalid config, exiting abnormally" in log
    assert reason in log
    lines = (tmp_path / "zoo.cfg").read_text().splitlines()
    number = 1 + next(at for at, line in enumerate(lines) if line.startswith(key))
    assert f"zoo.cfg, line {number}: {key}" in log
    assert not list((tmp_path / "data").glob("version-2/*"))


def test_the_server_line_names_the_port_for_tls_and_a_reconfiguration_moves_it(
    tmp_path: Path,
) -> None:
    quorum, election, plain_port, secure, later = (free_port() for _ in range(5))
    line = f"{HOST}:{quorum}:{election}:participant;{HOST}:{plain_port}"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "myid").write_text("1")
    settings = {
        **server_settings(MADE), "server.1": f"{line};{HOST}:{secure}", "skipACL": "yes",
        "secureClientPort": secure, "secureClientPortAddress": HOST, "initLimit": 10,
        "syncLimit": 5, "standaloneEnabled": "false", "reconfigEnabled": "true",
    }  # fmt: skip
    with servers.kraal(tmp_path, port=plain_port, settings=settings) as server:
        client = TlsClient(secure).begin()
        joining = f"server.1={line};{HOST}:{later}"
        assert client.call("reconfig", raw.reconfig_body(joining, None, None, -1)).err == 0
        until(server.log_path, f"Clients are served on {HOST}:{later} from now on")
        assert client.call("sync", raw.ustring("/")).err == 0  # who is there stays
        stored = data_of(TlsClient(later).begin(), "/zookeeper/config") or b""
        assert f"server.1={line};{HOST}:{later}\n".encode() in stored
        with pytest.raises(OSError, match="refused"):
            stranger(secure)
        assert "secureClientPort" not in (tmp_path / "zoo.cfg").read_text()
        server.stop()
        server.start()
        assert TlsClient(later).begin().call("sync", raw.ustring("/")).err == 0
