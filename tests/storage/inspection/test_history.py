"""The history agrees with the tree at every zxid, whatever of logs and snapshots is left."""

from __future__ import annotations

from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import CutError
from kraal.model.zxid import epoch, make
from kraal.storage.inspection import history
from kraal.storage.inspection.history import Event, tree_at
from kraal.storage.inspection.txn_text import acl_json
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.names import log_name
from kraal.storage.resync import adopt_snapshot
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateTxn, DeleteTxn, SetDataTxn, Txn
from tests.storage.inspection.support import (
    MIDDLE_LOG,
    NEWEST_SNAPSHOT,
    Disk,
)
from tests.storage.support import (
    LOG_DIR,
    SNAPSHOT_DIR,
    History,
    configured,
    write_log,
    write_snapshot,
)

CONFIG = configured()
There = dict[bytes, tuple[int | None, int | None, list[str]]]
"""Version, size and ACL of each znode."""


def told(
    fs: MemoryFileSystem, path: str, *, recursive: bool = False
) -> tuple[list[Event], list[str]]:
    found = history.History(fs, CONFIG, path, recursive=recursive, with_data=True)
    return list(found.events()), found.warnings


def step(there: There, event: Event) -> None:
    """What the znodes are behind an event."""
    version, size, acl = there.get(event.path, (None, None, []))
    if event.state == history.GONE or event.kind.startswith("delete"):
        there.pop(event.path, None)
    elif event.kind == "setACL":
        there[event.path] = version, size, acl_json(event.acl)
    elif event.kind == "setData":
        there[event.path] = event.version, event.size, acl
    elif event.kind != history.GAP:
        there[event.path] = event.version, event.size, acl_json(event.acl)


def shown(tree: DataTree) -> There:
    return {
        path or b"/": (node.version, len(node.data or b""), acl_json(node.acl.encoded))
        for path, node in tree.nodes.items()
    }


class Written:
    """A directory of a server whose history is random, and was replaced now and then."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.fs = MemoryFileSystem(random)
        self.kept: set[str] = set()
        """Snapshots but for which nothing tells that transactions are missing."""
        self.zxids = [0]
        self._epoch = 1
        self._pending: list[Txn] = []
        tree = DataTree.pristine(extended_types=True)
        self.fs.mkdir(LOG_DIR)
        self.fs.mkdir(SNAPSHOT_DIR)
        write_snapshot(self.fs, CONFIG, tree)
        self._history = History(random, tree)
        old = tree
        for _ in range(150):
            self._next()
            chosen = random.random()
            if chosen < 0.1:
                self._roll()
            elif chosen < 0.2:
                self._snapshot(random.choice((0, 0, 3)))
            elif chosen < 0.23:
                old = self._copied(self._history.tree)
            elif chosen < 0.25:
                self._replace(old)
        self._roll()

    def _next(self) -> None:
        # An epoch begins within a file: where files are missing, zxids are.
        if len(self._pending) == 1 and self.random.random() < 0.1:
            self._epoch += 1
            self.zxids.append(make(self._epoch, 0))
        self._pending.append(self._history.next(epoch=self._epoch))
        self.zxids.append(self._pending[-1].zxid)

    def _roll(self) -> None:
        if len(self._pending) > 1:
            write_log(self.fs, CONFIG, self._pending)
            self._pending = []

    def _snapshot(self, later: int) -> None:
        """While it is written, some transactions are applied."""
        tree = self._history.tree
        writer = SnapshotStore(self.fs, CONFIG).create(tree.last_zxid)
        pieces = snapshot.encode(tree, last_zxid_section=True)
        writer.write(next(pieces))
        for _ in range(later):
            self._next()
        for piece in pieces:
            writer.write(piece)
        writer.commit()

    def _copied(self, tree: DataTree) -> DataTree:
        pieces = snapshot.encode(tree, last_zxid_section=True)
        return snapshot.decode(pieces, extended_types=True, digests=True)[0]

    def _replace(self, tree: DataTree) -> None:
        """As a restore does, or the SNAP of a leader."""
        self._pending = []
        tree = self._copied(tree)
        tree.last_zxid = self._history.tree.last_zxid + 10
        self.kept.add(adopt_snapshot(self.fs, CONFIG, tree))
        self._epoch = epoch(tree.last_zxid) + self.random.randrange(2)
        self._history.tree = tree
        self.zxids.append(tree.last_zxid)

    def lose(self) -> None:
        """Some files are missing."""
        share = self.random.choice((0, 0.2, 0.6))
        for directory in (LOG_DIR, SNAPSHOT_DIR):
            for name in sorted(self.fs.listdir(directory)):
                is_file = name.startswith(("log.", "snapshot.")) and name not in self.kept
                if is_file and self.random.random() < share:
                    self.fs.unlink(directory / name)


@pytest.mark.parametrize("seed", range(24))
def test_what_is_told_agrees_with_the_tree_at_every_zxid(seed: int) -> None:
    written = Written(seed)
    written.lose()
    events, _ = told(written.fs, "/", recursive=True)
    assert [event.zxid for event in events] == sorted(event.zxid for event in events)
    there: There = {}
    left = iter([*events, None])
    event = next(left)
    compared = 0
    for zxid in written.zxids:
        while event is not None and event.zxid <= zxid:
            step(there, event)
            event = next(left)
        try:
            tree, warnings = tree_at(written.fs, CONFIG, zxid)
        except CutError:
            continue
        compared += 1
        assert not warnings
        assert there == shown(tree), hex(zxid)
    assert compared
    assert event is None
    for path in [*written.random.sample(sorted({one.path for one in events}), 8), b"/"]:
        alone, _ = told(written.fs, path.decode())
        assert [one for one in alone if one.kind != history.GAP] == [
            one for one in events if one.path == path and one.kind != history.GAP
        ]


class Small:
    """A directory that is written by hand, standalone: each log is one file."""

    def __init__(self) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.fs.mkdir(LOG_DIR)
        self.fs.mkdir(SNAPSHOT_DIR)
        tree = DataTree.pristine(extended_types=True)
        write_snapshot(self.fs, CONFIG, tree)
        self.history = History(Random(1), tree)
        self._pending: list[Txn] = []

    @property
    def tree(self) -> DataTree:
        return self.history.tree

    def create(self, path: bytes, data: bytes = b"") -> int:
        return self._apply(OpCode.CREATE, CreateTxn(path, data, None, False, -1))

    def set(self, path: bytes, data: bytes) -> int:
        version = self.tree.nodes[path].version + 1
        return self._apply(OpCode.SET_DATA, SetDataTxn(path, data, version))

    def delete(self, path: bytes) -> int:
        return self._apply(OpCode.DELETE, DeleteTxn(path))

    def _apply(self, kind: int, body: Record) -> int:
        self._pending.append(self.history.apply(kind, body))
        return self.tree.last_zxid

    def roll(self) -> PurePath:
        path = LOG_DIR / log_name(self._pending[0].zxid)
        write_log(self.fs, CONFIG, self._pending)
        self._pending = []
        return path

    def snapshot(self) -> str:
        return write_snapshot(self.fs, CONFIG, self.tree)


def test_a_snapshot_in_a_gap_says_what_is_here_and_what_is_gone() -> None:
    small = Small()
    for path in (b"/same", b"/other", b"/gone", b"/again"):
        small.create(path, b"first")
    small.roll()
    small.set(b"/other", b"second")
    small.delete(b"/gone")
    small.delete(b"/again")
    small.create(b"/again", b"third")
    last = small.create(b"/new", b"new")
    lost = small.roll()
    name = small.snapshot()
    behind = small.set(b"/new", b"newer")
    small.roll()
    small.fs.unlink(lost)
    events, warnings = told(small.fs, "/", recursive=True)
    assert not warnings
    (at,) = [number for number, event in enumerate(events) if event.kind == history.GAP]
    gap = events[at]
    assert (gap.first, gap.zxid, gap.file) == (5, last, name)
    found = {event.path: event for event in events[at + 1 : -1]}
    assert {(event.zxid, event.kind) for event in found.values()} == {(last, history.SNAPSHOT)}
    states = {path: (event.state, event.changed, event.size) for path, event in found.items()}
    assert states[b"/same"] == ("unchanged", (), 5)
    assert states[b"/other"] == ("changed", ("mzxid",), 6)
    assert states[b"/gone"] == ("gone", (), None)
    assert states[b"/again"] == ("changed", ("czxid", "mzxid"), 5)
    assert states[b"/new"] == ("here", (), 3)
    assert (events[-1].zxid, events[-1].kind, events[-1].version) == (behind, "setData", 1)
    assert found[b"/same"].data == b"first"


def test_every_snapshot_in_a_gap_is_told_and_what_none_makes_up_for_is_missing() -> None:
    small = Small()
    lost: list[PurePath] = []
    names = []
    for data in (b"1", b"22", b"333"):
        small.create(b"/n%d" % len(data), data)
        names.append(small.snapshot())
        small.create(b"/m%d" % len(data), data)
        lost.append(small.roll())
    small.set(b"/n1", b"end")
    small.roll()
    for path in lost:
        small.fs.unlink(path)
    events, warnings = told(small.fs, "/n1")
    assert warnings == ["0x6 to 0x6 are missing"]
    kinds = [(one.kind, one.state, one.first, one.zxid) for one in events]
    assert kinds == [
        ("gap", "", 1, 1), ("snapshot", "here", None, 1),
        ("gap", "", 2, 3), ("snapshot", "unchanged", None, 3),
        ("gap", "", 4, 5), ("snapshot", "unchanged", None, 5),
        ("setData", "", None, 7),
    ]  # fmt: skip
    assert [one.file for one in events if one.kind == history.GAP] == names
    events, _ = told(small.fs, "/m1")
    assert [one.zxid for one in events if one.kind == history.SNAPSHOT] == [3, 5]


def test_behind_what_is_missing_the_next_snapshot_tells_what_became_of_it() -> None:
    small = Small()
    small.create(b"/a")
    small.create(b"/b")
    small.roll()
    small.delete(b"/a")
    lost = small.roll()
    small.set(b"/b", b"new")
    small.snapshot()
    small.set(b"/b", b"newer")
    small.roll()
    small.fs.unlink(lost)
    events, warnings = told(small.fs, "/a")
    assert warnings == ["0x3 to 0x3 are missing"]
    assert [(one.zxid, one.kind, one.state) for one in events] == [
        (1, "create", ""), (4, "snapshot", "gone"),
    ]  # fmt: skip
    events, _ = told(small.fs, "/b")
    assert [(one.zxid, one.kind) for one in events] == [
        (2, "create"),
        (4, "setData"),
        (5, "setData"),
    ]


def test_a_snapshot_with_the_name_of_a_later_one_bridges_nothing() -> None:
    disk = Disk()
    before, _ = told(disk.fs, "/", recursive=True)
    disk.put(SNAPSHOT_DIR / "snapshot.200000030", disk.content(NEWEST_SNAPSHOT))
    after, [warning] = told(disk.fs, "/", recursive=True)
    assert after == before
    assert "passed over: it holds the state of 0x200000014 only, not of 0x200000030" in warning


def test_a_damaged_snapshot_bridges_nothing() -> None:
    small = Small()
    small.create(b"/a")
    lost = small.roll()
    name = small.snapshot()
    small.set(b"/a", b"new")
    small.roll()
    small.fs.unlink(lost)
    small.fs.corrupt(SNAPSHOT_DIR / name, 60, 8)
    events, warnings = told(small.fs, "/a")
    assert [one.kind for one in events] == ["setData"]
    assert len(warnings) == 2
    assert f"{name} is damaged" in warnings[0]
    assert warnings[1] == "0x1 to 0x1 are missing"


@pytest.mark.parametrize("with_sections", [True, False])
def test_what_was_written_while_the_tree_changed_is_a_mixture_unless_the_log_follows(
    with_sections: bool,
) -> None:
    for is_followed in (True, False):
        small = Small()
        for number in range(60):
            small.create(b"/n%02d" % number)
        lost = small.roll()
        writer = SnapshotStore(small.fs, CONFIG).create(small.tree.last_zxid)
        pieces = snapshot.encode(
            small.tree, last_zxid_section=with_sections, digest_holds=with_sections
        )
        writer.write(next(pieces))
        small.set(b"/n10", b"new")
        small.delete(b"/n20")
        for piece in pieces:
            writer.write(piece)
        writer.commit()
        later = small.roll()
        small.fs.unlink(lost)
        if not is_followed:
            small.fs.unlink(later)
        with pytest.raises(CutError):
            tree_at(small.fs, CONFIG, 60)
        events, warnings = told(small.fs, "/", recursive=True)
        assert not warnings
        of_one = [one for one in events if one.path == b"/n10"]
        of_gone = [one for one in events if one.path == b"/n20"]
        if is_followed:
            assert [(one.zxid, one.kind) for one in of_one] == [(61, "setData"), (62, "snapshot")]
            assert of_one[-1].mixed_until is None
            assert [(one.zxid, one.kind) for one in of_gone] == [(62, "delete")]
        else:
            assert [(one.zxid, one.kind) for one in of_one] == [(60, "snapshot")]
            assert of_one[0].mixed_until == 62
            assert not of_gone


def test_only_snapshots_are_read_that_tell_more_than_the_logs() -> None:
    disk = Disk()
    read: set[str] = set()
    whole = disk.fs.read

    def reading(path: PurePath, offset: int = 0, size: int | None = None) -> bytes:
        read.add(path.name)
        return whole(path, offset, size)

    disk.fs.read = reading  # type: ignore[method-assign]
    told(disk.fs, "/", recursive=True)
    assert {name for name in read if name.startswith("snapshot")} == {"snapshot.0"}
    read.clear()
    disk.fs.unlink(MIDDLE_LOG)
    told(disk.fs, "/", recursive=True)
    assert {name for name in read if name.startswith("snapshot")} == {
        "snapshot.0", NEWEST_SNAPSHOT.name,
    }  # fmt: skip
