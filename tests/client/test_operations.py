"""Every operation against a kraal server: values, errors, chroot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import kraal
from kraal.client import (
    CREATOR_ALL_ACL,
    NULL,
    OPEN_ACL,
    READ_ACL,
    BadArgumentsError,
    BadVersionError,
    CreateMode,
    EventType,
    Get,
    Id,
    InvalidAclError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    Node,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    UnimplementedError,
    UnknownCodeError,
    WatchEvent,
    digest_acl,
    send_together,
)
from kraal.client.connection import Connection
from kraal.client.errors import error_for
from tests.client.conftest import Connector
from tests.support.servers import HOST, Server


async def test_create_read_write_delete(connect: Connector) -> None:
    async with connect() as zk:
        assert await zk.create("/a", b"one") == "/a"
        node = await zk.get("/a")
        assert node.data == b"one"
        assert node.stat.version == 0
        assert await zk.exists("/a") == node.stat
        stat = await zk.set("/a", b"two!", version=0)
        assert (stat.version, stat.data_length) == (1, 4)
        assert await zk.get("/a") == (b"two!", stat)
        await zk.delete("/a", version=1)
        assert await zk.exists("/a") is None


async def test_null_data_is_told_apart_and_written_again(connect: Connector) -> None:
    async with connect() as zk:
        await zk.create("/null", NULL)
        await zk.create("/empty", b"")
        null, empty = (await zk.get("/null")).data, (await zk.get("/empty")).data
        assert null is NULL
        assert empty is not NULL
        assert null == empty == b""
        await zk.set("/empty", null)
        async with zk.transaction() as t:
            t.create("/copied", null).set("/null", empty)
        both = await zk.multi_read([Get("/empty"), Get("/copied"), Get("/null")])
        assert [isinstance(one, Node) and one.data is NULL for one in both] == [True, True, False]


async def test_errors_name_the_path_and_the_reason(connect: Connector) -> None:
    async with connect() as zk:
        await zk.create("/a/b", make_parents=True)
        await zk.create("/e", mode=CreateMode.EPHEMERAL)
        cases: list[tuple[type[kraal.ZooKeeperError], Any, str]] = [
            (NoNodeError, zk.get("/nope"), "/nope"),
            (NoNodeError, zk.create("/nope/x"), "/nope/x"),
            (NodeExistsError, zk.create("/a"), "/a"),
            (NotEmptyError, zk.delete("/a"), "/a"),
            (BadVersionError, zk.set("/a/b", b"", version=7), "/a/b"),
            (BadVersionError, zk.delete("/a/b", version=7), "/a/b"),
            (NoChildrenForEphemeralsError, zk.create("/e/x"), "/e/x"),
            (InvalidAclError, zk.create("/x", acl=[]), "/x"),
            (BadArgumentsError, zk.create("/a/.."), "/a/.."),
            (BadArgumentsError, zk.get("no-slash"), "no-slash"),
            (BadArgumentsError, zk.create("/t", ttl=5), "/t"),
            (BadArgumentsError, zk.create("/t", mode=CreateMode.PERSISTENT_WITH_TTL), "/t"),
            (BadArgumentsError, zk.set("/a", bytes(1 << 20)), "/a"),
        ]
        for kind, operation, path in cases:
            with pytest.raises(kind, match=path.replace(".", r"\.")) as caught:
                await operation
            assert caught.value.path == path
            assert caught.value.code == kind.code
        with pytest.raises(TypeError, match="must be bytes, not str"):
            await zk.create("/x", "text")  # type: ignore[arg-type]
        # A server that stands alone has no such thing, an ensemble asks who wants it.
        with pytest.raises((UnimplementedError, NoAuthError)):
            await zk.reconfig(leaving="3")


async def test_kinds_of_znodes(connect: Connector) -> None:
    async with connect() as zk:
        assert await zk.create("/s-", mode=CreateMode.PERSISTENT_SEQUENTIAL) == "/s-0000000000"
        created = await zk.create_with_stat("/s-", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        assert created.path == "/s-0000000001"
        assert created.stat.ephemeral_owner == zk.session_id
        assert await zk.create("/c", mode=CreateMode.CONTAINER) == "/c"
        ttl = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL
        assert await zk.create("/t-", mode=ttl, ttl=60.0) == "/t-0000000003"
        assert (await zk.create_with_stat("/t", mode=CreateMode.CONTAINER)).path == "/t"
        assert await zk.get_ephemerals() == ["/s-0000000001"]
        assert await zk.get_ephemerals("/s") == ["/s-0000000001"]
        assert await zk.get_ephemerals("/t") == []


async def test_children_and_descendants(connect: Connector) -> None:
    async with connect() as zk:
        for name in ("x", "y", "ž 😀"[:1]):
            await zk.create(f"/a/{name}", make_parents=True)
        assert sorted(await zk.get_children("/a")) == ["x", "y", "ž"]
        names, stat = await zk.get_children_with_stat("/a")
        assert (len(names), stat.num_children) == (3, 3)
        assert await zk.count_descendants("/a") == 3
        await zk.sync("/a")


async def test_ensure_path_and_delete_recursive(connect: Connector) -> None:
    async with connect() as zk:
        await asyncio.gather(*(zk.ensure_path("/p/q/r/s") for _ in range(5)))
        await zk.ensure_path("/p/q/r/s")
        assert await zk.get_children("/p/q/r") == ["s"]
        await asyncio.gather(*(zk.create(f"/p/q/{n}") for n in range(50)))
        await zk.delete_recursive("/p")
        assert await zk.exists("/p") is None
        await zk.delete_recursive("/p")


async def test_ensure_path_below_a_znode_that_it_may_not_read(connect: Connector) -> None:
    async with connect(auth=[("digest", b"owner:pw")]) as zk:
        open_below = [digest_acl("owner", "pw"), *READ_ACL]
        await zk.create("/locked", acl=[digest_acl("owner", "pw")])
        await zk.create("/locked/open", acl=OPEN_ACL)
        await zk.create("/readable", acl=open_below)
        async with connect() as other:
            await other.ensure_path("/locked/open/deeper")
            with pytest.raises(NoAuthError):
                await other.ensure_path("/readable/x")


async def test_acls_and_identities(connect: Connector) -> None:
    async with connect() as zk:
        await zk.add_auth("digest", b"user:secret")
        assert Id("digest", "user") in await zk.who_am_i()
        await zk.create("/mine", b"x", acl=CREATOR_ALL_ACL)
        acl, stat = await zk.get_acl("/mine")
        assert acl == [digest_acl("user", "secret")]
        async with connect() as other:
            with pytest.raises(NoAuthError):
                await other.get("/mine")
            await zk.set_acl("/mine", [*acl, *READ_ACL], version=stat.aversion)
            assert (await other.get("/mine")).data == b"x"


async def test_default_acl(connect: Connector) -> None:
    async with connect(auth=[("digest", b"u:p")], default_acl=CREATOR_ALL_ACL) as zk:
        await zk.create("/a")
        assert (await zk.get_acl("/a")).acl == [digest_acl("u", "p")]


async def test_chroot_is_applied_and_stripped(
    connect: Connector, chroot: str, server: Server
) -> None:
    events: list[WatchEvent] = []
    async with connect() as zk, kraal.connect(f"{HOST}:{server.port}") as whole:
        await zk.exists("/a", watch=events.append)
        await zk.get_children("/", watch=events.append)
        assert await zk.create("/a", mode=CreateMode.EPHEMERAL) == "/a"
        assert [(event.type, event.path) for event in events] == [
            (EventType.CREATED, "/a"),
            (EventType.CHILDREN, "/"),
        ]
        assert await whole.get_children(chroot) == ["a"]
        assert await zk.get_ephemerals() == ["/a"]
        await whole.create(f"{chroot}-sibling", mode=CreateMode.EPHEMERAL)
        assert (await zk.get_config()).data == (await whole.get("/zookeeper/config")).data


async def test_pipelined_requests_keep_their_order(connect: Connector) -> None:
    async with connect() as zk:
        await zk.create("/n", b"0")
        writes = [zk.set("/n", str(n).encode()) for n in range(1, 300)]
        stats = await asyncio.gather(*writes)
        assert [stat.version for stat in stats] == list(range(1, 300))
        assert (await zk.get("/n")).data == b"299"


async def test_requests_leave_together_where_that_is_asked_for(
    connect: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets: list[int] = []
    flush = Connection.flush

    def count(connection: Connection) -> None:
        before = connection._next_xid
        flush(connection)
        if connection._next_xid > before:
            packets.append(connection._next_xid - before)

    monkeypatch.setattr(Connection, "flush", count)
    async with connect() as zk:
        packets.clear()
        await asyncio.gather(*(zk.exists("/") for _ in range(5)))
        assert packets == [1, 4]
        packets.clear()
        reads = asyncio.gather(*(zk.exists("/") for _ in range(5)))
        send_together(zk)
        await reads
        assert packets == [5]


async def test_large_answers_arrive_whole(connect: Connector) -> None:
    async with connect() as zk:
        data = bytes(range(256)) * 4000
        await zk.create("/big", data)
        nodes = await asyncio.gather(*(zk.get("/big") for _ in range(10)))
        assert all(node.data == data for node in nodes)


def test_unknown_codes_survive() -> None:
    error = error_for(-4711, "/x")
    assert isinstance(error, UnknownCodeError)
    assert (error.code, error.path) == (-4711, "/x")
