"""SASL by Kerberos, with Apache ZooKeeper and a KDC; skipped where there is none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

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
from tests.support import servers
from tests.support.kerberos import REALM, Realm, require_kerberos
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


@pytest.fixture(scope="module")
def reference(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    servers.require_reference()
    directory = tmp_path_factory.mktemp("apache-kerberos")
    with servers.apache(directory, properties=realm.server_properties()) as running:
        yield running


def connected(server: Server, user: Gssapi | DigestMd5) -> Client:
    return kraal.connect(f"{HOST}:{server.port}", sasl=user)


def by_keytab(realm: Realm, user: str, **options: str) -> Gssapi:
    return Gssapi(principal=user, keytab=realm.keytab(user.partition("@")[0]), **options)


@pytest.mark.apache
async def test_the_server_knows_the_principal(reference: Server, realm: Realm) -> None:
    async with (
        connected(reference, by_keytab(realm, "alice")) as alice,
        connected(reference, by_keytab(realm, f"bob@{REALM}", host=HOST)) as bob,
    ):
        assert ALICE in await alice.who_am_i()
        assert Id("sasl", f"bob@{REALM}") in await bob.who_am_i()
        await alice.create("/hers", acl=CREATOR_ALL_ACL)
        assert (await alice.get_acl("/hers")).acl == [Acl(Perms.ALL, *ALICE)]
        with pytest.raises(kraal.client.NoAuthError):
            await bob.get("/hers")


@pytest.mark.apache
async def test_a_keytab_may_say_who_it_is_for(reference: Server, realm: Realm) -> None:
    async with connected(reference, Gssapi(keytab=realm.keytab("alice"))) as zk:
        assert ALICE in await zk.who_am_i()
    async with connected(reference, Gssapi(keytab=realm.keytab("bob"))) as zk:
        assert ALICE not in await zk.who_am_i()


@pytest.mark.apache
async def test_every_connection_is_authenticated(reference: Server, realm: Realm) -> None:
    async with (
        Proxy(reference.port) as proxy,
        kraal.connect(f"{HOST}:{proxy.port}", sasl=by_keytab(realm, "alice")) as zk,
    ):
        await zk.create("/again", acl=CREATOR_ALL_ACL)
        proxy.cut()
        await changed_to(zk, SessionState.CONNECTING)
        assert (await zk.set("/again", b"")).version == 1


@pytest.mark.apache
def test_for_threads(reference: Server, realm: Realm) -> None:
    user = Gssapi(keytab=realm.keytab("alice"))
    with sync.connect(f"{HOST}:{reference.port}", sasl=user) as zk:
        assert ALICE in zk.who_am_i()


@pytest.mark.apache
async def test_what_is_refused(reference: Server, realm: Realm) -> None:
    keytab = realm.keytab("alice")
    for user in (
        Gssapi(),  # nobody has logged in
        Gssapi(principal="bob", keytab=keytab),
        Gssapi(keytab=keytab.with_name("missing")),
        Gssapi(keytab=keytab, service="unknown"),
        Gssapi(keytab=keytab, host="elsewhere"),
    ):
        with pytest.raises(AuthFailedError, match="GSSAPI: "):
            await connected(reference, user).start()
    with pytest.raises(AuthFailedError, match="DIGEST-MD5: the server refused the credentials"):
        await connected(reference, DigestMd5("alice", "secret")).start()


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
