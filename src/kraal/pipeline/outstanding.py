"""Changes that are proposed but not yet applied: the state that the next write is judged by.

A changed path maps to an image, the znode as it will be (None once deleted): its stat, data,
ACL and digest count, its child index does not. The digest runs ahead of the tree's in the same
way, because a transaction carries the digest of the tree behind it. When the transaction is
committed, its images are installed in the tree.
"""

from __future__ import annotations

from kraal.tree.apply import Change
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import term, with_owner
from kraal.tree.znode import UNKNOWN_DIGEST, ReapedZnode, Znode


class Outstanding:
    """The tree as it will be when everything in flight has been applied."""

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self._digests = tree.digests
        self._latest: dict[bytes, Change] = {}
        """By path, its last change in flight. Which one it is shows in the change's identity: of
        two deletions the image says nothing."""
        self.changes: list[Change] = []
        """What the present draft changes, in order."""
        self._before: list[Change | None] = []
        self.installed_count = 0
        """Changes that became the tree's."""
        self.digest = self._digest_before = tree.digest
        """The sum of all terms behind the present draft; a sum of 32-bit terms needs no modulus."""

    def node(self, path: bytes) -> Znode | None:
        """The znode as it will be; the root goes by its empty path."""
        change = self._latest.get(path)
        return self._tree.nodes.get(path) if change is None else change[1]

    def begin(self) -> None:
        """Start drafting a transaction; `undo` goes back to here."""
        if not self._latest:
            self.digest = self._tree.digest
        self._digest_before = self.digest
        self.changes = []
        self._before = []

    def put(
        self, path: bytes, before: Znode | None, image: Znode, stamp: bytes, *, data: bool = False
    ) -> None:
        """Record a znode as it becomes, with the stamp of its stat (`kraal.tree.stat_rules`).

        `before` is what it was, None where it is created; `data` says whether its data is set.
        """
        if self._digests:
            if type(image) is ReapedZnode:
                stamp = with_owner(stamp, image.owner)
            image.digest = new = term(path, image.data, stamp)
            if before is None:
                self.digest += new
            else:
                old = before.digest
                if old == UNKNOWN_DIGEST:
                    old = self._tree.node_digest(path, before)
                self.digest += new - old
        self._change((path, image, data))

    def delete(self, path: bytes, before: Znode) -> None:
        if self._digests:
            self.digest -= self._tree.node_digest(path, before)
        self._change((path, None, False))

    def _change(self, change: Change) -> None:
        latest, path = self._latest, change[0]
        self._before.append(latest.get(path))
        latest[path] = change
        self.changes.append(change)

    def undo(self) -> None:
        """Forget the draft's changes."""
        while self.changes:
            path, _, _ = self.changes.pop()
            before = self._before.pop()
            if before is None:
                del self._latest[path]
            else:
                self._latest[path] = before
        self.digest = self._digest_before

    def installed(self, changes: list[Change]) -> None:
        """Drop what the tree now holds itself, unless it was changed again since."""
        self.installed_count += len(changes)
        latest = self._latest
        for change in changes:
            if latest.get(change[0]) is change:
                del latest[change[0]]

    def ephemerals(self, session_id: int) -> list[bytes]:
        """What the session will own, with creations and deletions in flight."""
        owned = dict.fromkeys(self._tree.ephemerals.get(session_id, ()))
        for path, image, _ in self._latest.values():
            if image is not None and image.stored_owner() == session_id:
                owned[path] = None
            else:
                owned.pop(path, None)
        return list(owned)


def image_of(node: Znode, stat: bytes) -> Znode:
    """A znode of the same kind, data and ACL with another stat."""
    if type(node) is ReapedZnode:
        return ReapedZnode(node.data, node.acl, stat, node.owner)
    return Znode(node.data, node.acl, stat)
