"""ZooKeeper's own client logs in to kraal by SASL: zkCli of Apache ZooKeeper with a JAAS file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.kerberos import REALM, SERVER, Realm, require_kerberos
from tests.support.servers import HOST, Server

pytestmark = pytest.mark.apache

USERS = {"bob": "bob's secret", "al": "other"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    servers.require_reference()
    with servers.with_sasl("kraal", tmp_path_factory.mktemp("kraal"), USERS) as running:
        yield running


def by_password(user: str, password: str) -> str:
    return (
        "org.apache.zookeeper.server.auth.DigestLoginModule required "
        f'username="{user}" password="{password}"'
    )


def zk_cli(
    server: Server, directory: Path, login: str, *lines: str, options: Sequence[str] = ()
) -> str:
    """What the client says to these lines."""
    jaas = directory / "client.jaas"
    jaas.write_text(f"Client {{ {login}; }};")
    done = subprocess.run(
        ["java", "-cp", servers.reference_classpath(),
         f"-Djava.security.auth.login.config={jaas}", "-Dzookeeper.fips-mode=false", *options,
         "org.apache.zookeeper.ZooKeeperMain", "-server", f"{HOST}:{server.port}"],
        input="".join(f"{line}\n" for line in (*lines, "quit")),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_user_and_its_znodes(server: Server, tmp_path: Path) -> None:
    said = zk_cli(
        server, tmp_path, by_password("bob", USERS["bob"]),
        "whoami", "create /mine hidden auth::cdrwa", "getAcl /mine",
    )  # fmt: skip
    assert "SaslAuthenticated" in said
    assert "sasl: bob" in said
    assert "'sasl,'bob" in said
    other = zk_cli(server, tmp_path, by_password("al", USERS["al"]), "get /mine")
    assert "SaslAuthenticated" in other
    assert "hidden" not in other
    assert "Insufficient permission" in other


def test_a_wrong_password(server: Server, tmp_path: Path) -> None:
    said = zk_cli(server, tmp_path, by_password("bob", "wrong"), "whoami")
    assert "AuthFailed" in said
    assert "sasl: bob" not in said


def test_kerberos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.require_reference()
    require_kerberos()
    with Realm(tmp_path, ["alice"]) as realm:
        monkeypatch.setenv("KRB5_CONFIG", str(realm.config))
        settings = realm.server_properties()
        del settings["java.security.krb5.conf"]
        settings = {key.removeprefix("zookeeper."): value for key, value in settings.items()}
        login = (
            "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
            f'keyTab="{realm.keytab("alice")}" principal="alice@{REALM}"'
        )
        options = (
            f"-Djava.security.krb5.conf={realm.config}",
            f"-Dzookeeper.server.principal={SERVER}",
        )
        with servers.kraal(tmp_path / "server", settings=settings) as server:
            said = zk_cli(server, tmp_path, login, "whoami", options=options)
        assert f"sasl: alice@{REALM}" in said
