"""Changes in flight: what the next write is judged by, and how a draft is taken back."""

from __future__ import annotations

import pytest

from kraal.pipeline.outstanding import Outstanding, image_of
from kraal.tree.apply import install
from kraal.tree.digest import signed
from kraal.tree.stat_rules import DELETED, child_created, children_changed, created, data_set
from kraal.tree.znode import ReapedZnode, Znode
from tests.pipeline.support import SESSION, Tree

TTL_OWNER = (0xFF << 56 | 60_000) - (1 << 64)


class Drafting:
    """A tree with /a and /e, an ephemeral, and the changes in flight above it."""

    def __init__(self) -> None:
        made = Tree()
        made.create(b"/a", b"old")
        made.create(b"/e", ephemeral=True)
        self.tree = made.tree
        self.zxid = self.tree.last_zxid
        self.outstanding = Outstanding(self.tree)

    def begin(self) -> int:
        """Start a draft, and return the digest behind those before it."""
        self.zxid += 1
        self.outstanding.begin()
        return self.outstanding.digest

    def create(self, path: bytes, owner: int = 0, data: bytes = b"") -> None:
        parent_path = path[: path.rindex(b"/")]
        parent = self._node(parent_path)
        stat, stamp = created(self.zxid, 5, owner, len(data))
        node = Znode(data, self.tree.acls.open, stat)
        self.outstanding.put(path, None, node, stamp)
        _, stat, stamp = child_created(parent.stat, self.zxid)
        self.outstanding.put(parent_path, parent, image_of(parent, stat), stamp)

    def set_data(self, path: bytes, data: bytes) -> None:
        node = self._node(path)
        stat, stamp = data_set(node.stat, self.zxid, 5, node.version + 1, len(data))
        image = image_of(node, stat)
        image.data = data
        self.outstanding.put(path, node, image, stamp, data=True)

    def delete(self, path: bytes) -> None:
        parent_path = path[: path.rindex(b"/")]
        parent = self._node(parent_path)
        self.outstanding.delete(path, self._node(path))
        stat, stamp = children_changed(parent.stat, parent.num_children - 1, DELETED, self.zxid)
        self.outstanding.put(parent_path, parent, image_of(parent, stat), stamp)

    def commit(self, changes: list[tuple[bytes, Znode | None, bool]], digest: int) -> None:
        install(self.tree, changes)
        self.outstanding.installed(changes)
        self.tree.advance(self.tree.last_zxid + 1, digest)

    def _node(self, path: bytes) -> Znode:
        node = self.outstanding.node(path)
        assert node is not None
        return node


def test_what_is_not_in_flight_is_the_trees() -> None:
    drafting = Drafting()
    assert drafting.outstanding.node(b"/a") is drafting.tree.nodes[b"/a"]
    assert drafting.outstanding.node(b"") is drafting.tree.nodes[b""]
    assert drafting.outstanding.node(b"/none") is None


def test_writes_see_those_before_them_and_the_tree_does_not() -> None:
    drafting = Drafting()
    drafting.begin()
    drafting.create(b"/a/b")
    drafting.begin()
    drafting.create(b"/a/b/c")
    drafting.set_data(b"/a", b"new")
    drafting.begin()
    drafting.delete(b"/a/b/c")
    node = drafting.outstanding.node(b"/a")
    assert node is not None
    assert (node.data, node.version, node.num_children) == (b"new", 1, 1)
    assert drafting.outstanding.node(b"/a/b/c") is None
    assert b"/a/b" not in drafting.tree.nodes
    assert drafting.tree.nodes[b"/a"].data == b"old"


def test_an_undone_draft_leaves_those_before_it() -> None:
    drafting = Drafting()
    drafting.begin()
    drafting.set_data(b"/a", b"first")
    digest = drafting.begin()
    drafting.set_data(b"/a", b"second")
    drafting.create(b"/a/b")
    drafting.delete(b"/e")
    drafting.create(b"/e")
    drafting.outstanding.undo()
    node = drafting.outstanding.node(b"/a")
    assert node is not None
    assert (node.data, node.num_children) == (b"first", 0)
    assert drafting.outstanding.node(b"/a/b") is None
    assert drafting.outstanding.node(b"/e") is drafting.tree.nodes[b"/e"]
    assert drafting.outstanding.changes == []
    assert drafting.outstanding.digest == digest


def test_installing_gives_the_tree_its_digest() -> None:
    """Two drafts, committed one after the other: the running sum was that of the tree behind."""
    drafting = Drafting()
    drafts = []
    for data in (b"first", b"second"):
        drafting.begin()
        drafting.set_data(b"/a", data)
        drafting.create(b"/a/" + data)
        drafts.append((drafting.outstanding.changes, drafting.outstanding.digest))
    for changes, digest in drafts:
        drafting.commit(changes, digest)
        assert signed(drafting.tree.compute_digest()) == signed(digest)
    assert drafting.outstanding.node(b"/a") is drafting.tree.nodes[b"/a"]
    assert drafting.tree.nodes[b"/a"].data == b"second"


def test_an_image_stays_until_the_last_change_is_installed() -> None:
    drafting = Drafting()
    drafting.begin()
    drafting.set_data(b"/a", b"first")
    first, digest = drafting.outstanding.changes, drafting.outstanding.digest
    drafting.begin()
    drafting.set_data(b"/a", b"second")
    drafting.commit(first, digest)
    node = drafting.outstanding.node(b"/a")
    assert node is not None
    assert node.data == b"second"
    assert drafting.tree.nodes[b"/a"].data == b"first"


def test_the_digest_follows_the_tree_when_nothing_is_in_flight() -> None:
    drafting = Drafting()
    drafting.tree.digest += 12345
    drafting.begin()
    assert drafting.outstanding.digest == drafting.tree.digest


class TestEphemerals:
    def test_created_in_flight(self) -> None:
        drafting = Drafting()
        drafting.begin()
        drafting.create(b"/a/mine", SESSION)
        drafting.create(b"/a/theirs", SESSION + 1)
        drafting.create(b"/a/nobodys")
        assert drafting.outstanding.ephemerals(SESSION) == [b"/e", b"/a/mine"]

    def test_deleted_in_flight(self) -> None:
        drafting = Drafting()
        drafting.begin()
        drafting.delete(b"/e")
        assert drafting.outstanding.ephemerals(SESSION) == []

    def test_deleted_and_created_again_by_itself(self) -> None:
        drafting = Drafting()
        drafting.begin()
        drafting.delete(b"/e")
        drafting.create(b"/e", SESSION)
        assert drafting.outstanding.ephemerals(SESSION) == [b"/e"]

    @pytest.mark.parametrize("owner", [0, SESSION + 1])
    def test_replaced_by_something_else(self, owner: int) -> None:
        drafting = Drafting()
        drafting.begin()
        drafting.delete(b"/e")
        drafting.create(b"/e", owner)
        assert drafting.outstanding.ephemerals(SESSION) == []


@pytest.mark.parametrize("owner", [-(2**63), TTL_OWNER])
def test_an_image_is_of_the_same_kind(owner: int) -> None:
    drafting = Drafting()
    plain = drafting.tree.nodes[b"/a"]
    reaped = ReapedZnode(b"x", plain.acl, plain.stat, owner)
    assert type(image_of(plain, plain.stat)) is Znode
    image = image_of(reaped, plain.stat)
    assert isinstance(image, ReapedZnode)
    assert (image.data, image.acl, image.owner) == (b"x", plain.acl, owner)


def test_a_second_deletion_in_flight_outlasts_the_commit_of_the_first() -> None:
    drafting = Drafting()
    made = []
    for step in ("delete", "create", "delete"):
        drafting.begin()
        getattr(drafting, step)(b"/a")
        made.append((drafting.outstanding.changes, drafting.outstanding.digest))
    for changes, digest in made:
        drafting.commit(changes, digest)
        assert drafting.outstanding.node(b"/a") is None
    assert b"/a" not in drafting.tree.nodes
