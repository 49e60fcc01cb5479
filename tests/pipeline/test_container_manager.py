"""Containers and TTL znodes: who is due and how fast (client-protocol.md sections 6.3, 6.4)."""

from __future__ import annotations

import pytest

from kraal.model.config import ReaperConfig
from kraal.pipeline.container_manager import ContainerManager
from tests.pipeline.support import Tree

INTERVAL_MS = 60_000


def manager(tree: Tree, **settings: int) -> ContainerManager:
    return ContainerManager(tree.tree, ReaperConfig(**settings), now_ms=0)


def used(tree: Tree, path: bytes) -> None:
    """A container that had a child."""
    tree.create_container(path)
    tree.create(path + b"/child")
    tree.delete(path + b"/child")


def all_due(reaper: ContainerManager, now_ms: int, wall_ms: int) -> list[bytes]:
    """What is released in the second that begins then."""
    return [path for at in range(0, 1000, 50) for path in reaper.due(now_ms + at, wall_ms)]


def test_a_container_is_due_when_its_last_child_is_gone() -> None:
    tree = Tree()
    used(tree, b"/used")
    tree.create_container(b"/fresh")
    tree.create_container(b"/full")
    tree.create(b"/full/child")
    tree.create(b"/plain")
    assert all_due(manager(tree), INTERVAL_MS, tree.wall_ms) == [b"/used"]


def test_the_first_run_comes_after_one_interval() -> None:
    tree = Tree()
    used(tree, b"/used")
    reaper = manager(tree)
    assert all_due(reaper, INTERVAL_MS - 1000, tree.wall_ms) == []
    assert all_due(reaper, INTERVAL_MS, tree.wall_ms) == [b"/used"]


def test_the_next_run_comes_after_another() -> None:
    tree = Tree()
    reaper = manager(tree)
    assert reaper.due(INTERVAL_MS, tree.wall_ms) == []
    used(tree, b"/used")
    assert all_due(reaper, INTERVAL_MS + 1000, tree.wall_ms) == []
    assert all_due(reaper, 2 * INTERVAL_MS, tree.wall_ms) == [b"/used"]


@pytest.mark.parametrize(
    ("limit_ms", "age_ms", "is_due"), [(0, 10**9, False), (500, 500, False), (500, 501, True)]
)
def test_one_that_was_never_used(limit_ms: int, age_ms: int, is_due: bool) -> None:
    tree = Tree()
    tree.create_container(b"/never")
    reaper = manager(tree, max_never_used_interval_ms=limit_ms)
    found = all_due(reaper, INTERVAL_MS, tree.wall_ms + age_ms)
    assert found == ([b"/never"] if is_due else [])


@pytest.mark.parametrize(("age_ms", "is_due"), [(9999, False), (10_000, False), (10_001, True)])
def test_a_ttl_counts_from_the_last_change_of_data(age_ms: int, is_due: bool) -> None:
    tree = Tree()
    tree.create_ttl(b"/ttl", 10_000)
    tree.wall_ms += 50_000
    tree.set_data(b"/ttl", b"again")
    found = all_due(manager(tree), INTERVAL_MS, tree.wall_ms + age_ms)
    assert found == ([b"/ttl"] if is_due else [])


def test_children_keep_a_ttl_znode_but_do_not_renew_it() -> None:
    tree = Tree()
    tree.create_ttl(b"/ttl", 10_000)
    created_ms = tree.wall_ms
    tree.wall_ms += 9000
    tree.create(b"/ttl/child")
    assert all_due(manager(tree), INTERVAL_MS, created_ms + 10**6) == []
    tree.delete(b"/ttl/child")
    assert all_due(manager(tree), INTERVAL_MS, created_ms + 10_001) == [b"/ttl"]


@pytest.mark.parametrize(("per_minute", "in_a_second"), [(60, 1), (600, 10), (60_000, 200)])
def test_the_rate_is_bounded(per_minute: int, in_a_second: int) -> None:
    tree = Tree()
    for number in range(200):
        used(tree, b"/c%03d" % number)
    reaper = manager(tree, max_per_minute=per_minute)
    reaper.due(INTERVAL_MS - 1, tree.wall_ms)
    found = all_due(reaper, INTERVAL_MS, tree.wall_ms)
    assert len(found) <= in_a_second
    assert len(found) >= in_a_second - in_a_second // 10 - 1
    assert found == [b"/c%03d" % number for number in range(len(found))]
