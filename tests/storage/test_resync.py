"""What a leader's TRUNC and SNAP leave on the disk, also when the power fails on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from random import Random
from typing import Any

import pytest

from kraal.errors import CutError, RequestError, StorageError
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.storage.log_format import FILE_HEADER, frame
from kraal.storage.log_reader import records
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import Recovered, recover
from kraal.storage.resync import adopt_snapshot, cut_log
from kraal.storage.retention import purge
from kraal.storage.snapshot_store import SnapshotStore
from kraal.storage.txn_log import TxnLog
from kraal.tree import snapshot
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import StreamDecoder
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateSessionTxn, Txn
from tests.storage.support import (
    DATA,
    LOG_DIR,
    SNAPSHOT_DIR,
    History,
    configured,
    described,
    write_log,
    write_snapshot,
)

State = dict[str, object]
Change = Callable[[MemoryFileSystem], object]
KINDS = ("create", "write", "sync", "sync_directory", "rename", "unlink", "truncate", "read")
BEGUN = ("cut-history.", "adopted-", "unfinished-")


def recovered_from(fs: MemoryFileSystem, config: StorageConfig) -> Recovered:
    recovered = recover(fs, config, extended_types=True)
    assert recovered.digest_mismatches == 0, recovered.warnings
    return recovered


class Member:
    """Snapshots at 0, 10, 20 and 30, a log behind each, 35 transactions in all."""

    def __init__(self, **settings: Any) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.config = configured(**settings)
        self.history = History(Random(2), recover(self.fs, self.config, extended_types=True).tree)
        self.states = {0: described(self.history.tree)}
        self.txns: dict[int, Txn] = {}
        for count in (10, 10, 10, 5):
            write_snapshot(self.fs, self.config, self.history.tree)
            self.log(count)

    def log(self, count: int = 1, epoch: int = 0) -> None:
        """More transactions in a file of their own."""
        txns = [self.history.next(epoch=epoch) for _ in range(1)]
        self.states[txns[0].zxid] = described(self.history.tree)
        for _ in range(count - 1):
            txns.append(self.history.next())
            self.states[txns[-1].zxid] = described(self.history.tree)
        self.txns |= {txn.zxid: txn for txn in txns}
        write_log(self.fs, self.config, txns)

    def restart(self) -> Recovered:
        return recovered_from(self.fs, self.config)

    def go_on(self) -> None:
        """Other transactions follow from now on what the disk holds."""
        self.history = History(Random(9), self.restart().tree)

    def cut(self, zxid: int, fs: MemoryFileSystem | None = None) -> Recovered:
        return cut_log(fs or self.fs, self.config, zxid, extended_types=True)

    def files(self) -> dict[PurePath, bytes]:
        return {
            directory / name: self.fs.read(directory / name)
            for directory in (SNAPSHOT_DIR, LOG_DIR)
            for name in self.fs.listdir(directory)
        }

    def names(self) -> list[str]:
        return sorted([*self.fs.listdir(SNAPSHOT_DIR), *self.fs.listdir(LOG_DIR)])


class Crashes:
    """What each power failure and each kill during a change leads to: the old state or the new.

    The starts after it are interrupted in the same way, one level deep.
    """

    def __init__(self, config: StorageConfig, old: State, new: State) -> None:
        self.config = config
        self.states = (old, new)
        self.found = [0, 0]
        self.random = Random(7)

    def during(self, fs: MemoryFileSystem, change: Change) -> None:
        fs.hook = lambda _kind, _path: self.look(fs)
        change(fs)
        self.look(fs)
        fs.hook = None
        history = History(Random(3), recovered_from(fs.killed(), self.config).tree)
        write_log(fs, self.config, [history.next()])
        for _ in range(20):
            later = recovered_from(fs.crash(Random(self.random.random())), self.config).tree
            assert described(later) == described(history.tree)

    def look(self, fs: MemoryFileSystem) -> None:
        self.crash(fs, 10)
        self.start(fs.crash(Random(self.random.random())), again=True)
        self.start(fs.killed(), again=True)

    def crash(self, fs: MemoryFileSystem, times: int) -> None:
        for _ in range(times):
            self.start(fs.crash(Random(self.random.random())))

    def start(self, fs: MemoryFileSystem, *, again: bool = False) -> None:
        if again:
            fs.hook = lambda _kind, _path: self.crash(fs, 3)
        tree = recovered_from(fs, self.config).tree
        fs.hook = None
        found = described(tree)
        assert found in self.states
        self.found[self.states.index(found)] += 1
        assert not [name for name in fs.listdir(SNAPSHOT_DIR) if name.startswith(BEGUN)]
        # What a start has shown, the next power failure may not take back; the log goes on.
        history = History(Random(3), tree)
        write_log(fs, self.config, [history.next()])
        later = recovered_from(fs.crash(Random(self.random.random())), self.config).tree
        assert described(later) == described(history.tree)


def check_crashes(
    fs: MemoryFileSystem, config: StorageConfig, old: State, new: State, change: Change
) -> None:
    """The change, interrupted at every operation and failing at every operation."""
    crashes = Crashes(config, old, new)
    crashes.during(fs.killed(), change)
    assert all(crashes.found)
    for kind in KINDS:
        for after in range(100):
            failing = fs.killed()
            failing.fail(kind, after=after)
            try:
                change(failing)
            except StorageError:
                crashes.start(failing.crash(Random(after)))
                crashes.start(failing.killed())
            else:
                break
        else:
            raise AssertionError(f"{kind} fails without end")


# TRUNC


@pytest.mark.parametrize("zxid", [0, 5, 10, 17, 20, 29, 30, 31, 34])
def test_a_cut_at_a_record(zxid: int) -> None:
    member = Member()
    recovered = member.cut(zxid)
    assert described(recovered.tree) == member.states[zxid]
    assert recovered.tree.events == []
    again = member.restart()
    assert described(again.tree) == member.states[zxid]
    assert again.recent == recovered.recent
    assert again.warnings == []
    assert [record.zxid for record in records(member.fs, member.config, 0)] == list(
        range(1, zxid + 1)
    )
    assert [found.zxid for found in SnapshotStore(member.fs, member.config).named()] == [
        at for at in (30, 20, 10, 0) if at <= zxid
    ]


def test_nothing_above_is_cut() -> None:
    member = Member(pre_alloc_bytes=4096)
    before = member.files()
    assert described(member.cut(35).tree) == member.states[35]
    assert member.files() == before


def test_the_log_goes_on_behind_a_cut_in_a_new_file() -> None:
    member = Member()
    member.cut(17)
    log = TxnLog(member.fs, member.config)
    history = History(Random(9), member.restart().tree)
    txns = [history.next(), history.next(epoch=1)]
    for txn in txns:
        log.append(txn.zxid, txn.payload)
    flush = log.take()
    assert flush is not None
    flush.run()
    assert "log.12" in member.names()
    assert described(recovered_from(member.fs.crash(), member.config).tree) == described(
        history.tree
    )


def test_what_was_cut_off_is_kept_until_a_purge() -> None:
    member = Member()
    member.cut(17)
    assert member.names() == [
        "log.1", "log.b", "replaced-log.15", "replaced-log.1f", "replaced-snapshot.14",
        "replaced-snapshot.1e", "snapshot.0", "snapshot.a",
    ]  # fmt: skip
    member.go_on()
    for _ in range(3):
        member.log(6)
        write_snapshot(member.fs, member.config, member.history.tree)
    purge(member.fs, member.config)
    # 0x17 is the oldest zxid that a start can go back to.
    assert member.names() == [
        "log.12", "log.18", "log.1e", "replaced-log.1f", "replaced-snapshot.1e", "snapshot.17",
        "snapshot.1d", "snapshot.23",
    ]  # fmt: skip
    assert described(member.restart().tree) == described(member.history.tree)


def test_a_cut_at_a_snapshot_that_no_record_stands_for() -> None:
    """A leader's snapshot was adopted; the records below it were never here."""
    member = Member()
    for zxid in range(0x2_0000_0001, 0x2_0000_0005):
        member.history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), zxid=zxid)
    adopt_snapshot(member.fs, member.config, member.history.tree)
    state = described(member.history.tree)
    member.log(3)
    for zxid in (0x2_0000_0003, 0x1_0000_0000):
        with pytest.raises(CutError, match="cannot go back to"):
            member.cut(zxid)
    assert described(member.cut(0x2_0000_0004).tree) == state
    assert described(member.restart().tree) == state
    # A snapshot from before the adoption is a state, too, whatever came between.
    member.go_on()
    member.log(3)
    assert described(member.cut(20).tree) == member.states[20]
    assert described(member.restart().tree) == member.states[20]


def test_a_cut_right_before_the_first_record_of_an_epoch() -> None:
    member = Member()
    member.log(3, epoch=2)
    member.log(3, epoch=5)
    with pytest.raises(CutError, match=r"lead to 0x200000003, and 0x500000001 follows"):
        member.cut(0x4_0000_0000)
    tree = member.cut(0x5_0000_0000).tree
    assert described(tree) == member.states[0x2_0000_0003] | {"last_zxid": 0x5_0000_0000}
    assert described(member.restart().tree) == member.states[0x2_0000_0003]
    with pytest.raises(CutError, match=r"lead to 0x200000003, and the end follows"):
        member.cut(0x5_0000_0000)


@pytest.mark.parametrize("codec", SnapshotCodec)
def test_a_snapshot_that_holds_later_effects_is_not_used(codec: SnapshotCodec) -> None:
    member = Member(snapshot_codec=codec)
    stream = snapshot.encode(member.history.tree)
    writer = SnapshotStore(member.fs, member.config).create(35)
    writer.write(next(stream))
    member.log(6)
    for piece in stream:
        writer.write(piece)
    name = writer.commit()
    old, new = member.states[41], member.states[38]
    check_crashes(member.fs, member.config, old, new, lambda fs: member.cut(38, fs))
    recovered = member.cut(38)
    assert recovered.snapshot is not None
    assert recovered.snapshot.zxid == 30
    assert described(member.restart().tree) == new
    assert f"replaced-{name}" in member.names()
    member.go_on()
    member.log(6)
    assert described(member.restart().tree) == described(member.history.tree)


def refuses(member: Member, zxid: int, why: str) -> None:
    before = member.files()
    with pytest.raises(CutError, match=why):
        member.cut(zxid)
    assert member.files() == before


def test_a_cut_that_is_refused_changes_nothing() -> None:
    member = Member()
    refuses(member, 36, r"snapshot\.1e and the log lead to 0x23, and the end follows")
    refuses(member, 0x1_0000_0000, r"lead to 0x23, and the end follows")
    member.fs.unlink(SNAPSHOT_DIR / "snapshot.0")
    member.fs.unlink(LOG_DIR / "log.1")
    refuses(member, 9, "no snapshot holds an earlier state only")
    refuses(member, 0, "no snapshot holds an earlier state only")
    member.fs.unlink(SNAPSHOT_DIR / "snapshot.14")
    member.fs.unlink(LOG_DIR / "log.15")
    refuses(member, 25, r"snapshot\.a and the log lead to 0x14, and 0x1f follows")
    member.fs.corrupt(SNAPSHOT_DIR / "snapshot.a", 60)
    refuses(member, 15, "no snapshot can be used")
    assert described(member.restart().tree) == member.states[35]


def test_a_cut_with_a_log_alone_is_refused() -> None:
    member = Member(snapshot_trust_empty=True)
    for name in member.fs.listdir(SNAPSHOT_DIR):
        member.fs.unlink(SNAPSHOT_DIR / name)
    refuses(member, 15, "no snapshot holds an earlier state only")


@pytest.mark.parametrize("zxid", [0, 17, 20, 30, 34])
def test_every_interrupted_cut_leads_to_the_old_state_or_the_new(zxid: int) -> None:
    member = Member()
    old, new = member.states[35], member.states[zxid]
    check_crashes(member.fs, member.config, old, new, lambda fs: member.cut(zxid, fs))


def over_a_hole() -> Member:
    """As the reference leaves it after a SNAP: between the steps of a change nothing but the
    name that began it makes this directory readable."""
    member = Member()
    member.history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), zxid=0x2_0000_0004)
    write_snapshot(member.fs, member.config, member.history.tree)
    member.log(3)
    return member


def test_an_interrupted_cut_over_a_hole() -> None:
    member = over_a_hole()
    old, new = described(member.history.tree), member.states[35]
    check_crashes(member.fs, member.config, old, new, lambda fs: member.cut(35, fs))


def test_copies_of_a_log_are_cut_as_well() -> None:
    member = Member()
    content = FILE_HEADER + b"".join(frame(member.txns[zxid].payload) for zxid in range(31, 36))
    member.fs.create(LOG_DIR / "log.1f.bak").write(content, 0)
    member.cut(32)
    assert member.restart().tree.last_zxid == 32


# SNAP


def leaders(*counts: int) -> History:
    """A leader's history that shares nothing with a member's: transactions in each epoch."""
    history = History(Random(20))
    for epoch, count in enumerate(counts):
        for _ in range(count):
            history.next(epoch=epoch)
    return history


AHEAD, WITHIN, AT_A_SNAPSHOT, AT_THE_END = (30, 0, 3), (12,), (30,), (35,)


def adopting(config: StorageConfig, tree: DataTree) -> Change:
    return lambda fs: adopt_snapshot(fs, config, tree)


@pytest.mark.parametrize("codec", SnapshotCodec)
@pytest.mark.parametrize("counts", [AHEAD, WITHIN, AT_A_SNAPSHOT, AT_THE_END])
def test_a_leaders_tree_replaces_everything(codec: SnapshotCodec, counts: tuple[int, ...]) -> None:
    member = Member()
    member.config = configured(snapshot_codec=codec)
    leader = leaders(*counts)
    new = described(leader.tree)
    name = adopt_snapshot(member.fs, member.config, leader.tree)
    recovered = member.restart()
    assert described(recovered.tree) == new
    assert recovered.snapshot is not None
    assert recovered.snapshot.name == name
    assert recovered.replayed == 0
    assert not recovered.recent
    write_log(member.fs, member.config, [leader.next() for _ in range(5)])
    again = member.restart()
    assert described(again.tree) == described(leader.tree)
    assert again.warnings == []
    assert [zxid for zxid, _ in again.recent] == [
        record.zxid for record in records(member.fs, member.config, 0)
    ]


@pytest.mark.parametrize("counts", [AHEAD, WITHIN, AT_A_SNAPSHOT, AT_THE_END])
@pytest.mark.parametrize(("before", "codec"), [("", "gz"), ("gz", ""), ("", "")])
def test_every_interrupted_adoption_leads_to_the_old_state_or_the_new(
    before: str, codec: str, counts: tuple[int, ...]
) -> None:
    member = Member(snapshot_codec=SnapshotCodec(before))
    config = configured(snapshot_codec=SnapshotCodec(codec))
    leader = leaders(*counts)
    old, new = member.states[35], described(leader.tree)
    check_crashes(member.fs, config, old, new, adopting(config, leader.tree))


def test_an_interrupted_adoption_over_a_hole() -> None:
    member = over_a_hole()
    leader = leaders(20)
    old, new = described(member.history.tree), described(leader.tree)
    check_crashes(member.fs, member.config, old, new, adopting(member.config, leader.tree))


def test_one_directory_for_everything() -> None:
    member = Member(data_log_dir=DATA)
    leader = leaders(12)
    old = member.states[35]
    adopt = adopting(member.config, leader.tree)
    check_crashes(member.fs, member.config, old, described(leader.tree), adopt)
    check_crashes(member.fs, member.config, old, member.states[13], lambda fs: member.cut(13, fs))


def test_what_was_replaced_is_kept() -> None:
    member = Member()
    before = member.files()
    adopt_snapshot(member.fs, member.config, leaders(*AT_A_SNAPSHOT).tree)
    after = member.files()
    assert [name for name in member.names() if not name.startswith("replaced-")] == [
        "snapshot.0", "snapshot.14", "snapshot.1e", "snapshot.a",
    ]  # fmt: skip
    for path, content in before.items():
        if path.name != "snapshot.1e":
            kept = path if path in after else path.with_name(f"replaced-{path.name}")
            assert after[kept] == content


def test_older_snapshots_do_not_stand_in_for_a_leaders() -> None:
    """The own log may end with what no leader knows, so nothing is built on it."""
    for zxid in (0x2_0000_0000, 0x2_0000_0003):
        member = Member()
        leader = leaders(30)
        leader.tree.last_zxid = zxid
        name = adopt_snapshot(member.fs, member.config, leader.tree)
        write_log(member.fs, member.config, [leader.next()])
        assert described(member.restart().tree) == described(leader.tree)
        member.fs.corrupt(SNAPSHOT_DIR / name, 60)
        with pytest.raises(StorageError, match="damaged"):
            member.restart()


def test_the_first_snapshot_of_a_member_that_may_not_begin_a_history() -> None:
    config = configured(db_autocreate=False)
    fs = MemoryFileSystem(Random(1))
    assert recovered_from(fs, config).tree.last_zxid == -1
    leader = leaders(0, 2)
    adopt_snapshot(fs, config, leader.tree)
    assert described(recovered_from(fs.crash(), config).tree) == described(leader.tree)


def test_a_fuzzy_stream_is_no_digest_mismatch() -> None:
    """Until what followed the stream is replayed, the tree is a mixture."""
    member = Member()
    leader = leaders(30, 0, 3)
    zxid = leader.tree.last_zxid
    reader = StreamDecoder(extended_types=True, digests=True, max_buffer_bytes=1 << 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "SLICE_NODES", 3)
        txns = []
        for piece in snapshot.encode_stream(leader.tree):
            reader.feed(piece)
            txns += [leader.next() for _ in range(2)]
    tree = reader.tree
    tree.last_zxid = zxid
    mixture = described(tree)
    adopt_snapshot(member.fs, member.config, tree)
    write_log(member.fs, member.config, txns)
    wrong = 0
    for txn in txns:
        with suppress(RequestError):
            apply(tree, Txn.decode(txn.payload))
        wrong += txn.digest not in (None, tree.digest)
    assert wrong
    recovered = member.restart()
    assert described(recovered.tree) == described(leader.tree) != mixture
    assert not recovered.is_mixture
    # Where no later digest agrees, the tree is wrong.
    write_log(member.fs, member.config, txns[:1])
    if txns[0].digest is not None:
        txns[0].digest += 1
        txns[0].encode()
    write_log(member.fs, member.config, txns[:1])
    again = recover(member.fs, member.config, extended_types=True)
    assert again.digest_mismatches == (txns[0].digest is not None)
    assert again.is_mixture
