"""What a data directory leads to: the outcomes of reference/storage-formats.md section 5."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from kraal.errors import CorruptError, StorageError
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.storage.log_format import FILE_HEADER, frame
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import Recovered, drop_orphans, recover, save_initial
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree import snapshot
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateSessionTxn, CreateTtlTxn, CreateTxn, SetDataTxn, Txn
from tests.storage.support import (
    DATA,
    LOG_DIR,
    LOGS,
    SNAPSHOT_DIR,
    History,
    configured,
    described,
    golden,
    write_log,
    write_snapshot,
)

INITIALIZE = LOGS / "initialize"


class Disk:
    """A directory with snapshots at 0, 10 and 20, a log behind each, 30 transactions in all."""

    def __init__(self, **settings: Any) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.config = configured(**settings)
        start = recover(self.fs, self.config, extended_types=True)
        self.history = History(Random(2), start.tree)
        self.states = {0: described(start.tree)}
        self.txns: dict[int, Txn] = {}
        for zxid in (0, 10, 20):
            write_snapshot(self.fs, self.config, self.history.tree)
            write_log(self.fs, self.config, [self.add() for _ in range(10)])
            assert self.history.tree.last_zxid == zxid + 10

    def add(self) -> Txn:
        txn = self.history.next()
        self.txns[txn.zxid] = txn
        self.states[txn.zxid] = described(self.history.tree)
        return txn

    def recover(self) -> Recovered:
        recovered = recover(self.fs, self.config, extended_types=True)
        assert described(recovered.tree) == self.states[recovered.tree.last_zxid]
        assert recovered.digest_mismatches == 0
        return recovered

    def rewrite(self, name: str, change: Callable[[bytes], bytes]) -> None:
        path = (LOG_DIR if name.startswith("log") else SNAPSHOT_DIR) / name
        content = change(self.fs.read(path) if self.fs.exists(path) else b"")
        self.fs.create(path).write(content, 0)

    def remove(self, *names: str) -> None:
        for name in names:
            self.fs.unlink((LOG_DIR if name.startswith("log") else SNAPSHOT_DIR) / name)

    def break_snapshot(self, name: str) -> None:
        """Damage that only reading it through finds."""
        self.fs.corrupt(SNAPSHOT_DIR / name, 60, 1)

    def refuses(self, pattern: str) -> None:
        with pytest.raises(CorruptError, match=pattern):
            self.recover()


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_the_newest_snapshot_and_the_log_behind_it(disk: Disk) -> None:
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 30
    assert recovered.snapshot is not None
    assert recovered.snapshot.name == "snapshot.14"
    assert recovered.replayed == 10
    assert [zxid for zxid, _ in recovered.recent] == list(range(21, 31))
    assert [payload for _, payload in recovered.recent] == [
        disk.txns[zxid].payload for zxid in range(21, 31)
    ]
    assert recovered.warnings == []
    assert not recovered.needs_initial_snapshot
    assert recovered.tree.events == []


def test_a_start_changes_nothing(disk: Disk) -> None:
    before = {name: disk.fs.read(LOG_DIR / name) for name in disk.fs.listdir(LOG_DIR)}
    disk.recover()
    assert {name: disk.fs.read(LOG_DIR / name) for name in disk.fs.listdir(LOG_DIR)} == before
    assert sorted(disk.fs.listdir(SNAPSHOT_DIR)) == ["snapshot.0", "snapshot.14", "snapshot.a"]


@pytest.mark.parametrize("broken", [1, 2])
def test_older_snapshots_serve_when_newer_ones_are_damaged(disk: Disk, broken: int) -> None:
    names = ["snapshot.14", "snapshot.a", "snapshot.0"]
    for name in names[:broken]:
        disk.break_snapshot(name)
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 30
    assert [one.found.name for one in recovered.passed_over] == names[:broken]
    assert recovered.snapshot is not None
    assert recovered.snapshot.name == names[broken]
    assert "snapshot.14 is damaged and passed over: the checksum" in recovered.warnings[0]


def test_a_damaged_attempt_leaves_nothing_behind(disk: Disk) -> None:
    # A session that only the damaged snapshot knows, which the reference would bring back.
    def with_session(content: bytes) -> bytes:
        return content[:16] + (1).to_bytes(4, "big") + bytes(7) + b"\x07" + bytes(4) + content[20:]

    disk.rewrite("snapshot.14", with_session)
    assert 7 not in disk.recover().tree.sessions


def test_a_fallback_needs_its_logs(disk: Disk) -> None:
    disk.break_snapshot("snapshot.14")
    disk.remove("log.b")
    disk.refuses(
        r"log\.15 continues with 0x15 .*, but snapshot\.a ends at 0xa "
        r"\(snapshot\.14 is damaged\): 0xb to 0x14 are missing\. Put the missing files"
    )


def test_a_fallback_may_not_end_before_the_damaged_snapshot(disk: Disk) -> None:
    disk.break_snapshot("snapshot.14")
    disk.remove("log.15", "log.b")
    disk.refuses(r"snapshot\.14 is damaged, and snapshot\.a .* leads to 0xa only: 0xb to 0x14 are")


def test_no_readable_snapshot_is_refused(disk: Disk) -> None:
    for name in ("snapshot.14", "snapshot.a", "snapshot.0"):
        disk.break_snapshot(name)
    disk.refuses("no snapshot can be used")


def test_an_incomplete_snapshot_is_passed_over_and_still_proves_its_zxid(disk: Disk) -> None:
    disk.rewrite("snapshot.14", lambda content: content[:-1])
    recovered = disk.recover()
    assert recovered.snapshot is not None
    assert recovered.snapshot.name == "snapshot.a"
    assert "snapshot.14 is incomplete and passed over" in recovered.warnings[0]
    disk.remove("log.15", "log.b")
    disk.refuses(r"snapshot\.14 is damaged, and snapshot\.a .* leads to 0xa only: 0xb to 0x14 are")


def test_incomplete_snapshots_alone_are_refused(disk: Disk) -> None:
    disk.rewrite("snapshot.14", lambda content: content[:-1])
    disk.rewrite("snapshot.a", lambda _: b"")
    disk.rewrite("snapshot.0", lambda content: content[:-1])
    disk.refuses(r"holds log\.15 but .* holds no valid snapshot \(snapshot\.14 is incomplete\)")


def test_a_snapshot_above_all_logs(disk: Disk) -> None:
    disk.remove("log.15")
    assert disk.recover().tree.last_zxid == 20
    disk.remove("log.b", "log.1")
    assert disk.recover().tree.last_zxid == 20


def test_a_gap_behind_the_snapshot_is_refused(disk: Disk) -> None:
    disk.remove("log.15", "snapshot.14")
    disk.recover()
    write_log(disk.fs, disk.config, [disk.txns[23]])
    disk.refuses(r"log\.17 continues with 0x17 at offset 16, but the record before it is 0x14")
    disk.remove("log.b")
    disk.refuses(r"log\.17 continues with 0x17 at offset 16, but snapshot\.a ends at 0xa: 0xb to")


def test_a_gap_between_records_is_refused(disk: Disk) -> None:
    write_log(disk.fs, disk.config, [disk.txns[21], disk.txns[23]])
    disk.refuses("log.15 continues with 0x17 .* the record before it is 0x15: 0x16 to 0x16 are")


def test_repeated_records_are_skipped(disk: Disk) -> None:
    copied = disk.fs.read(LOG_DIR / "log.15")
    disk.rewrite("log.15.bak", lambda _: copied)
    recovered = disk.recover()
    assert recovered.replayed == 10
    assert "log.15.bak repeats 0x15 at offset 16: skipped" in recovered.warnings


def test_a_new_epoch_begins_with_its_first_transaction(disk: Disk) -> None:
    for epoch in (1, 7):
        txn = disk.history.next(epoch=epoch)
        disk.states[txn.zxid] = described(disk.history.tree)
        write_log(disk.fs, disk.config, [txn])
        assert disk.recover().warnings == []
    txn = disk.history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), zxid=0x8_0000_0005)
    write_log(disk.fs, disk.config, [txn])
    disk.refuses(
        r"log\.800000005 continues with 0x800000005 .* the record before it is 0x700000001: "
        r"0x800000001 to 0x800000004 are missing"
    )


def test_a_hole_that_a_leaders_snapshot_covers(disk: Disk) -> None:
    """A member that was synchronised by SNAP never logged what the snapshot brought."""
    for zxid in range(0x2_0000_0001, 0x2_0000_0005):
        disk.history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), zxid=zxid)
    disk.states[disk.history.tree.last_zxid] = described(disk.history.tree)
    write_snapshot(disk.fs, disk.config, disk.history.tree)
    write_log(disk.fs, disk.config, [disk.add()])
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 0x2_0000_0005
    assert recovered.warnings == []
    disk.break_snapshot("snapshot.200000004")
    disk.refuses(
        r"the record before it is 0x1e \(snapshot\.200000004 is damaged\): "
        r"0x200000001 to 0x200000004 are missing"
    )


def test_a_snapshot_of_a_new_epoch_without_transactions(disk: Disk) -> None:
    """As a learner of the reference writes it after a SNAP: named epoch << 32."""
    tree = disk.history.tree
    tree.last_zxid = 0x3_0000_0000
    disk.states[tree.last_zxid] = described(tree)
    write_snapshot(disk.fs, disk.config, tree)
    assert disk.recover().tree.last_zxid == 0x3_0000_0000
    txn = disk.add()
    assert txn.zxid == 0x3_0000_0001
    write_log(disk.fs, disk.config, [txn])
    assert disk.recover().warnings == []


@pytest.mark.parametrize("tail", [b"\x00" * 300, b"\x01" * 11, frame(b"x" * 60)[:-1]])
def test_torn_tails_end_a_file_and_the_next_continues(disk: Disk, tail: bytes) -> None:
    disk.rewrite("log.b", lambda content: content + tail)
    assert disk.recover().tree.last_zxid == 30
    disk.rewrite("log.15", lambda content: content + tail)
    assert disk.recover().tree.last_zxid == 30


@pytest.mark.parametrize("size", range(16))
def test_a_newest_log_without_its_header_is_removed(disk: Disk, size: int) -> None:
    disk.rewrite("log.1f", lambda _: FILE_HEADER[:size])
    recovered = disk.recover()
    assert recovered.warnings == [f"removed /logs/version-2/log.1f: {size} bytes, no record"]
    assert not disk.fs.exists(LOG_DIR / "log.1f")
    assert disk.recover().warnings == []


@pytest.mark.parametrize("name", ["log.b", "log.1"])
def test_an_older_log_without_its_header_is_damage(disk: Disk, name: str) -> None:
    disk.remove("snapshot.14", "snapshot.a")
    disk.rewrite(name, lambda _: b"")
    disk.refuses(rf"{name} is damaged at offset 0: 0 bytes are no file header")


@pytest.mark.parametrize("content", [b"garbage", b"GARBAGEGARBAGEGARBAGE"])
def test_a_newest_log_with_another_content_is_damage(disk: Disk, content: bytes) -> None:
    disk.rewrite("log.1f", lambda _: content)
    disk.refuses(r"log\.1f is damaged at offset 0")


def test_a_log_with_a_header_only(disk: Disk) -> None:
    disk.rewrite("log.1f", lambda _: FILE_HEADER)
    assert disk.recover().tree.last_zxid == 30


def test_damage_in_files_that_are_not_needed_does_not_matter(disk: Disk) -> None:
    disk.rewrite("log.1", lambda _: b"garbage")
    disk.break_snapshot("snapshot.0")
    assert disk.recover().warnings == []


def test_a_wrong_checksum_names_file_and_offset(disk: Disk) -> None:
    disk.fs.corrupt(LOG_DIR / "log.15", 40)
    disk.refuses(r"log\.15 is damaged at offset 16: the checksum")


def test_an_impossible_transaction_names_file_and_offset(disk: Disk) -> None:
    unknown = Txn(1, 1, 31, 0, 99, SetDataTxn(b"/", b"", 1), None)
    ttl = Txn(1, 1, 31, 0, OpCode.CREATE_TTL, CreateTtlTxn(b"/t", b"", None, 1, 0), None)
    path = Txn(1, 1, 31, 0, OpCode.CREATE, CreateTxn(None, b"", None, False, 1), None)
    for txn in (unknown, ttl, path):
        txn.encode()
        write_log(disk.fs, disk.config, [txn])
        disk.refuses(r"log\.1f holds an impossible transaction 0x1f at offset 16")
    disk.rewrite("log.1f", lambda _: FILE_HEADER + frame(b"short"))
    disk.refuses(r"log\.1f is damaged at offset 16: 5 bytes are no transaction")


def test_a_directory_that_cannot_be_read(disk: Disk) -> None:
    for after in range(8):
        disk.fs.fail("read", after=after)
        with pytest.raises(StorageError, match=r"reading .* failed: Input/output error"):
            disk.recover()
    assert disk.recover().tree.last_zxid == 30


def test_digests_that_differ_are_counted_and_stop_nothing(disk: Disk) -> None:
    wrong = [disk.add(), disk.add(), disk.add()]
    for txn in wrong[:2]:
        assert txn.digest is not None or txn.kind == OpCode.ERROR
        txn.digest = 1
        txn.encode()
    write_log(disk.fs, disk.config, wrong)
    recovered = recover(disk.fs, disk.config, extended_types=True)
    assert recovered.tree.last_zxid == 33
    kinds = [txn.kind for txn in wrong[:2]]
    assert recovered.digest_mismatches == 2 - kinds.count(OpCode.ERROR)
    assert recovered.warnings[0].startswith("the tree digest differs from the one recorded by")


def fuzzy_snapshot(disk: Disk, at: int, ahead: int) -> int:
    """A snapshot named 30, whose digest section stands at 30 + ahead."""
    stream = snapshot.encode(disk.history.tree)
    writer = SnapshotStore(disk.fs, disk.config).create(disk.history.tree.last_zxid)
    writer.write(next(stream))
    txns = [disk.add() for _ in range(ahead)]
    for piece in stream:
        writer.write(piece)
    writer.commit()
    write_log(disk.fs, disk.config, txns[:at])
    return at


def test_a_snapshots_digest_is_compared_where_it_holds() -> None:
    disk = Disk()
    fuzzy_snapshot(disk, 6, 6)
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 36
    assert recovered.pending_digest is None
    assert recovered.warnings == []


@pytest.mark.parametrize("more", [False, True])
def test_a_snapshot_that_is_ahead_of_its_digest(disk: Disk, more: bool) -> None:
    """The reference may write a znode of the transaction that is just being applied."""
    tree = disk.history.tree
    stream = snapshot.encode(tree)
    writer = SnapshotStore(disk.fs, disk.config).create(tree.last_zxid)
    writer.write(next(stream))
    txn = disk.add()
    while txn.digest is None or disk.states[30]["digest"] == txn.digest:
        txn = disk.add()
    tree.last_zxid = 30
    for piece in stream:
        writer.write(piece)
    writer.commit()
    tree.last_zxid = txn.zxid
    if more:
        write_log(disk.fs, disk.config, [disk.txns[zxid] for zxid in range(31, txn.zxid + 1)])
        assert disk.recover().warnings == []
    else:
        recovered = recover(disk.fs, disk.config, extended_types=True)
        assert recovered.digest_mismatches == 1
        assert "the one recorded by the snapshot at 0x1e" in recovered.warnings[0]


def test_digests_of_a_mixture_are_not_kept() -> None:
    """0x80 lies between the name of the snapshot and its digest: the tree is fuzzy there."""
    disk = Disk()
    before = [disk.add() for _ in range(120 - 30)]
    write_log(disk.fs, disk.config, before)
    fuzzy_snapshot(disk, 140, 140)
    history = disk.recover().tree.digest_history
    assert [zxid for zxid, _ in history if 120 < zxid < 260] == []
    assert disk.history.tree.last_zxid == 260


def test_a_log_that_ends_before_the_snapshots_digest() -> None:
    disk = Disk()
    fuzzy_snapshot(disk, 3, 6)
    recovered = recover(disk.fs, disk.config, extended_types=True)
    assert recovered.tree.last_zxid == 33
    assert recovered.digest_mismatches == 0
    assert recovered.pending_digest is not None
    assert recovered.pending_digest.zxid == 36
    assert recovered.is_cut_short
    assert "the log ends at 0x21, although snapshot.1e held 0x24" in recovered.warnings[0]


def test_without_digests_the_last_section_tells_that_the_log_ends_too_early() -> None:
    disk = Disk(digest_enabled=False)
    disk.history.tree.digests = False
    fuzzy_snapshot(disk, 3, 6)
    recovered = recover(disk.fs, disk.config, extended_types=True)
    assert recovered.pending_digest is None
    assert "the log ends at 0x21, although snapshot.1e held 0x24" in recovered.warnings[0]


def test_an_epoch_that_began_while_a_snapshot_was_written_is_in_no_log(disk: Disk) -> None:
    tree = disk.history.tree
    stream = snapshot.encode(tree)
    writer = SnapshotStore(disk.fs, disk.config).create(tree.last_zxid)
    writer.write(next(stream))
    tree.last_zxid = 1 << 32
    for piece in stream:
        writer.write(piece)
    writer.commit()
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 30
    assert not recovered.is_cut_short
    assert recovered.warnings == []


def test_digests_switched_off(disk: Disk) -> None:
    config = configured(digest_enabled=False)
    tree = recover(disk.fs, config, extended_types=True).tree
    assert (tree.digests, tree.digest) == (False, 0)
    write_snapshot(disk.fs, config, tree)
    # The other way round, Apache would refuse; here the sections speak for themselves.
    recovered = disk.recover()
    assert recovered.snapshot is not None
    assert recovered.snapshot.name == "snapshot.1e"


# Without a snapshot


def empty(**settings: Any) -> tuple[MemoryFileSystem, StorageConfig]:
    fs = MemoryFileSystem(Random(1))
    fs.mkdir(DATA)
    fs.mkdir(LOGS)
    return fs, configured(**settings)


def test_a_fresh_directory_asks_for_its_first_snapshot() -> None:
    fs, config = empty()
    recovered = recover(fs, config, extended_types=False)
    assert recovered.needs_initial_snapshot
    assert recovered.tree.last_zxid == 0
    assert recovered.tree.digest == 1371985504
    assert save_initial(fs, config, recovered.tree) == "snapshot.0"
    assert not recover(fs, config, extended_types=False).needs_initial_snapshot


@pytest.mark.parametrize("marked", [False, True])
def test_an_empty_directory_is_trusted_only_when_somebody_says_so(marked: bool) -> None:
    fs, config = empty(db_autocreate=False)
    if marked:
        fs.create(INITIALIZE)
    recovered = recover(fs, config, extended_types=False)
    assert recovered.needs_initial_snapshot is marked
    assert recovered.tree.last_zxid == (0 if marked else -1)
    if marked:
        # A crash before the first snapshot must not lose the mark.
        assert recover(fs, config, extended_types=False).needs_initial_snapshot
        save_initial(fs, config, recovered.tree)
    assert not fs.exists(INITIALIZE)


def test_the_mark_is_used_up_by_every_start(disk: Disk) -> None:
    disk.fs.create(INITIALIZE)
    disk.recover()
    assert not disk.fs.exists(INITIALIZE)


def test_logs_without_a_snapshot_need_the_operators_word(disk: Disk) -> None:
    disk.remove("snapshot.0", "snapshot.a", "snapshot.14")
    disk.refuses(r"holds log\.15 but /data/version-2 holds no valid snapshot\. Put")
    disk.config = configured(snapshot_trust_empty=True)
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 30
    assert recovered.needs_initial_snapshot
    disk.remove("log.1")
    disk.refuses(r"log\.b continues with 0xb at offset 16, but the record before it is 0x0")


def test_an_empty_log_counts_as_none() -> None:
    fs, config = empty()
    recover(fs, config, extended_types=False)
    fs.create(LOG_DIR / "log.1")
    assert recover(fs, config, extended_types=False).needs_initial_snapshot
    assert fs.listdir(LOG_DIR) == []


# Kinds of znodes, codecs, the reference's own bytes


def test_ttl_znodes_are_ephemerals_where_extended_types_are_off(disk: Disk) -> None:
    txn = disk.history.apply(OpCode.CREATE_TTL, CreateTtlTxn(b"/ttl", b"", None, 99, 3600000))
    disk.states[31] = described(disk.history.tree)
    write_log(disk.fs, disk.config, [txn])
    disk.recover()
    for step in range(2):
        tree = recover(disk.fs, disk.config, extended_types=False).tree
        owner = tree.nodes[b"/ttl"].stored_owner()
        assert owner == 0xFF0000000036EE80 - (1 << 64)
        assert b"/ttl" in tree.ephemerals[owner], step
        write_snapshot(disk.fs, disk.config, disk.history.tree)
    assert drop_orphans(tree) > 0
    assert b"/ttl" not in tree.nodes


def test_orphans_go_without_a_transaction() -> None:
    history = History(Random(5))
    for session in (5, 6):
        history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), session)
        history.apply(OpCode.CREATE, CreateTxn(b"/e%d" % session, b"", None, True, -1), session)
    tree = history.tree
    del tree.sessions[5]
    assert drop_orphans(tree) == 1
    assert drop_orphans(tree) == 0
    assert b"/e5" not in tree.nodes
    assert b"/e6" in tree.nodes
    assert tree.last_zxid == 4
    assert tree.digest == tree.compute_digest()
    assert tree.events == []


@pytest.mark.parametrize("codec", SnapshotCodec)
def test_every_codec(codec: SnapshotCodec) -> None:
    disk = Disk(snapshot_codec=codec)
    recovered = disk.recover()
    assert recovered.snapshot is not None
    assert recovered.snapshot.name == f"snapshot.14.{codec}".rstrip(".")
    for damage in (lambda content: content[:-20], lambda content: content[:40]):
        disk.rewrite(recovered.snapshot.name, damage)
        again = disk.recover()
        assert again.snapshot is not None
        assert again.snapshot.zxid == 10


def test_the_log_of_the_reference_is_replayed() -> None:
    header, *blocks = golden("storage-log.hex")
    fs, config = empty()
    save_initial(fs, config, recover(fs, config, extended_types=True).tree)
    fs.create(LOG_DIR / "log.1").write(header + b"".join(blocks[:2]) + bytes(1000), 0)
    recovered = recover(fs, config, extended_types=True)
    assert recovered.tree.digest == 4486507549
    assert recovered.tree.sessions == {0x1000017FCE80000: 10000}
    assert recovered.tree.nodes[b"/a"].data == b"hello"
    assert recovered.digest_mismatches == 0
