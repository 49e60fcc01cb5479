"""Arguments that no recipe can work with are refused when it is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

import kraal
from kraal import recipes
from kraal.client import Client, CreateMode

RECIPES: list[Callable[[Client, str], object]] = [
    recipes.Lock,
    recipes.ReadWriteLock,
    lambda zk, path: recipes.Semaphore(zk, path, 1),
    lambda zk, path: recipes.Lease(zk, path, 1.0),
    lambda zk, path: recipes.MultiLease(zk, path, 1, 1.0),
    recipes.LeaderElection,
    recipes.LeaderLatch,
    recipes.Queue,
    recipes.PriorityQueue,
    recipes.DelayQueue,
    recipes.LockingQueue,
    recipes.Barrier,
    lambda zk, path: recipes.DoubleBarrier(zk, path, 1),
    recipes.Counter,
    recipes.SharedValue,
    recipes.Party,
    lambda zk, path: recipes.GroupMember(zk, path, "a"),
    recipes.PersistentNode,
    lambda zk, path: recipes.Partitioner(zk, path, ["a"]),
    recipes.TreeCache,
    recipes.ChildrenCache,
    recipes.NodeCache,
    recipes.follow,
    recipes.follow_children,
    recipes.SequenceIds,
    recipes.BlockIds,
    recipes.KeyValue,
    recipes.ServiceRegistry,
    lambda zk, path: recipes.ServiceProvider(zk, path, "a"),
]


@pytest.mark.parametrize("make", RECIPES)
async def test_what_is_no_path_or_no_client_is_refused(
    make: Callable[[Client, str], object],
) -> None:
    zk = kraal.connect("127.0.0.1:1")
    make(zk, "/x")
    for path in ("x", "/x/", "/x//y", "/x/../y", ""):
        with pytest.raises(ValueError, match="no path"):
            make(zk, path)
    with pytest.raises(TypeError):
        make(cast("Client", None), "/x")
    with pytest.raises(TypeError):
        make(zk, cast("str", b"/x"))


@pytest.mark.parametrize("name", ["a/b", "", ".."])
async def test_a_member_s_id_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        recipes.GroupMember(kraal.connect("127.0.0.1:1"), "/x", name)


async def test_a_timeout_is_a_time_to_wait() -> None:
    lock = recipes.Lock(kraal.connect("127.0.0.1:1"), "/x")
    with pytest.raises(ValueError, match="below 0"):
        await lock.acquire(timeout=-1)
    with pytest.raises(ValueError, match="timeout"):
        await lock.acquire(blocking=False, timeout=5)


async def test_a_priority_is_an_int() -> None:
    with pytest.raises(TypeError, match="priority"):
        await recipes.PriorityQueue(kraal.connect("127.0.0.1:1"), "/x").put(b"", cast("int", 1.5))


NO_TEXTS: list[Any] = [None, 1, [], b"x", "\ud800"]
NO_INTS: list[Any] = ["a", 1.5, None, True]
REFUSED: list[Callable[[Any], object]] = [
    lambda zk: recipes.Semaphore(zk, "/x", cast("int", "x")),
    lambda zk: recipes.Semaphore(zk, "/x", cast("int", 1.5)),
    lambda zk: recipes.Lease(zk, "/x", cast("float", "5")),
    lambda zk: recipes.Lease(zk, "/x", float("nan")),
    lambda zk: recipes.Lock(zk, "/x", cast("str", 5)),
    lambda zk: recipes.Lock(zk, "/x", "\ud800"),
    lambda zk: recipes.LeaderLatch(zk, "/x", cast("str", 5)),
    lambda zk: recipes.Partitioner(zk, "/x", "abc"),
    lambda zk: recipes.Partitioner(zk, "/x", cast("list[str]", [1])),
    *(partial(recipes.Party, path="/x", identifier=each) for each in NO_TEXTS),
    *(partial(recipes.BlockIds, path="/x", first=each) for each in NO_INTS),
    lambda zk: recipes.Partitioner(zk, "/x", ["a"], assign=cast("Any", 5)),
    lambda zk: recipes.PersistentNode(zk, "/x", cast("bytes", None)),
    lambda zk: recipes.PersistentNode(zk, "/x", cast("bytes", "text")),
    lambda zk: recipes.GroupMember(zk, "/x", "a", cast("bytes", None)),
    lambda zk: recipes.GroupMember(zk, "/x", cast("str", 5)),
    lambda zk: recipes.ServiceProvider(zk, "/x", "a", cast("Any", 5)),
    lambda zk: recipes.ServiceProvider(zk, "/x", "a/b"),
    lambda zk: recipes.ServiceProvider(zk, "/x", "a", failures=0),
    lambda zk: recipes.ServiceProvider(zk, "/x", "a", penalty=-1),
    lambda zk: recipes.TreeCache(zk, "/x", max_depth=cast("int", "a")),
    lambda zk: recipes.TreeCache(zk, "/x", max_depth=-1),
    lambda zk: recipes.MultiLease(zk, "/x", 2, cast("float", "5")),
    lambda zk: zk.retrying(5),
    lambda zk: zk.watch(5),
]


@pytest.mark.parametrize("make", REFUSED)
async def test_values_of_a_wrong_type_or_range_are_refused(make: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"must|identifier|partitions|path|name"):
        make(kraal.connect("127.0.0.1:1"))


async def test_values_of_calls_are_checked_before_anything_is_sent() -> None:
    zk: Any = kraal.connect("127.0.0.1:1")
    instance: Any = recipes.ServiceInstance("a/b", "i", "h", 1)
    calls: list[Callable[[], Any]] = [
        lambda: recipes.Lock(zk, "/x").acquire(timeout=cast("float", "1")),
        lambda: recipes.Lock(zk, "/x").acquire(timeout=float("nan")),
        lambda: recipes.DelayQueue(zk, "/x").put(b"", delay=1e30),
        lambda: recipes.KeyValue(zk, "/x").compare_and_set("k", b"", cast("int", None)),
        lambda: recipes.ServiceRegistry(zk, "/x").register(instance),
        lambda: zk.create("/x", mode=CreateMode.PERSISTENT_WITH_TTL, ttl=1e30),
        lambda: zk.create("/x", mode=CreateMode.PERSISTENT_WITH_TTL, ttl="5"),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"must|name"):
            await call()
