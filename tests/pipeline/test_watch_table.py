"""Watches: which registration hears of which change, once, and who may hear it.

The matrix and the combinations are those of client-protocol.md section 8.3.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kraal.model.acl import ALL, OPEN_UNSAFE, Acl
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counts
from kraal.pipeline.watch_table import (
    PERSISTENT,
    RECURSIVE,
    STANDARD,
    WatcherType,
    WatchTable,
    notification,
)
from kraal.tree.acl_cache import AclList
from kraal.tree.data_tree import Event, EventType
from tests.pipeline.support import acl_list, connection
from tests.support import raw_client as raw

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
DATA, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
OPEN = acl_list(*OPEN_UNSAFE)
HIDDEN = acl_list(Acl(ALL, "digest", "somebody:else"))
Heard = list[tuple[EventType, bytes]]


class Watching:
    """A table, and what each connection is told."""

    def __init__(self) -> None:
        self.heard: dict[ClientConnection, Heard] = {}
        self.table = WatchTable(self._may_read, self._send, Counts())
        self.me = connection()

    def _may_read(self, _conn: ClientConnection, acl: AclList) -> bool:
        return acl is not HIDDEN

    def _send(self, conn: ClientConnection, data: bytes) -> None:
        event = raw.decode_event(data[4:])
        assert event.path is not None
        self.heard.setdefault(conn, []).append((EventType(event.type), event.path.encode()))

    def change(self, kind: EventType, path: bytes, acl: AclList = OPEN) -> Heard:
        """What `me` hears of one change."""
        parent = None if kind is DATA else OPEN
        self.fire((kind, path, acl, parent))
        return self.heard.pop(self.me, [])

    def fire(self, event: Event) -> None:
        self.table.fire(event, 0x77)


Registration = Callable[[Watching], None]


def data(path: bytes = b"/w", mode: int = STANDARD) -> Registration:
    return lambda watching: watching.table.add_data(path, watching.me, mode)


def child(path: bytes = b"/w", mode: int = STANDARD) -> Registration:
    return lambda watching: watching.table.add_child(path, watching.me, mode)


def persistent(path: bytes = b"/w") -> Registration:
    def register(watching: Watching) -> None:
        watching.table.add_data(path, watching.me, PERSISTENT)
        watching.table.add_child(path, watching.me, PERSISTENT)

    return register


def recursive(path: bytes = b"/w") -> Registration:
    return data(path, RECURSIVE)


CHANGES: dict[str, tuple[EventType, bytes]] = {
    "created": (CREATED, b"/w"), "data": (DATA, b"/w"), "deleted": (DELETED, b"/w"),
    "child created": (CREATED, b"/w/c"), "child deleted": (DELETED, b"/w/c"),
    "child data": (DATA, b"/w/c"), "grandchild created": (CREATED, b"/w/c/g"),
    "grandchild deleted": (DELETED, b"/w/c/g"), "grandchild data": (DATA, b"/w/c/g"),
    "sibling": (CREATED, b"/ww"), "parent data": (DATA, b"/"),
}  # fmt: skip
ITSELF: dict[str, Heard] = {
    name: [change] for name, change in CHANGES.items() if name in ("created", "data", "deleted")
}
ITS_CHILDREN: dict[str, Heard] = {
    name: [(CHILDREN, b"/w")] for name in ("child created", "child deleted")
}
BELOW: dict[str, Heard] = {name: [change] for name, change in CHANGES.items() if "child" in name}
MATRIX: dict[str, tuple[Registration, dict[str, Heard]]] = {
    "exists or getData": (data(), ITSELF),
    "getChildren": (child(), {**ITS_CHILDREN, "deleted": [(DELETED, b"/w")]}),
    "persistent": (persistent(), {**ITSELF, **ITS_CHILDREN}),
    "recursive": (recursive(), {**ITSELF, **BELOW}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("registration", MATRIX)
def test_who_hears_of_what(registration: str, change: str) -> None:
    register, heard = MATRIX[registration]
    watching = Watching()
    register(watching)
    assert watching.change(*CHANGES[change]) == heard.get(change, [])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("registration", MATRIX)
def test_who_hears_of_it_again(registration: str, change: str) -> None:
    """One-shot watches are gone after an event; the others stay."""
    register, heard = MATRIX[registration]
    watching = Watching()
    register(watching)
    first = watching.change(*CHANGES[change])
    stays = registration in ("persistent", "recursive")
    assert watching.change(*CHANGES[change]) == (first if stays else [])
    assert bool(watching.table.count) == (stays or change not in heard)


W, A, B = b"/w", b"/w/a", b"/w/a/b"
COMBINATIONS: dict[str, tuple[list[Registration], tuple[EventType, bytes], Heard]] = {
    "data and child of a deleted one": ([data(), child()], (DELETED, W), [(DELETED, W)]),
    "one-shot and persistent": ([data(), persistent()], (DATA, W), [(DATA, W)]),
    "registered twice": ([data(), data(), data()], (DATA, W), [(DATA, W)]),
    "recursive and child": (
        [recursive(), child()], (CREATED, A), [(CREATED, A), (CHILDREN, W)],
    ),
    "persistent and recursive": (
        [persistent(), recursive()], (CREATED, A), [(CREATED, A), (CHILDREN, W)],
    ),
    "recursive on two ancestors": ([recursive(W), recursive(A)], (DATA, B), [(DATA, B)]),
    "recursive here and above": ([recursive(W), recursive(A)], (DATA, A), [(DATA, A)]),
    "recursive above and one-shot": ([recursive(), data(A)], (DATA, A), [(DATA, A)]),
    "data of one, child of its parent": (
        [data(A), child(W)], (DELETED, A), [(DELETED, A), (CHILDREN, W)],
    ),
    "recursive on the root": ([recursive(b"/")], (DELETED, B), [(DELETED, B)]),
    "child of the root": ([child(b"/")], (CREATED, W), [(CHILDREN, b"/")]),
    "recursive deleted with child watch": ([recursive(), child()], (DELETED, W), [(DELETED, W)]),
    "a path with a slash at its end": ([data(b"/w/"), child(b"/w/")], (CREATED, A), []),
}  # fmt: skip


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combinations_on_one_connection(name: str) -> None:
    registrations, change, heard = COMBINATIONS[name]
    watching = Watching()
    for register in registrations:
        register(watching)
    assert watching.change(*change) == heard


def test_a_persistent_watch_stays_beside_a_used_one() -> None:
    watching = Watching()
    data()(watching)
    persistent()(watching)
    watching.change(DATA, W)
    assert watching.table.modes(W, watching.me) == (PERSISTENT, PERSISTENT)


def test_every_connection_is_told_once() -> None:
    watching = Watching()
    others = [connection() for _ in range(3)]
    for conn in (watching.me, *others):
        watching.table.add_data(W, conn)
        watching.table.add_data(b"/", conn, RECURSIVE)
    assert watching.change(DATA, W) == [(DATA, W)]
    assert [watching.heard[conn] for conn in others] == [[(DATA, W)]] * 3


class TestWhoMayHear:
    def test_nobody_who_may_not_read(self) -> None:
        watching = Watching()
        data()(watching)
        recursive()(watching)
        assert watching.change(DATA, W, HIDDEN) == []

    def test_a_watch_that_was_not_told_is_used_all_the_same(self) -> None:
        watching = Watching()
        data()(watching)
        watching.change(DATA, W, HIDDEN)
        assert watching.change(DATA, W) == []
        assert not watching.table

    def test_children_are_a_matter_of_their_parent(self) -> None:
        watching = Watching()
        child()(watching)
        watching.fire((CREATED, A, HIDDEN, OPEN))
        assert watching.heard[watching.me] == [(CHILDREN, W)]
        watching.heard.clear()
        child()(watching)
        watching.fire((CREATED, A, OPEN, HIDDEN))
        assert watching.heard == {}


class TestRemoving:
    """The table of section 8.6."""

    ALL_MODES = (data(), child(), persistent(), recursive())

    @pytest.mark.parametrize(
        ("kind", "left"),
        [
            (WatcherType.CHILDREN, (STANDARD | PERSISTENT | RECURSIVE, PERSISTENT)),
            (WatcherType.DATA, (PERSISTENT | RECURSIVE, STANDARD | PERSISTENT)),
            (WatcherType.ANY, (0, 0)),
            (WatcherType.PERSISTENT, (STANDARD | RECURSIVE, STANDARD)),
            (WatcherType.PERSISTENT_RECURSIVE, (STANDARD | PERSISTENT, STANDARD | PERSISTENT)),
        ],
    )
    def test_of_one_kind_leaves_the_others(self, kind: WatcherType, left: tuple[int, int]) -> None:
        watching = Watching()
        for register in self.ALL_MODES:
            register(watching)
        assert watching.table.has(W, watching.me, kind)
        assert watching.table.remove(W, watching.me, kind)
        assert watching.table.modes(W, watching.me) == left
        assert not watching.table.has(W, watching.me, kind)
        assert not watching.table.remove(W, watching.me, kind)

    @pytest.mark.parametrize("kind", WatcherType)
    def test_what_is_not_there(self, kind: WatcherType) -> None:
        watching = Watching()
        recursive(b"/")(watching)
        watching.table.add_data(W, connection())
        assert not watching.table.has(W, watching.me, kind)
        assert not watching.table.remove(W, watching.me, kind)
        assert watching.table.count == 2

    def test_a_connection_that_is_gone_takes_its_watches_along(self) -> None:
        watching = Watching()
        other = connection()
        for register in self.ALL_MODES:
            register(watching)
        watching.table.add_data(W, other)
        watching.table.forget(watching.me)
        assert watching.table.count == 1
        assert watching.table.recursive == 0
        assert not watching.me.data_watches | watching.me.child_watches
        watching.table.forget(other)
        assert not watching.table

    def test_the_walk_to_the_ancestors_goes_on_until_the_last(self) -> None:
        watching = Watching()
        recursive(W)(watching)
        recursive(W)(watching)
        recursive(b"/")(watching)
        watching.table.remove(W, watching.me, WatcherType.PERSISTENT_RECURSIVE)
        assert watching.change(DATA, B) == [(DATA, B)]
        watching.table.remove(b"/", watching.me, WatcherType.PERSISTENT_RECURSIVE)
        assert watching.table.recursive == 0
        assert watching.change(DATA, B) == []


def test_the_bytes_of_a_notification() -> None:
    """client-protocol.md section 14.6."""
    assert notification(CREATED, b"/b", 4).hex() == (
        "0000001effffffff0000000000000004000000000000000100000003" + "000000022f62"
    )
