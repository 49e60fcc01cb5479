"""The client with other servers: Apache ZooKeeper, TLS, read-only ones, ones that forgot."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import kraal
from kraal.client import (
    ConnectionLossError,
    CreateMode,
    EventType,
    NotReadOnlyError,
    SessionState,
    TlsOptions,
    TransactionError,
    WatchEvent,
)
from kraal.errors import ConfigError
from tests.client.conftest import figure
from tests.client.test_session import changed_to
from tests.support import servers
from tests.support.ensembles import KRAAL, Ensemble, Shape
from tests.support.proxy import Proxy
from tests.support.servers import HOST, Server, free_port

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module", params=["3.9.5", "3.8.6"])
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    servers.require_reference(request.param)
    with servers.apache(tmp_path_factory.mktemp("apache"), version=request.param) as running:
        yield running


async def everything(port: int) -> None:
    """A walk through what the client can do, over a connection that breaks."""
    events: list[WatchEvent] = []
    async with (
        Proxy(port) as proxy,
        kraal.connect(f"{HOST}:{proxy.port}/walk") as zk,
        kraal.connect(f"{HOST}:{port}/walk") as other,
    ):
        await zk.delete_recursive("/")
        await zk.ensure_path("/")
        path = await zk.create(
            "/a/s-", b"x", mode=CreateMode.EPHEMERAL_SEQUENTIAL, make_parents=True
        )
        assert (await zk.get(path)).data == b"x"
        assert await zk.get_ephemerals() == [path]
        assert (await zk.create_protected("/a/lock-")).path.startswith("/a/_c_")
        async with zk.transaction() as t:
            t.create("/t").set("/t", b"1").check("/a", -1)
        with pytest.raises(TransactionError):
            await zk.transaction().delete("/t").delete("/nope").commit()
        await asyncio.gather(*(zk.set("/t", b"2") for _ in range(100)))
        watch = await zk.add_watch("/t", events.append)
        async with zk.watch("/", recursive=True) as stream:
            await zk.get("/t", watch=events.append)
            proxy.refuse()
            await changed_to(zk, SessionState.CONNECTING)
            await other.set("/t", b"3")
            proxy.allow()
            await zk.sync()
            assert {event.type for event in events} == {EventType.CHANGED, EventType.GAP}
            assert (await anext(stream)).type is EventType.GAP
            await other.delete("/t")
            assert (await anext(stream))[:2] == (EventType.DELETED, "/t")
        events.clear()
        await zk.get_children("/", watch=events.append)
        await watch.remove()
        await zk.create("/t")
        assert [event[:2] for event in events] == [(EventType.CHILDREN, "/")]
        await zk.add_auth("digest", b"u:p")
        assert len(await zk.who_am_i()) == 2
        assert (
            len(await zk.multi_read([kraal.client.Get("/t"), kraal.client.GetChildren("/a")])) == 2
        )


@pytest.mark.apache
@pytest.mark.parametrize("loop", LOOPS)
def test_everything_with_apache(reference: Server, loop: str) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(everything(reference.port))


@pytest.mark.apache
async def test_persistent_watches_are_removed_on_servers_of_all_versions(
    reference: Server,
) -> None:
    async with kraal.connect(f"{HOST}:{reference.port}") as zk:
        before = await figure(reference, "watch_count")
        one = await zk.add_watch("/a", print)
        other = await zk.add_watch("/a", print, recursive=True)
        await one.remove()
        await other.remove()
        await zk.sync()
        assert await figure(reference, "watch_count") == before


@pytest.mark.parametrize("loop", LOOPS)
def test_everything_with_kraal(server: Server, loop: str) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(everything(server.port))


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[int]:
    """The TLS port of an Apache server that wants certificates from its clients."""
    servers.require_reference()
    directory, port = tmp_path_factory.mktemp("tls"), free_port()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued = authority.issue_cert("localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (directory / "server.pem").write_bytes(pkcs8 + chain)
    settings = {
        "secureClientPort": port,
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location": directory / "server.pem",
        "ssl.keyStore.type": "PEM",
        "ssl.trustStore.location": directory / "ca.pem",
        "ssl.trustStore.type": "PEM",
    }
    with servers.apache(directory, settings=settings):
        yield port


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsOptions:
    ca, own = tmp_path / "ca.pem", tmp_path / "client.pem"
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(own)
    return TlsOptions(ca_file=ca, cert_file=own)


@pytest.mark.apache
@pytest.mark.parametrize("loop", LOOPS)
def test_tls_with_a_client_certificate(secure: int, files: TlsOptions, loop: str) -> None:
    async def body() -> None:
        async with kraal.connect(f"localhost:{secure}", tls=files) as zk:
            assert "x509" in {identity.scheme for identity in await zk.who_am_i()}
            await asyncio.gather(*(zk.exists("/a") for _ in range(100)))
        async with kraal.connect(f"localhost:{secure}", tls=files.context()) as zk:
            await zk.sync()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(body())


@pytest.mark.apache
@pytest.mark.parametrize(
    ("host", "change"),
    [
        (HOST, {}),  # the certificate is for localhost
        ("localhost", {"ca_file": None}),  # the system does not trust it
        ("localhost", {"cert_file": None}),  # the server wants one
    ],
)
async def test_tls_does_not_connect(
    secure: int,
    files: TlsOptions,
    host: str,
    change: dict[str, None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = {"ca_file": files.ca_file, "cert_file": files.cert_file, **change}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await kraal.connect(f"{host}:{secure}", tls=TlsOptions(**given)).start()  # type: ignore[arg-type]
    assert "no server could be reached" in caplog.text


@pytest.mark.apache
async def test_tls_without_the_hosts_name(secure: int, files: TlsOptions) -> None:
    lenient = TlsOptions(ca_file=files.ca_file, cert_file=files.cert_file, check_hostname=False)
    async with kraal.connect(f"{HOST}:{secure}", tls=lenient) as zk:
        await zk.sync()


async def test_certificates_that_change_count_at_the_next_connection(
    server: Server, tmp_path: Path
) -> None:
    """The authorities of both sides change, and the session goes on."""
    ca_file, own = tmp_path / "ca.pem", tmp_path / "client.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED

    def renew() -> bytes:
        """The client's new certificate in DER."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(ca_file)
        issued = authority.issue_cert("client@example.org")
        issued.private_key_and_cert_chain_pem.write_to_path(own)
        authority.configure_trust(context)
        authority.issue_cert("localhost").configure_cert(context)
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    known = [renew()]
    options = TlsOptions(ca_file=ca_file, cert_file=own)
    async with (
        Proxy(server.port, tls=context) as door,
        kraal.connect(f"localhost:{door.port}", tls=options) as zk,
    ):
        session = zk.session
        for _ in range(2):
            known.append(renew())
            door.cut()
            await changed_to(zk, SessionState.CONNECTING)
            await zk.exists("/")
        assert zk.session == session
        assert door.certificates == known
        past = datetime.now(UTC) - timedelta(days=1)
        expired = trustme.CA().issue_cert("client@example.org", not_after=past)
        for unusable in (b"-----BEGIN nonsense", expired.private_key_and_cert_chain_pem.bytes()):
            own.write_bytes(unusable)
            door.cut()
            await changed_to(zk, SessionState.CONNECTING)
            await zk.exists("/")
            known.append(known[-1])
            assert door.certificates == known


def test_names_are_verified_by_default(files: TlsOptions, tmp_path: Path) -> None:
    for context in (TlsOptions().context(), files.context()):
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(ConfigError, match="ca_file"):
        kraal.connect("h", tls=TlsOptions(ca_file=tmp_path / "missing"))
    with pytest.raises(ConfigError, match="cert_file"):
        kraal.connect("h", tls=TlsOptions(cert_file=files.ca_file))


# Servers that cannot write, or have forgotten


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    shape = Shape(participants=(KRAAL,) * 3, settings={"readonlymode.enabled": "true"})
    with Ensemble(tmp_path, shape) as started:
        started.start()
        yield started


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


async def test_a_read_only_server_is_left_for_one_that_can_write(ensemble: Ensemble) -> None:
    members = list(ensemble.members.values())
    hosts = ",".join(f"{HOST}:{member.client_port}" for member in members)
    async with kraal.connect(hosts, session_timeout=10) as zk:
        await zk.create("/a", b"x")
        await zk.sync()
    for member in members[1:]:
        await in_thread(member.kill)
    await in_thread(lambda: ensemble.wait_mode(members[0], "read-only"))
    states: list[SessionState] = []
    async with kraal.connect(hosts, read_only=True, session_timeout=10) as zk:
        zk.on_state(states.append)
        assert zk.state is SessionState.CONNECTED_READ_ONLY
        first = zk.session_id
        assert (await zk.get("/a")).data == b"x"
        with pytest.raises(NotReadOnlyError):
            await zk.create("/b")
        for member in members[1:]:
            await in_thread(member.launch)
        await changed_to(zk, SessionState.CONNECTED)
        while True:
            try:
                await zk.create("/b")
                break
            except ConnectionLossError:
                pass  # an election may not have been the last
        assert zk.session_id != first
        assert SessionState.EXPIRED not in states


async def test_a_server_that_has_lost_its_data_gets_a_new_session(tmp_path: Path) -> None:
    """It refuses, without a word, whoever has seen more than itself."""
    with servers.kraal(tmp_path, settings={"tickTime": 100}) as server:
        async with kraal.connect(f"{HOST}:{server.port}", session_timeout=0.5) as zk:
            for number in range(10):
                await zk.create(f"/{number}")
            old = zk.session_id
            await in_thread(server.kill)
            shutil.rmtree(tmp_path / "data")
            await in_thread(server.start)
            await changed_to(zk, SessionState.EXPIRED)
            await zk.wait_connected()
            assert zk.session_id != old
            assert await zk.exists("/1") is None
