"""A member whose tree differs takes the leader's, when the others are a quorum without it."""

from __future__ import annotations

import pytest

from kraal.replica import following
from kraal.replica.following import Following
from kraal.sim.checks.watcher import Watcher
from kraal.tree.data_tree import DataTree
from kraal.tree.znode import UNKNOWN_DIGEST
from tests.scenarios.story import Client, Story

HOUR_MS = 3_600_000
INIT_LIMIT_MS = 200 * 10


def _written(*, observers: int = 0, interval_ms: int = HOUR_MS) -> tuple[Story, Client]:
    """Server 3 of three voters leads, all have a znode, and the checks are off."""
    story = Story(voters=3, observers=observers, ensemble={"tree_resync_interval_ms": interval_ms})
    story.start()
    story.until_led_by(3, 1, 2)
    story.until(lambda: all(story.serves(server) is not None for server in story.world.servers))
    client = story.client(3)
    client.create("/znode", "as it is")
    story.run(100)
    for name in vars(Watcher):
        if not name.startswith("_"):  # the checks see that trees differ at once
            setattr(story.world.checks, name, lambda *_, **__: None)
    return story, client


def _spoil(story: Story, *servers: int) -> None:
    for server in servers:
        tree = story.tree(server)
        znode = tree.nodes[b"/znode"]
        znode.data, znode.digest = b"otherwise", UNKNOWN_DIGEST
        tree.digest = tree.compute_digest()


def _is_different(story: Story, server: int) -> bool:
    replica = story.server(server).peer.replica
    return isinstance(replica, Following) and replica.is_different


def _resyncs(story: Story, server: int) -> int:
    return story.server(server).peer.counters.tree_resyncs


def _is_sound(tree: DataTree) -> bool:
    return tree.nodes[b"/znode"].data == b"as it is" and tree.digest == tree.compute_digest()


def _until_sound(story: Story, *servers: int) -> None:
    story.until(
        lambda: all(
            story.serves(server) is not None and _is_sound(story.tree(server)) for server in servers
        )
    )


def test_a_follower_takes_the_leader_s_tree() -> None:
    story, client = _written()
    _spoil(story, 1)
    client.create("/seen")
    _until_sound(story, 1)
    assert story.synchronised_by(1) == "SNAP"
    assert _resyncs(story, 1) == 1
    assert story.leader() == 3
    assert story.serves(2) is not None
    client.create("/behind")
    story.run(500)
    assert b"/behind" in story.tree(1).nodes
    assert not _is_different(story, 1)
    # What it took is on its disk.
    story.power_off(1)
    story.start(1)
    _until_sound(story, 1)
    assert b"/behind" in story.tree(1).nodes
    assert _resyncs(story, 1) == 0


def test_an_observer_takes_it_whoever_is_there() -> None:
    story, client = _written(observers=1)
    story.power_off(1)
    _spoil(story, 4)
    client.create("/seen")
    _until_sound(story, 4)
    assert _resyncs(story, 4) == 1


def test_a_follower_that_the_quorum_needs_stays() -> None:
    story, client = _written()
    story.power_off(2)
    _spoil(story, 1)
    client.create("/seen")
    story.run(10 * INIT_LIMIT_MS)
    assert _is_different(story, 1)
    assert story.leader() == 3
    assert _resyncs(story, 1) == 0
    story.start(2)
    _until_sound(story, 1, 2)
    assert story.leader() == 3


def test_two_that_differ_take_turns() -> None:
    story, client = _written()
    _spoil(story, 1, 2)
    client.create("/seen")
    _until_sound(story, 1)
    assert story.leader() == 3
    assert story.serves(2) is not None
    assert _is_different(story, 2), "it waits until the first one had its time"
    story.until(lambda: _resyncs(story, 2) == 1)
    assert story.leader() == 3
    _until_sound(story, 1, 2)


def test_a_leader_that_differs_stays_and_the_others_follow_it() -> None:
    story, client = _written()
    _spoil(story, 3)
    client.create("/seen")
    story.until(lambda: _resyncs(story, 1) == _resyncs(story, 2) == 1)
    story.until(lambda: all(story.serves(server) is not None for server in (1, 2, 3)))
    assert story.leader() == 3
    assert _resyncs(story, 3) == 0
    assert story.tree(1).nodes[b"/znode"].data == b"otherwise"


def test_once_in_its_time() -> None:
    story, client = _written(interval_ms=20 * INIT_LIMIT_MS)
    _spoil(story, 1)
    client.create("/seen")
    _until_sound(story, 1)
    client.create("/again")
    story.run(500)
    _spoil(story, 1)
    client.create("/seen-again")
    story.run(5 * INIT_LIMIT_MS)
    assert _is_different(story, 1)
    assert _resyncs(story, 1) == 1
    story.run(20 * INIT_LIMIT_MS)
    assert _resyncs(story, 1) == 2
    _until_sound(story, 1)


def test_never_if_it_is_turned_off() -> None:
    story, client = _written(interval_ms=0)
    _spoil(story, 1)
    client.create("/seen")
    story.run(20 * INIT_LIMIT_MS)
    assert _is_different(story, 1)
    assert _resyncs(story, 1) == 0


def test_a_new_leader_is_told_the_truth() -> None:
    """Between the two terms the leader dies: who leads then must know what this server has."""
    story, client = _written()
    _spoil(story, 1)
    client.create("/seen")
    story.until(lambda: story.state(1) == "LOOKING")
    story.power_off(3)
    story.until_led_by(2, 1)
    assert _resyncs(story, 1) == 0
    assert story.synchronised_by(1) == "DIFF"
    story.client(2).create("/with-two")
    story.run(5 * INIT_LIMIT_MS)
    assert _is_different(story, 1)
    story.start(3)
    _until_sound(story, 1, 2, 3)
    assert story.leader() == 2


def test_a_tree_that_never_agrees_is_noticed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader's tree may not be what its own digest says: taking it mends nothing."""
    monkeypatch.setattr(following, "MIXTURE_TXNS_MAX", 5)
    story, client = _written()
    story.tree(3).digest += 1
    client.create("/seen")
    story.until(lambda: _resyncs(story, 1) == _resyncs(story, 2) == 1)
    story.until(lambda: all(story.serves(server) is not None for server in (1, 2)))
    for number in range(10):
        client.create(f"/{number}")
    story.run(5 * INIT_LIMIT_MS)
    assert _is_different(story, 1)
    assert _is_different(story, 2)
    assert _resyncs(story, 1) == _resyncs(story, 2) == 1
    assert story.leader() == 3
