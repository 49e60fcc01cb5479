"""What two equal trees have in common, and the first thing in which unequal ones differ."""

from __future__ import annotations

from kraal.model.path import ROOT, STATS_NAME
from kraal.tree.data_tree import DataTree, Event

Seen = tuple[int, bytes, bytes, bytes | None]


class RecordedEvents(list[Event]):
    """A tree's list of events that remembers what went through it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[Seen] = []

    def append(self, event: Event, /) -> None:
        kind, path, acl, parent_acl = event
        self._seen.append(
            (kind, path, acl.encoded, None if parent_acl is None else parent_acl.encoded)
        )
        super().append(event)

    def take(self) -> list[Seen]:
        """What was appended since the last call."""
        seen, self._seen = self._seen, []
        return seen


def difference(one: DataTree, other: DataTree, *, usage: bool = True) -> str:
    """The first difference, for people; empty when there is none.

    Without `usage` the texts of usage znodes do not count: loading a tree computes them anew.
    """
    for path in dict.fromkeys((*one.nodes, *other.nodes)):
        if not usage and path.endswith(STATS_NAME):
            continue
        mine, theirs = _described(one, path), _described(other, path)
        if mine != theirs:
            return f"{path!r}: {mine} and {theirs}"
    for name in ("sessions", "ephemerals", "containers", "ttls"):
        here, there = getattr(one, name), getattr(other, name)
        if here != there:
            return f"{name}: {here} and {there}"
    if usage and one.data_bytes != other.data_bytes:
        return f"data bytes: {one.data_bytes} and {other.data_bytes}"
    return _misplaced(one) or _misplaced(other)


def _described(tree: DataTree, path: bytes) -> tuple[object, ...] | None:
    node = tree.nodes.get(path)
    if node is None:
        return None
    quota = tree.quotas.covering(path)
    return (
        node.data, node.stat.hex(" ", 4), node.acl.encoded, node.stored_owner(),
        set(node.children or ()), quota,
    )  # fmt: skip


def _misplaced(tree: DataTree) -> str:
    """A znode that does not stand behind its parent in the index, where snapshots want it."""
    seen: set[bytes] = set()
    for path, node in tree.nodes.items():
        if path not in (b"", ROOT) and path[: path.rindex(b"/")] not in seen:
            return f"{path!r} comes before its parent"
        size = len(node.data) if node.data else 0
        if int.from_bytes(node.stat[52:56], "big") != size:
            return f"{path!r} has {size} bytes of data, its stat says otherwise"
        if int.from_bytes(node.stat[56:60], "big") != len(node.children or ()):
            return f"{path!r} has {len(node.children or ())} children, its stat says otherwise"
        seen.add(path)
    return ""
