"""One-shot and persistent watches: what they tell, once, over connections and sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kraal.client import (
    Client,
    CreateMode,
    EventType,
    NoNodeError,
    NoWatcherError,
    SessionState,
    WatcherKind,
    WatchEvent,
)
from tests.client.conftest import Connector, figure
from tests.client.test_session import changed_to
from tests.support.proxy import Proxy
from tests.support.servers import Server

Told = list[tuple[EventType, str]]


def told(events: list[WatchEvent]) -> Told:
    return [(event.type, event.path) for event in events]


@asynccontextmanager
async def broken(zk: Client, proxy: Proxy) -> AsyncIterator[None]:
    """A time without a connection; at the end there is one again, with all watches."""
    proxy.refuse()
    await changed_to(zk, SessionState.CONNECTING)
    yield
    proxy.allow()
    await zk.wait_connected()
    await zk.sync()


async def test_one_shot_watches_tell_once(connect: Connector) -> None:
    data: list[WatchEvent] = []
    children: list[WatchEvent] = []
    exists: list[WatchEvent] = []
    async with connect() as zk:
        await zk.create("/a")
        await zk.get("/a", watch=data.append)
        await zk.get_children("/a", watch=children.append)
        await zk.exists("/b", watch=exists.append)
        for _ in range(2):
            await zk.set("/a", b"x")
            await zk.create("/a/x")
            await zk.delete("/a/x")
            await zk.create("/b")
            await zk.delete("/b")
    assert told(data) == [(EventType.CHANGED, "/a")]
    assert told(children) == [(EventType.CHILDREN, "/a")]
    assert told(exists) == [(EventType.CREATED, "/b")]
    assert data[0].zxid > 0


async def test_one_callback_for_several_kinds_is_told_once_of_a_deletion(
    connect: Connector,
) -> None:
    events: list[WatchEvent] = []
    async with connect() as zk:
        await zk.create("/a")
        callback = events.append
        await zk.get("/a", watch=callback)
        await zk.exists("/a", watch=callback)
        await zk.get_children("/a", watch=callback)
        await zk.delete("/a")
        assert told(events) == [(EventType.DELETED, "/a")]


async def test_a_read_of_a_missing_znode_leaves_no_watch(connect: Connector) -> None:
    events: list[WatchEvent] = []
    async with connect() as zk:
        with pytest.raises(NoNodeError):
            await zk.get("/a", watch=events.append)
        with pytest.raises(NoNodeError):
            await zk.get_children("/a", watch=events.append)
        await zk.create("/a")
    assert events == []


async def test_the_event_comes_before_what_it_tells_can_be_read(connect: Connector) -> None:
    order: list[str] = []
    async with connect() as zk:
        await zk.create("/a", b"old")
        await zk.get("/a", watch=lambda _: order.append("event"))
        await zk.set("/a", b"new")
        order.append("answer")
    assert order == ["event", "answer"]


async def test_one_shot_watches_survive_a_connection(connect: Connector, server: Server) -> None:
    seen: dict[str, list[WatchEvent]] = {name: [] for name in "abcdef"}
    async with Proxy(server.port) as proxy, connect() as other, connect(port=proxy.port) as zk:
        for name in "abcd":
            await zk.create(f"/{name}")
        await zk.get("/a", watch=seen["a"].append)
        await zk.get("/b", watch=seen["b"].append)
        await zk.get_children("/c", watch=seen["c"].append)
        await zk.get("/d", watch=seen["d"].append)
        await zk.exists("/e", watch=seen["e"].append)
        await zk.exists("/f", watch=seen["f"].append)
        async with broken(zk, proxy):
            await other.set("/a", b"missed")
            await other.delete("/b")
            await other.create("/c/x")
            await other.create("/e")
        assert told(seen["a"]) == [(EventType.CHANGED, "/a")]
        assert told(seen["b"]) == [(EventType.DELETED, "/b")]
        assert told(seen["c"]) == [(EventType.CHILDREN, "/c")]
        assert told(seen["e"]) == [(EventType.CREATED, "/e")]
        assert seen["d"] == seen["f"] == []
        await other.set("/d", b"later")
        await other.create("/f")
        await other.set("/a", b"again")
        await zk.sync()
        assert told(seen["d"]) == [(EventType.CHANGED, "/d")]
        assert told(seen["f"]) == [(EventType.CREATED, "/f")]
        assert len(seen["a"]) == 1


async def test_many_watches_are_registered_anew_in_pieces(
    connect: Connector, server: Server
) -> None:
    events: list[WatchEvent] = []
    paths = [f"/{'x' * 200}-{number}" for number in range(2000)]  # more than 128 KiB
    async with Proxy(server.port) as proxy, connect() as other, connect(port=proxy.port) as zk:
        await asyncio.gather(*(zk.exists(path, watch=events.append) for path in paths))
        async with broken(zk, proxy):
            await other.create(paths[0])
        await other.create(paths[-1])
        await zk.sync()
        assert [event.path for event in events] == [paths[0], paths[-1]]


async def test_a_failing_callback_harms_nobody(connect: Connector) -> None:
    events: list[WatchEvent] = []
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context["exception"])
    )
    error = RuntimeError("a bug")

    def failing(_: WatchEvent) -> None:
        raise error

    async with connect() as zk:
        await zk.exists("/a", watch=failing)
        await zk.exists("/a", watch=events.append)
        await zk.create("/a")
    assert len(events) == 1
    assert complaints == [error]


async def test_watches_are_removed_on_the_server_too(connect: Connector, server: Server) -> None:
    events: list[WatchEvent] = []
    async with connect() as zk:
        before = await figure(server, "watch_count")
        with pytest.raises(NoWatcherError):
            await zk.remove_watches("/a")
        await zk.exists("/a", watch=events.append)
        await zk.get_children("/", watch=events.append)
        with pytest.raises(NoWatcherError):
            await zk.remove_watches("/a", WatcherKind.CHILDREN)
        await zk.remove_watches("/a", WatcherKind.DATA)
        await zk.remove_watches("/", local=True)
        assert await figure(server, "watch_count") == before
        await zk.create("/a")
    assert told(events) == [
        (EventType.DATA_WATCH_REMOVED, "/a"),
        (EventType.CHILD_WATCH_REMOVED, "/"),
    ]


async def test_a_cancelled_wait_leaves_no_watch(connect: Connector, server: Server) -> None:
    events: list[WatchEvent] = []
    async with Proxy(server.port) as proxy, connect(port=proxy.port) as zk:
        await zk.create("/a")
        before = await figure(server, "watch_count")
        proxy.hold_answers()
        tasks = [
            asyncio.ensure_future(zk.get("/a", watch=events.append)),
            asyncio.ensure_future(zk.exists("/b", watch=events.append)),
            asyncio.ensure_future(zk.get_children("/a", watch=events.append)),
            asyncio.ensure_future(zk.add_watch("/a", events.append)),
            asyncio.ensure_future(zk.add_watch("/a", events.append, recursive=True)),
        ]
        while await figure(server, "watch_count") < before + 3:  # of paths and tables
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        proxy.release()
        await zk.sync()
        while await figure(server, "watch_count") != before:
            await asyncio.sleep(0.01)
        await zk.set("/a", b"x")
        await zk.create("/b")
    assert events == []


async def test_a_cancelled_wait_takes_no_watch_from_others(connect: Connector) -> None:
    events: list[WatchEvent] = []
    async with connect() as zk:
        await zk.create("/a")
        cancelled = asyncio.ensure_future(zk.get("/a", watch=lambda _: None))
        kept = asyncio.ensure_future(zk.exists("/a", watch=events.append))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cancelled.cancel()
        await kept
        await zk.set("/a", b"x")
    assert told(events) == [(EventType.CHANGED, "/a")]


async def test_a_forgotten_watch_is_forgotten_on_the_server_unless_others_wait(
    connect: Connector, server: Server
) -> None:
    kept: list[WatchEvent] = []
    forgotten: list[WatchEvent] = []
    forget = forgotten.append
    async with connect() as zk:
        await zk.create("/a")
        before = await figure(server, "watch_count")
        await zk.get("/a", watch=kept.append)
        await zk.get("/a", watch=forget)
        await zk.get_children("/a", watch=forget)
        await zk.exists("/b", watch=forget)
        assert await figure(server, "watch_count") == before + 3
        for path in ("/a", "/b", "/c"):
            zk.forget_watch(path, forget)
        await zk.sync()
        assert await figure(server, "watch_count") == before + 1
        await zk.create("/b")
        await zk.set("/a", b"x")
    assert forgotten == []
    assert told(kept) == [(EventType.CHANGED, "/a")]


async def test_persistent_watch_with_a_callback(connect: Connector, server: Server) -> None:
    events: list[WatchEvent] = []
    async with connect() as zk:
        before = await figure(server, "watch_count")
        watch = await zk.add_watch("/a", events.append)
        other = await zk.add_watch("/a", events.append)
        await zk.create("/a")
        await other.remove()
        await zk.set("/a", b"x")
        await zk.create("/a/b")
        await watch.remove()
        await watch.remove()
        assert await figure(server, "watch_count") == before
        await zk.set("/a", b"y")
    assert told(events) == [
        (EventType.CREATED, "/a"),
        (EventType.CREATED, "/a"),
        (EventType.CHANGED, "/a"),
        (EventType.CHILDREN, "/a"),
    ]


async def test_recursive_stream(connect: Connector) -> None:
    async with connect() as zk, zk.watch("/a", recursive=True) as events:
        await zk.ensure_path("/a/b")
        await zk.set("/a/b", b"x")
        await zk.create("/other")
        await zk.delete("/a/b")
        await zk.delete("/a")
        seen = [await anext(events) for _ in range(5)]
        assert told(seen) == [
            (EventType.CREATED, "/a"),
            (EventType.CREATED, "/a/b"),
            (EventType.CHANGED, "/a/b"),
            (EventType.DELETED, "/a/b"),
            (EventType.DELETED, "/a"),
        ]


async def test_recursive_watch_on_the_root(connect: Connector) -> None:
    async with connect() as zk, zk.watch("/", recursive=True) as events:
        await zk.create("/a")
        assert told([await anext(events)]) == [(EventType.CREATED, "/a")]


async def test_a_gap_says_that_events_may_be_missing(connect: Connector, server: Server) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect() as other,
        connect(port=proxy.port) as zk,
        zk.watch("/a") as events,
        zk.watch("/", recursive=True) as all_events,
    ):
        async with broken(zk, proxy):
            await other.create("/a")
        await other.set("/a", b"x")
        await zk.sync()
        assert told([await anext(events) for _ in range(2)]) == [
            (EventType.GAP, "/a"),
            (EventType.CHANGED, "/a"),
        ]
        assert told([await anext(all_events) for _ in range(2)]) == [
            (EventType.GAP, "/"),
            (EventType.CHANGED, "/a"),
        ]


async def test_persistent_watches_go_on_in_a_new_session(
    connect: Connector, server: Server
) -> None:
    async with (
        Proxy(server.port) as proxy,
        connect() as other,
        connect(port=proxy.port, session_timeout=0.4) as zk,
        zk.watch("/a") as events,
    ):
        await zk.create("/e", mode=CreateMode.EPHEMERAL)
        proxy.refuse()
        await changed_to(zk, SessionState.CONNECTING)
        while await other.exists("/e"):
            await asyncio.sleep(0.05)
        proxy.allow()
        assert told([await anext(events)]) == [(EventType.GAP, "/a")]
        await other.create("/a")
        assert told([await anext(events)]) == [(EventType.CREATED, "/a")]


async def test_a_slow_reader_gets_a_gap(connect: Connector) -> None:
    async with connect() as zk, zk.watch("/a", limit=3) as events:
        await zk.create("/a")
        for _ in range(3):
            await zk.set("/a", b"x")
        await zk.delete("/a")
        seen = [await anext(events) for _ in range(2)]
        assert told(seen) == [(EventType.GAP, "/a"), (EventType.DELETED, "/a")]


async def test_streams_end_with_their_client(connect: Connector) -> None:
    async with connect() as zk:
        stream = zk.watch("/a")
        async with stream as events:
            await zk.create("/a")
            await zk.close()
            assert told([event async for event in events]) == [(EventType.CREATED, "/a")]


async def test_removed_watches_end_the_stream(connect: Connector) -> None:
    async with connect() as zk, zk.watch("/a") as events:
        await zk.remove_watches("/a", WatcherKind.PERSISTENT)
        assert [event async for event in events] == []
