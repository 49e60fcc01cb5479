"""Changes that are proposed but not yet applied: the state that the next write is judged by.

A changed path maps to the znode as it will be (None once deleted). Such a znode is an image:
its stat, data, ACL and digest count, its child index does not. The digest runs ahead of the
tree's in the same way, because a transaction carries the digest of the tree behind it.
"""

from __future__ import annotations

from collections import deque

from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed, term
from kraal.tree.znode import ReapedZnode, Znode

Change = tuple[int, Znode | None]
"""The zxid that made the change, and the image."""


class Outstanding:
    """The tree as it will be when everything in flight has been applied."""

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self._changes: dict[bytes, Change] = {}
        self._order: deque[tuple[int, bytes]] = deque()
        self._journal: list[tuple[bytes, Change | None]] = []
        self._digest = tree.digest

    def node(self, path: bytes) -> Znode | None:
        """The znode as it will be; the root may be named by either of its keys."""
        change = self._changes.get(path)
        return self._tree.nodes.get(path) if change is None else change[1]

    def begin(self) -> None:
        """Start drafting a transaction; `undo` goes back to here."""
        if not self._order:
            self._digest = self._tree.digest
        self._journal.clear()

    def put(self, path: bytes, image: Znode, zxid: int) -> None:
        """Record a created or changed znode; the root goes by its empty path."""
        if self._tree.digests:
            before = self.node(path)
            image.digest = term(path, image.data, image.stat, image.stored_owner())
            self._digest += image.digest
            if before is not None:
                self._digest -= self._tree.node_digest(path, before)
        self._change(path, (zxid, image))

    def delete(self, path: bytes, zxid: int) -> None:
        before = self.node(path)
        if self._tree.digests and before is not None:
            self._digest -= self._tree.node_digest(path, before)
        self._change(path, (zxid, None))

    def _change(self, path: bytes, change: Change) -> None:
        self._journal.append((path, self._changes.get(path)))
        self._changes[path] = change
        self._order.append((change[0], path))

    def undo(self, digest: int) -> None:
        """Forget the changes since `begin`; `digest` is what `mark` gave there."""
        while self._journal:
            path, before = self._journal.pop()
            self._order.pop()
            if before is None:
                del self._changes[path]
            else:
                self._changes[path] = before
        self._digest = digest

    def mark(self) -> int:
        return self._digest

    def digest(self) -> int | None:
        """What a transaction drafted now carries; None when digests are off."""
        return signed(self._digest) if self._tree.digests else None

    def applied(self, zxid: int) -> None:
        """Drop what the tree now holds itself."""
        order = self._order
        while order and order[0][0] <= zxid:
            made, path = order.popleft()
            change = self._changes.get(path)
            if change is not None and change[0] == made:
                del self._changes[path]

    def ephemerals(self, session_id: int) -> list[bytes]:
        """What the session will own, with creations and deletions in flight."""
        owned = dict.fromkeys(self._tree.ephemerals.get(session_id, ()))
        for path, (_, image) in self._changes.items():
            if image is None:
                owned.pop(path, None)
            elif image.stored_owner() == session_id:
                owned[path] = None
        return list(owned)


def image_of(node: Znode, data: bytes | None, stat: bytes) -> Znode:
    """A znode of the same kind and ACL with other data and stat."""
    if isinstance(node, ReapedZnode):
        return ReapedZnode(data, node.acl, stat, node.owner)
    return Znode(data, node.acl, stat)
