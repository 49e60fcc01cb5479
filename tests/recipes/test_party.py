"""Znodes and members that come back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from kazoo.client import KazooClient

from kraal.recipes import GroupMember, NotRunningError, Party, PersistentNode, RecipeError
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, turns, until, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_a_znode_comes_back_after_its_session_and_its_deletion(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk, connect() as other:
        async with PersistentNode(zk, path, b"1") as node:
            await node.ready()
            first = await other.get(path)
            assert first.data == b"1" and first.stat.ephemeral_owner == zk.session_id
            server.expire(zk.session_id)
            await until(lambda: zk.session_id not in (0, first.stat.ephemeral_owner))
            await node.ready()
            second = await other.get(path)
            assert second.stat.ephemeral_owner == zk.session_id != first.stat.ephemeral_owner
            await other.delete(path)
            while await other.exists(path) is None:
                await asyncio.sleep(0.001)
            await other.set(path, b"not ours")
            while (await other.get(path)).data != b"1":
                await asyncio.sleep(0.001)
            await node.set_data(b"2")
            await other.sync(path)
            assert (await other.get(path)).data == b"2"
        await until_clean(server, other, path)
        with pytest.raises(RecipeError, match="closed"):
            await node.set_data(b"3")


async def test_it_waits_for_the_end_of_another_session(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with connect() as other:
            theirs = PersistentNode(other, path, b"theirs")
            await theirs.start()
            await theirs.ready()
            ours = PersistentNode(zk, path, b"ours")
            await ours.start()
            await turns(100)
            assert not ours.is_present
        await ours.ready()
        assert (await zk.get(path)).data == b"ours"
        await ours.close()


async def test_it_says_once_what_it_waits_for(
    connect: Connector, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect() as zk:
        await zk.create(path, make_parents=True)
        async with PersistentNode(zk, path, b"ours") as node:
            await until(lambda: "waits for the deletion of the znode" in caplog.text)
            for _ in range(3):
                await zk.set(path, b"theirs")
            await zk.sync(path)
            assert caplog.text.count("waits for") == 1
            await zk.delete(path)
            await node.ready()


async def test_one_client_keeps_a_path_once(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with PersistentNode(zk, path, b"1") as node:
            await node.ready()
            with pytest.raises(RecipeError, match="another PersistentNode"):
                await PersistentNode(zk, path, b"2").start()
            with pytest.raises(NotRunningError, match="was started already"):
                await node.start()
            parent, _, name = path.rpartition("/")
            with pytest.raises(RecipeError, match="another PersistentNode"):
                await GroupMember(zk, parent, name).join()
        with pytest.raises(NotRunningError, match="is closed"):
            await node.start()
        async with PersistentNode(zk, path, b"2") as node:
            await node.ready()
            assert (await zk.get(path)).data == b"2"


async def test_who_else_writes_the_data_is_not_fought_at_full_speed(
    connect: Connector, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect() as zk, connect() as other, PersistentNode(zk, path, b"ours") as node:
        await node.ready()
        for number in range(200):
            await other.set(path, b"theirs %d" % number)
        stat = (await other.get(path)).stat
        assert stat.version < 300
        while (await other.get(path)).data != b"ours":
            await asyncio.sleep(0.001)
        await other.set(path, b"theirs")
        await node.set_data(b"new")  # what the user wants is written at once
        assert (await zk.get(path)).data == b"new"
        assert caplog.text.count("somebody else writes") == 1


@pytest.mark.parametrize("seed", range(2))
async def test_it_is_there_after_trouble_and_gone_after_its_end(
    server: Server, connect: Connector, path: str, seed: int
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:
        async with PersistentNode(zk, path) as node:
            async with trouble(server, proxy, [zk], seed):
                for number in range(20):
                    await node.set_data(b"%d" % number)
            await node.ready()
            await other.sync(path)
            assert (await other.get(path)).data == b"19"
        await background_ends()
        await until_clean(server, other, path)
        assert await other.exists(path) is None


@pytest.mark.parametrize("count", range(0, 60, 4))
async def test_one_that_is_closed_at_any_point_leaves_nothing(
    server: Server, connect: Connector, path: str, count: int
) -> None:
    async with connect() as zk:
        node = PersistentNode(zk, path)
        await node.start()
        await turns(count)
        await node.close()
        await background_ends()
        assert await zk.exists(path) is None
        await until_clean(server, zk, path)


async def test_a_party_of_kraal_and_kazoo(server: Server, connect: Connector, path: str) -> None:
    client = KazooClient(hosts=server.hosts)
    await asyncio.to_thread(client.start)
    try:
        async with connect() as zk:
            theirs = client.Party(path, "theirs")
            await asyncio.to_thread(theirs.join)
            async with Party(zk, path, "ours") as party:
                assert await party.members() == ["ours", "theirs"]
                assert await party.size() == 2
                assert sorted(await asyncio.to_thread(list, theirs)) == ["ours", "theirs"]
                assert party.is_member
                async with aclosing(party.follow()) as changes:
                    assert await anext(changes) == ["ours", "theirs"]
                    await asyncio.to_thread(theirs.leave)
                    assert await anext(changes) == ["ours"]
                session = zk.session_id
                server.expire(session)
                await until(lambda: zk.session_id not in (0, session) and party.is_member)
                assert await party.members() == ["ours"]
            assert not party.is_member
            await until_clean(server, zk, path)
    finally:
        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.close)


async def test_who_joins_while_the_members_are_read_and_leaves_is_not_there_any_more(
    connect: Connector, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect() as zk, connect() as other, Party(zk, path, "stays") as party:
        passing, real = Party(other, path, "passes"), zk.get_children

        async def overtaken(path: str) -> list[str]:
            names = await real(path)
            monkeypatch.setattr(zk, "get_children", real)
            await passing.join()
            await zk.sync(path)
            return names

        seen: list[list[str]] = []

        async def look() -> None:
            async with aclosing(party.follow()) as changes:
                async for members in changes:
                    seen.append(members)
                    if "passes" in members:
                        await passing.leave()
                        await zk.sync(path)

        monkeypatch.setattr(zk, "get_children", overtaken)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            looking = group.create_task(look())
            await until(lambda: ["passes", "stays"] in seen and seen[-1] == ["stays"])
            looking.cancel()


async def test_members_of_a_group_show_data(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        async with GroupMember(zk, path, "a", b"1") as member:
            async with GroupMember(other, path, "b", b"2") as second:
                assert await member.members() == {"a": b"1", "b": b"2"}
                await second.set_data(b"3")
                await zk.sync(path)
                assert await member.members() == {"a": b"1", "b": b"3"}
                twin = asyncio.create_task(GroupMember(zk, path, "b").join())
                await turns(50)
                assert not twin.done()
                twin.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await twin
            async with aclosing(member.follow()) as changes:
                assert await anext(changes) == ["a"]
        await until_clean(server, zk, path)
