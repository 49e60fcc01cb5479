"""SASL by Kerberos, with kraal's server, Apache ZooKeeper and a KDC; skipped without a KDC."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kraal
from kraal import sync
from kraal.client import (
    CREATOR_ALL_ACL,
    Acl,
    AuthFailedError,
    Client,
    DigestMd5,
    Gssapi,
    Id,
    Perms,
    SessionState,
)
from kraal.errors import ConfigError
from tests.client.test_session import changed_to
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.kerberos import REALM, SERVER, Realm, require_kerberos
from tests.support.proxy import Proxy
from tests.support.servers import HOST, Server

ALICE = Id("sasl", f"alice@{REALM}")


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    require_kerberos()
    with (
        Realm(tmp_path_factory.mktemp("realm"), ["alice", "bob"]) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("KRB5_CONFIG", str(running.config))
        patch.setenv("KRB5CCNAME", f"FILE:{running.config.parent}/nobody")
        yield running


@pytest.fixture(scope="module", params=["kraal", pytest.param("apache", marks=pytest.mark.apache)])
def running(
    request: pytest.FixtureRequest, realm: Realm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with with_kerberos(request.param, realm, tmp_path_factory.mktemp("kerberos")) as server:
        yield server


def with_kerberos(kind: str, realm: Realm, directory: Path, **properties: object) -> Server:
    """A server that is `SERVER`, not started yet; `properties` are keys of zoo.cfg."""
    named = {f"zookeeper.{key}": value for key, value in properties.items()}
    given = {**realm.server_properties(), **named}
    if kind == "apache":
        servers.require_reference()
        return servers.apache(directory, properties=given)
    del given["java.security.krb5.conf"]  # it is in the environment
    return servers.kraal(
        directory, settings={key.removeprefix("zookeeper."): value for key, value in given.items()}
    )


def connected(server: Server, user: Gssapi | DigestMd5) -> Client:
    return kraal.connect(f"{HOST}:{server.port}", sasl=user)


def by_keytab(realm: Realm, user: str, **options: str) -> Gssapi:
    return Gssapi(principal=user, keytab=realm.keytab(user.partition("@")[0]), **options)


async def test_the_server_knows_the_principal(running: Server, realm: Realm) -> None:
    async with (
        connected(running, by_keytab(realm, "alice")) as alice,
        connected(running, by_keytab(realm, f"bob@{REALM}", host=HOST)) as bob,
    ):
        assert ALICE in await alice.who_am_i()
        assert Id("sasl", f"bob@{REALM}") in await bob.who_am_i()
        await alice.create("/hers", acl=CREATOR_ALL_ACL)
        assert (await alice.get_acl("/hers")).acl == [Acl(Perms.ALL, *ALICE)]
        with pytest.raises(kraal.client.NoAuthError):
            await bob.get("/hers")


async def test_a_keytab_may_say_who_it_is_for(running: Server, realm: Realm) -> None:
    async with connected(running, Gssapi(keytab=realm.keytab("alice"))) as zk:
        assert ALICE in await zk.who_am_i()
    async with connected(running, Gssapi(keytab=realm.keytab("bob"))) as zk:
        assert ALICE not in await zk.who_am_i()


async def test_every_connection_is_authenticated(running: Server, realm: Realm) -> None:
    async with (
        Proxy(running.port) as proxy,
        kraal.connect(f"{HOST}:{proxy.port}", sasl=by_keytab(realm, "alice")) as zk,
    ):
        await zk.create("/again", acl=CREATOR_ALL_ACL)
        proxy.cut()
        await changed_to(zk, SessionState.CONNECTING)
        assert (await zk.set("/again", b"")).version == 1


def test_for_threads(running: Server, realm: Realm) -> None:
    user = Gssapi(keytab=realm.keytab("alice"))
    with sync.connect(f"{HOST}:{running.port}", sasl=user) as zk:
        assert ALICE in zk.who_am_i()


async def test_what_is_refused(running: Server, realm: Realm) -> None:
    keytab = realm.keytab("alice")
    for user in (
        Gssapi(),  # nobody has logged in
        Gssapi(principal="bob", keytab=keytab),
        Gssapi(keytab=keytab.with_name("missing")),
        Gssapi(keytab=keytab, service="unknown"),
        Gssapi(keytab=keytab, host="elsewhere"),
    ):
        with pytest.raises(AuthFailedError, match="GSSAPI: "):
            await connected(running, user).start()
    with pytest.raises(AuthFailedError, match="DIGEST-MD5: the server refused the credentials"):
        await connected(running, DigestMd5("alice", "secret")).start()


def ids_of_the_server_itself(server: Server, realm: Realm) -> list[str]:
    """Who somebody with the keys of the server is, whose name has a host."""
    user = Gssapi(keytab=realm.keytab(SERVER), principal=SERVER)
    with sync.connect(f"{HOST}:{server.port}", sasl=user) as zk:
        return [who.id for who in zk.who_am_i() if who.scheme != "ip"]


@pytest.mark.parametrize("kind", ["kraal", pytest.param("apache", marks=pytest.mark.apache)])
def test_names_may_be_shortened(kind: str, realm: Realm, tmp_path: Path) -> None:
    for number, (properties, id_) in enumerate(
        (
            ({}, SERVER),
            ({"kerberos.removeHostFromPrincipal": "true"}, f"zookeeper@{REALM}"),
            (
                {
                    "kerberos.removeHostFromPrincipal": "true",
                    "kerberos.removeRealmFromPrincipal": "true",
                    "security.auth_to_local": "RULE:[2:$1-x]s/zoo(k)/$1/ DEFAULT",
                    "superUser": "keeper-x",
                },
                "keeper-x",
            ),
        )
    ):
        with with_kerberos(kind, realm, tmp_path / str(number), **properties) as server:
            ids = ids_of_the_server_itself(server, realm)
            assert ids[0] == id_
            assert ids[1:] == ([""] if "superUser" in properties else [])


def test_garbage(realm: Realm, tmp_path: Path) -> None:
    with with_kerberos("kraal", realm, tmp_path) as server:
        for token in (b"", b"garbage", b"x" * 70_000):
            with raw.RawClient(server.port) as client:
                client.connect()
                client.send("sasl", raw.buffer(token))
                (refused,) = client.receive_until_closed()
                assert isinstance(refused, raw.Reply)
                assert (refused.err, refused.rest) == (-115, raw.i32(-1))
        with connected_by_threads(server, by_keytab(realm, "alice")) as zk:
            assert ALICE in zk.who_am_i()
    log = server.log_path.read_text()
    assert "by GSSAPI: a token of 70000 bytes" in log
    assert log.count("Refused the login of 127.0.0.1") == 3
    assert f"is 'alice@{REALM}' by GSSAPI" in log


def connected_by_threads(server: Server, user: Gssapi) -> sync.Client:
    return sync.connect(f"{HOST}:{server.port}", sasl=user)


def test_keys_that_are_not_there(realm: Realm, tmp_path: Path) -> None:
    server = with_kerberos("kraal", realm, tmp_path)
    jaas = tmp_path / "jaas.conf"
    (tmp_path / "zoo.cfg").write_text(
        (tmp_path / "zoo.cfg").read_text() + f"java.security.auth.login.config={jaas}\n"
    )
    jaas.write_text(
        "Server { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true "
        f'keyTab="{realm.keytab("alice")}" principal="zookeeper/elsewhere@{REALM}"; }};'
    )
    with pytest.raises(RuntimeError, match=f"zookeeper/elsewhere@{REALM}: "):
        server.start()
    assert "Traceback" not in server.log_path.read_text()


async def test_servers_without_kerberos(server: Server, realm: Realm) -> None:
    with pytest.raises(AuthFailedError, match="GSSAPI: the server has no SASL configured"):
        await connected(server, by_keytab(realm, "alice")).start()


@pytest.mark.apache
async def test_a_server_with_another_mechanism(
    realm: Realm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    servers.require_reference()
    directory = tmp_path_factory.mktemp("apache-digest")
    properties = servers.digest_md5(directory, {"alice": "secret"})
    digest = servers.apache(directory, properties=properties)
    await asyncio.to_thread(digest.start)
    try:
        with pytest.raises(AuthFailedError, match=r"GSSAPI: .*Invalid token"):
            await connected(digest, by_keytab(realm, "alice")).start()
    finally:
        await asyncio.to_thread(digest.stop)


def test_what_is_no_name() -> None:
    for options in ({"principal": b"alice"}, {"host": 1}, {"keytab": b"file"}, {"keytab": 1}):
        with pytest.raises(TypeError):
            Gssapi(**options)


def test_without_the_library_it_is_said_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'kraal\[gssapi\]'"):
        Gssapi()
