"""Starts of an ensemble's member: epochs, leaders' snapshots, cuts, proposals nobody committed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from kraal.errors import CorruptError, CutError, RequestError
from kraal.model.zxid import counter, epoch, make
from kraal.storage.history import proposals_since
from kraal.storage.inspection.doctor import examine
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import Recovered, recover, save_initial
from kraal.storage.resync import adopt_snapshot, cut_log
from kraal.storage.retention import purge
from kraal.storage.snapshot_store import SnapshotStore
from kraal.storage.txn_log import TxnLog
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateSessionTxn, CreateTxn, SetDataTxn, Txn
from tests.storage.support import (
    SNAPSHOT_DIR,
    History,
    configured,
    described,
    write_log,
    write_snapshot,
)

State = dict[str, object]


class Member:
    """A member's disk, and what it should hold: the whole history and its last state."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = Random(seed)
        self.fs = MemoryFileSystem(Random(seed))
        self.config = configured()
        self.txns: list[Txn] = []
        self.history = History(
            Random(seed), recover(self.fs, self.config, extended_types=True).tree
        )
        save_initial(self.fs, self.config, self.history.tree)
        self.log = TxnLog(self.fs, self.config)

    @property
    def zxids(self) -> list[int]:
        return [0, *(txn.zxid for txn in self.txns)]

    def replayed(self, txns: list[Txn]) -> DataTree:
        """The tree that these lead to."""
        tree = DataTree.pristine(extended_types=True)
        for txn in txns:
            with suppress(RequestError):
                apply(tree, Txn.decode(txn.payload))
        tree.events.clear()
        return tree

    def go_on_from(self, tree: DataTree) -> None:
        self.history = History(Random(self.rng.random()), tree)
        self.log = TxnLog(self.fs, self.config)

    def propose(self, count: int, new_epoch: int = 0) -> None:
        for _ in range(count):
            txn = self.history.next(epoch=new_epoch)
            self.txns.append(txn)
            self.log.append(txn.zxid, txn.payload)
        flush = self.log.take()
        assert flush is not None
        flush.run()

    def snapshot(self) -> None:
        write_snapshot(self.fs, self.config, self.history.tree)
        self.log.roll()

    def cut(self, count: int) -> None:
        """As a leader with the first `count` transactions asks for it."""
        zxid = self.zxids[count]
        recovered = cut_log(self.fs, self.config, zxid, extended_types=True)
        self.txns = self.txns[:count]
        assert described(recovered.tree) == described(self.replayed(self.txns))
        self.go_on_from(recovered.tree)

    def adopt(self, count: int, more: int, new_epoch: int, *, zero: bool = False) -> None:
        """The tree of a leader with the first `count` transactions and `more` of its own."""
        leader = History(Random(self.rng.random()), self.replayed(self.txns[:count]))
        self.txns = self.txns[:count] + [leader.next(epoch=new_epoch) for _ in range(more)]
        if zero:
            leader.tree.last_zxid = make(max(new_epoch, epoch(leader.tree.last_zxid) + 1), 0)
        adopt_snapshot(self.fs, self.config, leader.tree)
        self.go_on_from(leader.tree)

    def restart(self, fs: MemoryFileSystem | None = None) -> Recovered:
        recovered = recover(fs or self.fs.crash(), self.config, extended_types=True)
        assert recovered.digest_mismatches == 0
        assert described(recovered.tree) == described(self.history.tree)
        zxids = [zxid for zxid, _ in recovered.recent]
        assert zxids == self.zxids[len(self.zxids) - len(zxids) :]
        return recovered

    def check_older_history(self) -> None:
        """What a learner gets is the history and nothing else."""
        payloads = [(txn.zxid, txn.payload) for txn in self.txns]
        for zxid in self.zxids:
            found = proposals_since(self.fs, self.config, zxid, snapshot_size_factor=0)
            if found is not None:
                got = list(found)
                begin = payloads.index(got[0])
                assert got == payloads[begin : begin + len(got)]

    def check_damage(self) -> None:
        """With a damaged snapshot a start is refused, or leads to the same."""
        for found in SnapshotStore(self.fs, self.config).named():
            fs = self.fs.crash()
            fs.corrupt(SNAPSHOT_DIR / found.name, 60)
            with suppress(CorruptError):
                self.restart(fs)


# Readable stories


def test_a_leaders_snapshot_and_what_follows_it() -> None:
    member = Member()
    member.propose(4)
    member.adopt(4, 5, new_epoch=2)
    assert member.restart().replayed == 0
    for _ in range(5):
        member.propose(1)
        recovered = member.restart()
        assert recovered.warnings == []
        assert recovered.recent[0][0] == 0x2_0000_0006


def test_a_cut_and_a_new_epoch() -> None:
    member = Member()
    member.propose(9, new_epoch=1)
    member.cut(6)
    member.restart()
    for _ in range(3):
        member.propose(1, new_epoch=2)
        assert member.restart().warnings == []
    assert [zxid for zxid, _ in member.restart().recent] == [
        *range(0x1_0000_0001, 0x1_0000_0007),
        *range(0x2_0000_0001, 0x2_0000_0004),
    ]


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_an_epoch_without_transactions(with_snapshot: bool) -> None:
    member = Member()
    member.propose(3, new_epoch=1)
    if with_snapshot:  # a leader's own, before its first transaction
        member.history.tree.last_zxid = make(2, 0)
        member.snapshot()
        assert member.restart().tree.last_zxid == make(2, 0)
    for _ in range(3):
        member.propose(1, new_epoch=3)
        assert member.restart().warnings == []


def test_two_leaders_snapshots_in_one_epoch() -> None:
    member = Member()
    member.adopt(0, 3, new_epoch=2)
    member.propose(2)
    member.adopt(5, 4, new_epoch=0)
    assert member.history.tree.last_zxid == 0x2_0000_0009
    member.restart()
    member.propose(2)
    assert member.restart().recent[0][0] == 0x2_0000_000A


def test_proposals_that_were_never_committed_are_applied() -> None:
    """Only a leader can tell: until then they count as history, and for the vote."""
    member = Member()
    member.propose(3, new_epoch=1)
    member.propose(2, new_epoch=4)
    recovered = member.restart()
    assert recovered.tree.last_zxid == 0x4_0000_0002
    assert len(recovered.recent) == 5


def test_an_ephemeral_without_its_session_stays() -> None:
    member = Member()
    txns = [
        member.history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), 7),
        member.history.apply(OpCode.CREATE, CreateTxn(b"/e", b"", None, True, -1), 7),
    ]
    write_log(member.fs, member.config, txns)
    del member.history.tree.sessions[7]
    write_snapshot(member.fs, member.config, member.history.tree)
    assert recover(member.fs, member.config, extended_types=True).tree.ephemerals == {
        7: {b"/e": None}
    }


def test_how_much_is_kept_for_learners() -> None:
    member = Member()
    txns = [
        member.history.apply(OpCode.SET_DATA, SetDataTxn(b"/", b"", version + 1))
        for version in range(700)
    ]
    write_log(member.fs, member.config, txns)
    for recent_max, kept in ((None, 500), (500, 500), (600, 600), (9999, 700)):
        settings = {} if recent_max is None else {"recent_max": recent_max}
        recent = recover(member.fs, member.config, extended_types=True, **settings).recent
        assert list(recent) == [(txn.zxid, txn.payload) for txn in txns[-kept:]]
        assert recent.maxlen == (recent_max or 500)


def test_a_damaged_snapshot_between_two_epochs_stands_for_nothing() -> None:
    """It may have been a leader's, and then the log below it does not lead there."""
    member = Member()
    member.propose(3, new_epoch=1)
    member.history.tree.last_zxid = make(2, 0)
    member.snapshot()
    member.propose(1)
    assert member.restart().tree.last_zxid == make(2, 1)
    member.fs.corrupt(SNAPSHOT_DIR / "snapshot.200000000", 60)
    with pytest.raises(
        CorruptError,
        match=r"log\.200000001 continues with 0x200000001 at offset 16 behind 0x100000003, but "
        r"snapshot\.200000000 is damaged and lies between",
    ):
        recover(member.fs, member.config, extended_types=True)


def test_a_leaders_snapshot_with_a_later_name_is_missed_between_two_epochs() -> None:
    member = Member()
    member.propose(3, new_epoch=1)
    member.history.tree.last_zxid = make(2, 0)
    member.snapshot()
    member.propose(9)
    old, new = SNAPSHOT_DIR / "snapshot.200000000", SNAPSHOT_DIR / "snapshot.200000004"
    member.fs.rename(old, new)
    refused = r"0x100000003, but snapshot\.200000004 holds .* 0x200000000 only, .* and lies between"
    with pytest.raises(CorruptError, match=refused):
        recover(member.fs, member.config, extended_types=True)
    found = examine(member.fs, member.config)
    assert found.report.mends == []
    [remedy] = [one.remedy for one in found.report.findings if one.kind == "misnamed-snapshot"]
    assert "what it holds is nowhere else" in remedy
    member.fs.rename(new, old)
    member.restart(member.fs)


# Random lives


def _propose(member: Member, rng: Random) -> None:
    ahead = rng.choice((0, 0, 0, 1, 2))
    member.propose(rng.randint(1, 5), epoch(member.history.tree.last_zxid) + ahead if ahead else 0)


def _cut(member: Member, rng: Random) -> None:
    with suppress(CutError):
        member.cut(rng.randint(max(0, len(member.txns) - 12), len(member.txns)))


def _adopt(member: Member, rng: Random) -> None:
    count = rng.randint(max(0, len(member.txns) - 8), len(member.txns))
    ahead = epoch(member.history.tree.last_zxid) + rng.randint(1, 2)
    member.adopt(count, rng.randint(0, 4), ahead, zero=rng.random() < 0.4)


def _snapshot(member: Member, _rng: Random) -> None:
    if counter(member.history.tree.last_zxid) or not member.history.tree.last_zxid:
        member.snapshot()


def _start(member: Member, rng: Random) -> None:
    member.fs = member.fs.crash() if rng.random() < 0.5 else member.fs.killed()
    member.go_on_from(member.restart(member.fs).tree)


def _purge(member: Member, _rng: Random) -> None:
    purge(member.fs, member.config)


STEPS: list[tuple[Callable[[Member, Random], None], int]] = [
    (_propose, 10), (_cut, 3), (_adopt, 2), (_snapshot, 3), (_start, 3), (_purge, 1),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_a_members_life(seed: int) -> None:
    member = Member(seed)
    rng = Random(seed)
    for _ in range(40):
        (step,) = rng.choices([step for step, _ in STEPS], [weight for _, weight in STEPS])
        step(member, rng)
        member.restart()
        member.restart(member.fs.killed())
        member.check_older_history()
        member.check_damage()
