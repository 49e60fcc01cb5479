"""ZooKeeper's own client logs in to kraal by SASL: zkCli of Apache ZooKeeper with a JAAS file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.servers import HOST, Server

pytestmark = pytest.mark.apache

USERS = {"bob": "bob's secret", "al": "other"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    servers.require_reference()
    with servers.with_sasl("kraal", tmp_path_factory.mktemp("kraal"), USERS) as running:
        yield running


def zk_cli(server: Server, directory: Path, user: str, password: str, *lines: str) -> str:
    """What the client says to these lines."""
    jaas = directory / f"{user}.jaas"
    jaas.write_text(
        "Client { org.apache.zookeeper.server.auth.DigestLoginModule required "
        f'username="{user}" password="{password}"; }};'
    )
    done = subprocess.run(
        ["java", "-cp", servers.reference_classpath(),
         f"-Djava.security.auth.login.config={jaas}", "-Dzookeeper.fips-mode=false",
         "org.apache.zookeeper.ZooKeeperMain", "-server", f"{HOST}:{server.port}"],
        input="".join(f"{line}\n" for line in (*lines, "quit")),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_user_and_its_znodes(server: Server, tmp_path: Path) -> None:
    said = zk_cli(
        server, tmp_path, "bob", USERS["bob"],
        "whoami", "create /mine hidden auth::cdrwa", "getAcl /mine",
    )  # fmt: skip
    assert "SaslAuthenticated" in said
    assert "sasl: bob" in said
    assert "'sasl,'bob" in said
    other = zk_cli(server, tmp_path, "al", USERS["al"], "get /mine")
    assert "SaslAuthenticated" in other
    assert "hidden" not in other
    assert "Insufficient permission" in other


def test_a_wrong_password(server: Server, tmp_path: Path) -> None:
    said = zk_cli(server, tmp_path, "bob", "wrong", "whoami")
    assert "AuthFailed" in said
    assert "sasl: bob" not in said
