"""TLS with the real thing: Apache's members and clients with JKS, kazoo, and kraal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.server.conftest import connected, create, data_of
from tests.support import servers
from tests.support.certificates import ALICE, PASSWORD, certificates, server_settings
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape
from tests.support.servers import free_port, require_reference

MADE = certificates()


def with_jks(prefix: str, certificate: str = "server") -> dict[str, object]:
    """Settings of stores that keytool made."""
    return {
        f"{prefix}keyStore.location": MADE.jks(MADE.directory / f"{certificate}.pem"),
        f"{prefix}keyStore.password": PASSWORD,
        f"{prefix}trustStore.location": MADE.jks(MADE.trust),
        f"{prefix}trustStore.password": PASSWORD,
    }


@pytest.fixture(scope="module")
def secure_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a kraal whose stores are Java's."""
    port = free_port()
    directory = tmp_path_factory.mktemp("kraal")
    settings = {"secureClientPort": port, **with_jks("ssl.")}
    with servers.kraal(directory, settings=settings):
        yield port


def zk_cli(port: int, *command: str, certificate: str) -> str:
    """What Apache's own client prints for a command over TLS."""
    stores = with_jks("-Dzookeeper.ssl.", certificate)
    options = [f"{key}={value}" for key, value in stores.items()]
    done = subprocess.run(
        ["java", "-cp", require_reference(), *options, "-Dzookeeper.client.secure=true",
         "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty",
         "org.apache.zookeeper.ZooKeeperMain", "-server", f"localhost:{port}", *command],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.apache
def test_apaches_client_speaks_with_kraal(secure_port: int) -> None:
    mine = ("/java", "x", "auth::cdrwa")
    assert f"x509: {ALICE}" in zk_cli(secure_port, "whoami", certificate="alice")
    assert "Created /java" in zk_cli(secure_port, "create", *mine, certificate="alice")
    refused = zk_cli(secure_port, "get", "/java", certificate="server")
    assert "Insufficient permission : /java" in refused


def test_kazoo_speaks_with_kraal(secure_port: int) -> None:
    client = KazooClient(
        f"localhost:{secure_port}", use_ssl=True, check_hostname=True, ca=str(MADE.trust),
        certfile=str(MADE.directory / "alice.pem"), keyfile=str(MADE.directory / "alice.pem"),
    )  # fmt: skip
    client.start(timeout=20)
    try:
        client.create("/kazoo", bytes(900_000))
        assert client.get("/kazoo")[0] == bytes(900_000)
    finally:
        client.stop()
        client.close()


@pytest.mark.apache
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fips", ["true", "false"])
def test_a_mixed_ensemble_speaks_tls(tmp_path: Path, fips: str) -> None:
    """Each kind leads in turn, and a member without TLS stays outside."""
    require_reference()
    settings = {"sslQuorum": "true", "fips-mode": fips, **with_jks("ssl.quorum.")}
    shape = Shape(participants=(KRAAL, APACHE, KRAAL), observers=(APACHE,), settings=settings)
    with Ensemble(tmp_path, shape) as ensemble:
        ensemble.start()
        led = set()
        for round_ in range(4):
            leader = ensemble.wait_leader()
            led.add(leader.kind)
            for member in ensemble.living:
                with connected(member.client_port) as client:
                    assert create(client, f"/{round_}-{member.id}", bytes(100_000)) == 0
            ensemble.wait_in_step()
            leader.stop()
            ensemble.wait_leader()
            leader.launch()
            ensemble.wait_serving()
            if led == {KRAAL, APACHE}:
                break
        assert led == {KRAAL, APACHE}
        with connected(leader.client_port) as client:
            assert data_of(client, "/0-1") == bytes(100_000)


@pytest.mark.apache
@pytest.mark.timeout(240)
def test_a_mixed_ensemble_comes_to_tls_in_three_steps(tmp_path: Path) -> None:
    require_reference()
    shape = Shape(participants=(APACHE, KRAAL, APACHE))
    unified, dialled = {"portUnification": "true"}, {"sslQuorum": "true"}
    stores = server_settings(MADE, "ssl.quorum.")
    with Ensemble(tmp_path, shape) as ensemble:
        ensemble.start()
        for step in (unified, {**unified, **dialled}, dialled):
            for member in ensemble.members.values():
                member.stop()
                config = member.directory / "zoo.cfg"
                kept = [
                    line for line in config.read_text().splitlines()
                    if line.partition("=")[0] not in {**unified, **dialled, **stores}
                ]  # fmt: skip
                given = [f"{key}={value}" for key, value in {**stores, **step}.items()]
                config.write_text("\n".join([*kept, *given, ""]))
                member.launch()
                ensemble.wait_serving()
                with connected(member.client_port) as client:
                    assert client.call("sync", b"\0\0\0\1/").err == 0
