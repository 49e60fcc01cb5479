"""A leader puts another tree in the place of the history: with a quorum it counts, else not."""

from __future__ import annotations

from kraal.sim.checks.watcher import Watcher
from kraal.tree.data_tree import DataTree
from tests.scenarios.story import Story


def _written() -> Story:
    """Server 3 leads, and all have two znodes."""
    story = Story(voters=3)
    story.start()
    story.until_led_by(3, 1, 2)
    client = story.client(3)
    for path in ("/first", "/second"):
        client.create(path)
    story.run(100)
    return story


def _restore(story: Story) -> DataTree:
    """Server 3 is given an empty tree."""
    for name in vars(Watcher):
        if not name.startswith("_"):  # the checks know of transactions alone
            setattr(story.world.checks, name, lambda *_, **__: None)
    leader = story.server(3)
    tree = DataTree.pristine(extended_types=False, digests=True)
    tree.last_zxid = leader.peer.tree.last_zxid + 1000
    leader.peer.restore(leader.now_ms, leader.wall_ms, tree)
    return tree


def _until_the_same(story: Story) -> None:
    """All serve with one tree, behind a write of this leader."""
    story.until(lambda: all(story.serves(server) is not None for server in (1, 2, 3)))
    story.client(1).create("/behind")

    def same() -> bool:
        servers = (1, 2, 3)
        if any(story.serves(server) is None for server in servers):
            return False
        trees = [story.tree(server) for server in servers]
        return len({(tree.last_zxid, tree.digest) for tree in trees}) == 1

    story.until(same)


def test_everybody_gets_the_tree_from_the_leader() -> None:
    story = _written()
    tree = _restore(story)
    story.until_led_by(3, 1, 2)
    _until_the_same(story)
    assert story.tree(3) is tree
    for server in (1, 2):
        assert b"/first" not in story.tree(server).nodes
        assert story.synchronised_by(server) == "SNAP"


def test_others_who_elect_one_of_themselves_keep_what_they_had() -> None:
    story = _written()
    tree = _restore(story)
    story.separate([3], [1, 2])
    story.until(lambda: story.leader() in (1, 2))
    story.heal()
    _until_the_same(story)
    assert story.tree(3) is not tree
    for server in (1, 2, 3):
        assert {b"/first", b"/second"} <= set(story.tree(server).nodes)


def test_a_restore_counts_when_only_its_server_and_another_live_on() -> None:
    story = _written()
    _restore(story)
    story.power_off(2)
    story.until_led_by(3, 1)
    assert b"/first" not in story.tree(1).nodes
    story.start(2)
    _until_the_same(story)
    assert b"/first" not in story.tree(2).nodes
