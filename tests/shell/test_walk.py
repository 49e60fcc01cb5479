"""Walks through subtrees: order, what is under way, what vanishes or may not be read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing

import pytest

import kraal
from kraal.client import Acl, NoAuthError, NoNodeError, digest_acl
from kraal.shell import walk
from kraal.shell.walk import Znode, preorder, subtree

Tree = dict[str, list[str]]


def _random_tree(rng: random.Random, size: int) -> Tree:
    tree: Tree = {"/": []}
    paths = ["/"]
    for number in range(size):
        parent = rng.choice(paths[-rng.choice((1, 5, size)) :])
        path = f"{parent.rstrip('/')}/{number:05}"
        tree[parent].append(path.rpartition("/")[2])
        tree[path] = []
        paths.append(path)
    return tree


def _expected(tree: Tree, path: str = "/") -> list[str]:
    found = [path]
    stack = [f"{path.rstrip('/')}/{name}" for name in reversed(tree[path])]
    while stack:
        each = stack.pop()
        found.append(each)
        stack += [f"{each}/{name}" for name in reversed(tree[each])]
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_parents_first_in_order_with_bounded_requests(seed: int) -> None:
    rng = random.Random(seed)
    tree = _random_tree(rng, 2000)
    under_way = most = 0
    turns: Callable[[], int] = lambda: rng.choice((0, 0, 1, 3))  # noqa: E731

    async def read(path: str) -> Znode:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(turns()):
            await asyncio.sleep(0)
        under_way -= 1
        return Znode(path, tree[path], data=bytes(rng.choice((0, 0, 1 << 20))))

    found = []
    async with aclosing(preorder("/", read)) as znodes:
        async for znode in znodes:
            found.append(znode.path)
    assert found == _expected(tree)
    assert 8 < most <= walk.UNDER_WAY + 1  # the next in turn is always read


async def test_a_walk_that_is_left_leaves_nothing_under_way() -> None:
    before = asyncio.all_tasks()

    async def read(path: str) -> Znode:
        if path != "/":
            await asyncio.Event().wait()
        return Znode(path, ["a", "b"])

    async with aclosing(preorder("/", read)) as znodes:
        async for znode in znodes:
            assert znode.path == "/"
            break
    assert asyncio.all_tasks() == before


async def test_what_vanishes_and_what_may_not_be_read_is_told(hosts: str) -> None:
    nobody = [digest_acl("nobody", "secret")]
    async with kraal.connect(hosts) as zk:
        for path in ("/a", "/a/x", "/b", "/closed", "/closed/below"):
            await zk.create(path, b"data")
        await zk.set_acl("/closed", nobody)
        found: list[Znode] = []
        async with aclosing(subtree(zk, "/", data=True, acl=True)) as znodes:
            async for znode in znodes:
                if znode.path == "/":
                    await zk.create("/c")  # too late to be seen
                found.append(znode)
        told = {znode.path: znode for znode in found}
        assert [*told] == ["/", "/a", "/a/x", "/b", "/closed"]
        assert isinstance(told["/closed"].fault, NoAuthError)
        assert told["/a"].data == b"data"
        assert told["/a"].acl == (Acl(31, "world", "anyone"),)
        with pytest.raises(NoAuthError):
            await anext(subtree(zk, "/closed"))
        with pytest.raises(NoNodeError):
            await anext(subtree(zk, "/none"))


async def test_deleted_before_its_turn(hosts: str) -> None:
    async with kraal.connect(hosts) as zk:
        await zk.create("/parent")
        for number in range(walk.AHEAD + 100):
            await zk.create(f"/parent/{number:04}")
        last = f"/parent/{walk.AHEAD + 99:04}"
        told: dict[str, bool] = {}
        async with aclosing(subtree(zk, "/")) as znodes:
            async for znode in znodes:
                if znode.path == "/parent":
                    await zk.delete(last)
                told[znode.path] = znode.is_gone
        assert told.pop(last)
        assert not any(told.values())
        assert len(told) == walk.AHEAD + 101


async def test_depth_and_skip(hosts: str) -> None:
    async with kraal.connect(hosts) as zk:
        for path in ("/a", "/a/b", "/a/b/c", "/zookeeper", "/zookeeper/x"):
            await zk.create(path, b"data")
        for depth, expected in (
            (0, ["/a"]),
            (1, ["/a", "/a/b"]),
            (None, ["/a", "/a/b", "/a/b/c"]),
        ):
            assert [each.path async for each in subtree(zk, "/a", depth=depth)] == expected
        found = [each.path async for each in subtree(zk, "/", depth=1, skip=("/zookeeper",))]
        assert found == ["/", "/a"]
