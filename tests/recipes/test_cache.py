"""Caches: they converge, whatever happens, and a snapshot is a state that there was."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from kraal.client import (
    CREATOR_ALL_ACL,
    OPEN_ACL,
    Client,
    ClosedError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kraal.recipes import Change, ChangeKind, ChildrenCache, NodeCache, RecipeError, TreeCache
from kraal.testing import Server
from tests.recipes.conftest import Connector, turns, until, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def tree_of(zk: Client, path: str) -> dict[str, bytes]:
    """What the servers have."""
    found: dict[str, bytes] = {}
    level = [path]
    while level:
        below: list[str] = []
        for each in level:
            try:
                found[each] = (await zk.get(each)).data
                below += [f"{each}/{name}" for name in await zk.get_children(each)]
            except NoNodeError:
                found.pop(each, None)
        level = below
    return found


async def test_a_tree_is_filled_and_followed(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        await other.create(f"{path}/a/b", b"1", make_parents=True)
        async with TreeCache(zk, path) as cache:
            await cache.ready()
            assert set(cache) == {path, f"{path}/a", f"{path}/a/b"}
            assert cache.children(path) == ["a"]
            await other.set(f"{path}/a/b", b"2")
            await other.create(f"{path}/c")
            await other.delete_recursive(f"{path}/a")
            await cache.sync()
            assert set(cache) == {path, f"{path}/c"}
            assert cache.children(path) == ["c"]
            assert f"{path}/a" not in cache
            assert len(cache) == 2
        with pytest.raises(RecipeError, match="closed"):
            await cache.sync()
        await other.delete_recursive(path)
        await until_clean(server, zk, path)


async def test_a_path_that_is_not_there_yet(connect: Connector, path: str) -> None:
    async with connect() as zk, TreeCache(zk, path) as cache:
        await cache.ready()
        assert len(cache) == 0
        await zk.create(f"{path}/x", b"1", make_parents=True)
        await cache.sync()
        node = cache.get(f"{path}/x")
        assert node is not None and node.data == b"1"
        await zk.delete_recursive(path)
        await cache.sync()
        assert len(cache) == 0


async def test_changes_lead_a_reader_to_the_last_state(connect: Connector, path: str) -> None:
    async with connect() as zk, TreeCache(zk, path) as cache:
        changes = cache.changes()
        await zk.create(path, b"1", make_parents=True)
        added = await anext(changes)
        assert (added.kind, added.path, added.previous) == (ChangeKind.ADDED, path, None)
        await zk.set(path, b"2")
        await zk.set(path, b"3")
        await zk.create(f"{path}/gone")
        await zk.delete(f"{path}/gone")
        await zk.create(f"{path}/stays")
        await cache.sync()
        updated = await anext(changes)
        assert updated.kind is ChangeKind.UPDATED
        assert updated.node and updated.node.data == b"3"
        assert updated.previous and updated.previous.data == b"1"
        assert (await anext(changes)).path == f"{path}/stays"
        await zk.delete_recursive(path)
        removed = {(await anext(changes)).path for _ in range(2)}
        assert removed == {path, f"{path}/stays"}
        rest = asyncio.ensure_future(anext(changes, None))
        await turns(3)
        await cache.close()
        assert await rest is None


async def test_children_and_their_data_but_nothing_deeper(connect: Connector, path: str) -> None:
    async with connect() as zk:
        await zk.create(f"{path}/a/deep", make_parents=True)
        async with ChildrenCache(zk, path) as cache:
            await cache.ready()
            assert cache.names() == ["a"]
            await zk.create(f"{path}/b", b"1")
            await zk.set(f"{path}/a", b"2")
            await zk.create(f"{path}/b/deep")
            await cache.sync()
            assert cache.names() == ["a", "b"]
            child = cache.child("a")
            assert child is not None and child.data == b"2"
            assert set(cache) == {path, f"{path}/a", f"{path}/b"}


async def test_one_znode(connect: Connector, path: str) -> None:
    async with connect() as zk, NodeCache(zk, path) as cache:
        await cache.ready()
        assert cache.node is None
        await zk.create(f"{path}/child", make_parents=True)
        await zk.set(path, b"x")
        await cache.sync()
        assert cache.node is not None and cache.node.data == b"x"
        assert cache.get() == cache.get(path) == cache.node
        assert len(cache) == 1


async def test_the_end_of_the_client_is_told(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with TreeCache(zk, path) as cache:
            await cache.ready()
            changes = cache.changes()
            waiting = asyncio.ensure_future(anext(changes))
            await turns(3)
            await zk.close()
            with pytest.raises(ClosedError):
                await waiting
        with pytest.raises(RecipeError, match="not started"):
            await TreeCache(zk, path).ready()


@pytest.mark.parametrize("seed", range(3))
async def test_it_converges_under_faults(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    """Random writes by one client, faults for the other; a reader of changes keeps up as well."""

    async def write(other: Client, rng: random.Random) -> None:
        names = [f"{path}/{a}" for a in "abc"] + [f"{path}/{a}/{b}" for a in "abc" for b in "xy"]
        for number in range(150):
            name = rng.choice(names)
            try:
                match rng.randrange(3):
                    case 0:
                        await other.create(name, b"%d" % number)
                    case 1:
                        await other.set(name, b"%d" % number)
                    case _:
                        await other.delete(name)
            except (NoNodeError, NodeExistsError, NotEmptyError):
                pass
            await turns(rng.randrange(3))

    def note(change: Change) -> None:
        if change.node is None:
            seen.pop(change.path)
        else:
            seen[change.path] = change.node.data

    async def read(cache: TreeCache) -> None:
        async for change in cache.changes():
            note(change)

    seen: dict[str, bytes] = {}
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        await other.create(path, make_parents=True)
        async with TreeCache(zk, path) as cache:
            reading = asyncio.create_task(read(cache))
            async with trouble(server, proxy, [zk], seed) as rng:
                await write(other, rng)
            await cache.sync()
            expected = await tree_of(other, path)
            assert {each: node.data for each, node in (await cache.snapshot()).items()} == expected
            await until(lambda: seen == expected)
        await reading
        await other.delete_recursive(path)
        await until_clean(server, other, path)


async def test_a_snapshot_has_a_transaction_whole_or_not_at_all(
    server: Server, connect: Connector, path: str
) -> None:
    paths = [f"{path}/{name}" for name in "abcdefgh"]

    async def write(other: Client) -> None:
        for number in range(100):
            async with other.transaction() as transaction:
                for each in paths:
                    transaction.set(each, b"%d" % number)
            await turns(rng.randrange(6))

    rng = random.Random(5)
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        for each in paths:
            await other.create(each, make_parents=True)
        async with TreeCache(zk, path) as cache:
            await cache.ready()
            writing = asyncio.create_task(write(other))
            snapshots = 0
            while not writing.done():
                snapshot = await cache.snapshot()
                assert len({snapshot[each].data for each in paths}) == 1
                snapshots += 1
                if snapshots % 20 == 0:
                    proxy.cut()
                await turns(rng.randrange(4))
            await writing
            assert snapshots


@pytest.mark.parametrize("count", range(0, 40, 3))
async def test_a_cache_closed_at_any_point_leaves_no_watch(
    server: Server, connect: Connector, path: str, count: int
) -> None:
    async with connect() as zk:
        cache = TreeCache(zk, path)
        await cache.start()
        await turns(count)
        await cache.close()
        await until_clean(server, zk, path)


@pytest.fixture
def owned(connect: Connector) -> AbstractAsyncContextManager[Client]:
    """A client whose znodes with CREATOR_ALL_ACL others may not read."""
    return connect(auth=[("digest", b"owner:secret")])


async def test_what_may_not_be_read_is_left_out_and_the_rest_stays_current(
    server: Server,
    connect: Connector,
    owned: AbstractAsyncContextManager[Client],
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = f"{path}/secret"
    async with connect() as zk, owned as owner:
        await owner.create(secret, make_parents=True)
        await owner.create(f"{secret}/below", b"1")
        await owner.create(f"{path}/open", b"1")
        async with TreeCache(zk, path) as cache:
            await cache.ready()
            assert set(cache) == {path, secret, f"{secret}/below", f"{path}/open"}
            await owner.set_acl(secret, CREATOR_ALL_ACL)
            server.expire(zk.session_id)
            await until(lambda: cache.unreadable == {secret} and cache.is_consistent)
            server.expire(zk.session_id)
            await until(lambda: zk.state.is_connected and cache.is_consistent)
            await owner.set(f"{path}/open", b"2")
            await owner.set(f"{secret}/below", b"2")  # readable itself, but hidden all the same
            await cache.sync()
            assert set(await cache.snapshot()) == {path, f"{path}/open"}
            node = cache.get(f"{path}/open")
            assert node is not None and node.data == b"2"
            assert caplog.text.count("may not read") == 1
            await owner.set_acl(secret, OPEN_ACL)
            await owner.set(secret, b"shown")
            await until(lambda: f"{secret}/below" in cache)
            await cache.sync()
            assert not cache.unreadable


async def test_one_that_begins_leaves_out_what_it_may_not_read(
    connect: Connector, owned: AbstractAsyncContextManager[Client], path: str
) -> None:
    async with connect() as zk, owned as owner:
        await owner.create(path, make_parents=True)
        await owner.create(f"{path}/a", acl=CREATOR_ALL_ACL)
        await owner.create(f"{path}/b", b"1")
        async with ChildrenCache(zk, path) as cache:
            await cache.ready()
            assert cache.names() == ["b"] and cache.unreadable == {f"{path}/a"}
            await owner.delete(f"{path}/a")
            await owner.create(f"{path}/a", b"another")
            await until(lambda: cache.names() == ["a", "b"] and not cache.unreadable)


async def test_a_root_that_may_not_be_read_is_an_error_of_everything_that_asks(
    server: Server, connect: Connector, owned: AbstractAsyncContextManager[Client], path: str
) -> None:
    async with connect() as zk, owned as owner:
        await owner.create(path, b"1", make_parents=True)
        async with TreeCache(zk, path) as cache:
            await cache.ready()
            await owner.set_acl(path, CREATOR_ALL_ACL)
            server.expire(zk.session_id)
            await until(lambda: not cache.is_running)
            asked: list[Callable[[], object]] = [
                lambda: cache.get(path),
                lambda: cache.children(path),
                lambda: path in cache,
                lambda: iter(cache),
                lambda: len(cache),
                lambda: cache.unreadable,
            ]
            for ask in asked:
                with pytest.raises(NoAuthError):
                    ask()
            assert not cache.is_consistent
        async with NodeCache(zk, path) as cache:
            with pytest.raises(NoAuthError):
                await cache.ready()
            with pytest.raises(NoAuthError):
                _ = cache.node


async def test_what_becomes_unreadable_stays_as_it_was_until_all_is_read_again(
    server: Server, connect: Connector, owned: AbstractAsyncContextManager[Client], path: str
) -> None:
    async with connect() as zk, owned as owner:
        await owner.create(f"{path}/a", b"1", make_parents=True)
        async with TreeCache(zk, path) as cache:
            await cache.ready()
            await owner.set_acl(f"{path}/a", CREATOR_ALL_ACL)
            await owner.delete(f"{path}/a")
            await owner.create(f"{path}/b", acl=CREATOR_ALL_ACL)
            await cache.sync()
            assert cache.children(path) == ["a"] and not cache.unreadable
            server.expire(zk.session_id)
            await until(lambda: not cache.children(path) and cache.unreadable == {f"{path}/b"})
