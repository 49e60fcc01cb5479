"""Damage of every kind, made on purpose: each is found, named and, where it can be, mended.

The table says what is done to a sound directory, what the examination must call it, whether a
server still starts on it, and what comes of mending: everything that was ever acknowledged, or
words about what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import PurePath

import pytest

from kraal.errors import StorageError
from kraal.model.zxid import make
from kraal.storage import epochs
from kraal.storage.inspection import repair
from kraal.storage.inspection.doctor import examine
from kraal.storage.inspection.findings import Severity
from kraal.storage.inspection.overlay import Overlay
from kraal.storage.log_format import FRAME, frame
from kraal.storage.names import BEFORE_REPAIR, SNAPSHOT, zxid_of
from kraal.storage.recovery import recover, recover_until
from kraal.tree.apply import apply
from kraal.tree.snapshot import encode
from kraal.wire.records.txn import HEADER, Txn
from tests.storage.inspection.support import (
    CONFIG,
    FIRST_LOG,
    MIDDLE_LOG,
    MIDDLE_SNAPSHOT,
    NEWEST_LOG,
    NEWEST_SNAPSHOT,
    OLD_LOG,
    Disk,
)
from tests.storage.support import DATA, LOG_DIR, LOGS, SNAPSHOT_DIR, described


class Start(Enum):
    """What a server does on the damaged directory."""

    WHOLE = auto()
    """Starts, with everything that was acknowledged."""
    WRONG = auto()
    """Starts, and shows another tree; the digests tell."""
    SHORT = auto()
    """Starts without what follows the damage, as a crash may leave such bytes, too."""
    REFUSED = auto()


class Mended(Enum):
    """What the repair leads to."""

    WHOLE = auto()
    """A start with everything, and nothing left to find but notes."""
    TOLD = auto()
    """Nothing offline can mend it; the finding says what to do."""
    HARMLESS = auto()
    """There is nothing to mend."""


@dataclass(frozen=True)
class Damage:
    name: str
    make: Callable[[Disk], None]
    kind: str
    severity: Severity
    start: Start
    mended: Mended


def torn_tail(disk: Disk) -> None:
    """A record more, of which only a part arrived."""
    content = disk.content(NEWEST_LOG)
    disk.put(NEWEST_LOG, content + frame(disk.txns[-1].payload)[:-9])


def torn_in_padding(disk: Disk) -> None:
    torn_tail(disk)
    disk.put(NEWEST_LOG, disk.content(NEWEST_LOG) + bytes(5000))


def torn_in_the_middle(disk: Disk) -> None:
    """A server was killed, started again, and gave the zxid to another transaction."""
    content = disk.content(MIDDLE_LOG)
    disk.put(MIDDLE_LOG, content + frame(disk.txns[-1].payload)[:-1] + bytes(3000))


def only_a_length(disk: Disk) -> None:
    disk.put(NEWEST_LOG, disk.content(NEWEST_LOG) + FRAME.pack(0x1234, 50))


def _zero(path: str, size: int) -> Callable[[Disk], None]:
    def make_(disk: Disk) -> None:
        disk.put(LOG_DIR / path, disk.content(FIRST_LOG)[:size])

    return make_


def header_only(disk: Disk) -> None:
    disk.put(LOG_DIR / "log.20000001f", disk.content(FIRST_LOG)[:16])


def no_log(disk: Disk) -> None:
    disk.put(LOG_DIR / "log.20000001f", b"PK\3\4 an archive, say")


def archived_log(disk: Disk) -> None:
    disk.put(LOG_DIR / "log.1.gz", b"\x1f\x8b\x08\0 not a log")


def wiped_header(disk: Disk) -> None:
    content = bytearray(disk.content(NEWEST_LOG))
    content[:4] = bytes(4)
    disk.put(NEWEST_LOG, bytes(content))


def _flipped(
    path: str, record: int, where: Callable[[int, int], int], bit: int = 3
) -> Callable[[Disk], None]:
    def make_(disk: Disk) -> None:
        offset, payload = disk.records(LOG_DIR / path)[record]
        disk.flip(LOG_DIR / path, offset + where(FRAME.size, len(payload)), bit)

    return make_


def in_content(head: int, size: int) -> int:
    return head + size // 2


def in_session(head: int, _size: int) -> int:
    return head + 5


def in_zxid(head: int, _size: int) -> int:
    return head + 19


def in_checksum(_head: int, _size: int) -> int:
    return 6


def in_unused_checksum(_head: int, _size: int) -> int:
    return 1


def in_length(_head: int, _size: int) -> int:
    return 11


def in_large_length(_head: int, _size: int) -> int:
    return 9


def in_sign_of_length(_head: int, _size: int) -> int:
    return 8


def in_end(head: int, size: int) -> int:
    return head + size


def overwritten(disk: Disk) -> None:
    """A sector of something else within a record."""
    offset, _ = disk.records(NEWEST_LOG)[3]
    content = bytearray(disk.content(NEWEST_LOG))
    content[offset + 20 : offset + 40] = b"a piece of something"
    disk.put(NEWEST_LOG, bytes(content))


def zeroed_record(disk: Disk) -> None:
    """A page that never reached the disk, and later ones that did."""
    records = disk.records(NEWEST_LOG)
    content = bytearray(disk.content(NEWEST_LOG))
    content[records[2][0] + 6 : records[4][0]] = bytes(records[4][0] - records[2][0] - 6)
    disk.put(NEWEST_LOG, bytes(content))


def unknown_type(disk: Disk) -> None:
    payloads = [payload for _, payload in disk.records(NEWEST_LOG)]
    head = list(HEADER.unpack_from(payloads[-1]))
    head[4] = 99
    disk.write_records(NEWEST_LOG, [*payloads[:-1], HEADER.pack(*head)])


def cut_transaction(disk: Disk) -> None:
    payloads = [payload for _, payload in disk.records(NEWEST_LOG)]
    disk.write_records(NEWEST_LOG, [*payloads[:-1], payloads[-1][:30]])


def missing_log(disk: Disk) -> None:
    disk.fs.unlink(NEWEST_SNAPSHOT)
    disk.fs.unlink(MIDDLE_LOG)


def missing_old_log(disk: Disk) -> None:
    disk.fs.unlink(OLD_LOG)


def missing_record(disk: Disk) -> None:
    payloads = [payload for _, payload in disk.records(NEWEST_LOG)]
    disk.write_records(NEWEST_LOG, payloads[:3] + payloads[4:])


def swapped_records(disk: Disk) -> None:
    payloads = [payload for _, payload in disk.records(NEWEST_LOG)]
    payloads[3], payloads[4] = payloads[4], payloads[3]
    disk.write_records(NEWEST_LOG, payloads)


def epoch_without_its_begin(disk: Disk) -> None:
    """The records of an epoch begin at its fifth transaction."""
    payloads = []
    for _, payload in disk.records(NEWEST_LOG):
        head = list(HEADER.unpack_from(payload))
        head[2] = make(3, head[2] & 0xFFFF)
        payloads.append(HEADER.pack(*head) + payload[HEADER.size :])
    disk.write_records(LOG_DIR / "log.30000001f", payloads)


def other_history(disk: Disk) -> None:
    """A log of another member, or of another ensemble: it says again what is known."""
    payloads = [payload for _, payload in disk.records(OLD_LOG)][:8]
    disk.write_records(LOG_DIR / "log.20000001f", payloads)


def copied_log(disk: Disk) -> None:
    disk.put(LOG_DIR / f"{MIDDLE_LOG.name}.bak", disk.content(MIDDLE_LOG))


def log_with_a_high_name(disk: Disk) -> None:
    disk.fs.rename(MIDDLE_LOG, LOG_DIR / "log.2000000ff")


def log_with_a_low_name(disk: Disk) -> None:
    disk.fs.rename(NEWEST_LOG, LOG_DIR / "log.200000015")


def stray_name(disk: Disk) -> None:
    disk.put(LOG_DIR / "log.old", b"")


def torn_snapshot(disk: Disk) -> None:
    disk.fs.truncate(NEWEST_SNAPSHOT, disk.fs.size(NEWEST_SNAPSHOT) - 30)


def torn_old_snapshot(disk: Disk) -> None:
    disk.fs.truncate(MIDDLE_SNAPSHOT, 100)


def empty_snapshot(disk: Disk) -> None:
    disk.fs.truncate(NEWEST_SNAPSHOT, 0)


def flipped_snapshot(disk: Disk) -> None:
    disk.flip(NEWEST_SNAPSHOT, 200)


def foreign_snapshot(disk: Disk) -> None:
    content = disk.content(NEWEST_SNAPSHOT)
    disk.put(NEWEST_SNAPSHOT, b"ZKLG" + content[4:])


def torn_gzip(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "snapshot.200000015.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3\x01\2")


def torn_snappy(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "snapshot.200000015.snappy", b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\0\0\1\0x")


def tmp_snapshot(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / f"{NEWEST_SNAPSHOT.name}.tmp", disk.content(NEWEST_SNAPSHOT))


def renamed_snapshot(disk: Disk) -> None:
    disk.fs.rename(NEWEST_SNAPSHOT, SNAPSHOT_DIR / "snapshot.200000018")


def renamed_beyond_the_logs(disk: Disk) -> None:
    disk.fs.rename(NEWEST_SNAPSHOT, SNAPSHOT_DIR / "snapshot.7fffffffff")


def copied_beyond_the_logs(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "snapshot.200000023", disk.content(MIDDLE_SNAPSHOT))


def copied_among_older_ones(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "snapshot.200000010", disk.content(SNAPSHOT_DIR / "snapshot.0"))


def renamed_and_needed(disk: Disk) -> None:
    """The logs below it were purged."""
    renamed_snapshot(disk)
    disk.fs.unlink(MIDDLE_LOG)


def renamed_and_alone(disk: Disk) -> None:
    renamed_snapshot(disk)
    for name in ("snapshot.0", "snapshot.10000000f", MIDDLE_SNAPSHOT.name):
        disk.fs.unlink(SNAPSHOT_DIR / name)


def renamed_and_not_provably(disk: Disk) -> None:
    """As before 3.9, nothing but the digest tells."""
    write_newest_snapshot(disk, 0, last_zxid_section=False)
    renamed_snapshot(disk)


def write_newest_snapshot(disk: Disk, ahead: int, *, last_zxid_section: bool = True) -> None:
    """The newest snapshot anew; meanwhile `ahead` more transactions are applied."""
    zxid = zxid_of(NEWEST_SNAPSHOT.name, SNAPSHOT)
    assert zxid is not None
    tree = recover_until(Overlay(disk.fs), CONFIG, zxid, extended_types=True, recent_max=1).tree
    slices = encode(tree, last_zxid_section=last_zxid_section)
    content = next(slices)
    for txn in disk.txns:
        if zxid < txn.zxid <= zxid + ahead:
            apply(tree, Txn.decode(txn.payload))
    disk.put(NEWEST_SNAPSHOT, content + b"".join(slices))


def missing_last_log(disk: Disk) -> None:
    write_newest_snapshot(disk, 4)
    disk.fs.unlink(NEWEST_LOG)


def missing_last_log_of_one_that_is_alone(disk: Disk) -> None:
    missing_last_log(disk)
    for name in (epochs.ACCEPTED_NAME, epochs.CURRENT_NAME):
        disk.fs.unlink(SNAPSHOT_DIR / name)


def damaged_beyond_the_logs(disk: Disk) -> None:
    """The logs behind the last sound snapshot were purged."""
    flipped_snapshot(disk)
    disk.fs.unlink(MIDDLE_LOG)
    disk.fs.unlink(NEWEST_LOG)


def no_snapshot(disk: Disk) -> None:
    for name in disk.fs.listdir(SNAPSHOT_DIR):
        if name.startswith("snapshot"):
            disk.fs.unlink(SNAPSHOT_DIR / name)


def all_snapshots_damaged(disk: Disk) -> None:
    for name in disk.fs.listdir(SNAPSHOT_DIR):
        if name.startswith("snapshot"):
            disk.flip(SNAPSHOT_DIR / name, 50)


def log_among_snapshots(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "log.1", disk.content(FIRST_LOG))


def snapshot_among_logs(disk: Disk) -> None:
    disk.put(LOG_DIR / "snapshot.0", disk.content(SNAPSHOT_DIR / "snapshot.0"))


def broken_promise(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "acceptedEpoch", b"1")


def empty_current_epoch(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "currentEpoch", b"")


def garbled_accepted_epoch(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "acceptedEpoch", b"two")


def old_current_epoch(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "currentEpoch", b"1")


def epoch_in_writing(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "currentEpoch.tmp", b"2")


def garbled_myid(disk: Disk) -> None:
    disk.put(DATA / "myid", b"one\n")


def myid_with_a_blank(disk: Disk) -> None:
    disk.put(DATA / "myid", b"1 \n")


def full_disk(disk: Disk) -> None:
    disk.fs.room_bytes = 1 << 20


def nearly_full_disk(disk: Disk) -> None:
    disk.fs.room_bytes = 100 << 20


def unfinished_file(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "unfinished-snapshot.3", b"torn")


def interrupted_cut(disk: Disk) -> None:
    disk.put(SNAPSHOT_DIR / "cut-history.20000001e", b"")


def forgotten_mark(disk: Disk) -> None:
    disk.put(LOGS / "initialize", b"")


def changed_tree(disk: Disk) -> None:
    """A snapshot of another history, sound in itself."""
    disk.put(NEWEST_SNAPSHOT, Disk(seed=9).content(NEWEST_SNAPSHOT))


NEW, OLDEST = NEWEST_LOG.name, FIRST_LOG.name
W, R = Start.WHOLE, Start.REFUSED
D = Damage
N, A, E = Severity.NOTE, Severity.WARNING, Severity.ERROR
MENDED, TOLD, FINE = Mended.WHOLE, Mended.TOLD, Mended.HARMLESS
WRONG, SHORT = Start.WRONG, Start.SHORT
DAMAGES = [
    # The end of a log.
    D("a torn tail", torn_tail, "torn-tail", N, W, MENDED),
    D("a torn tail before padding", torn_in_padding, "torn-tail", N, W, MENDED),
    D("a torn tail in an older log", torn_in_the_middle, "torn-tail", N, W, MENDED),
    D("a length and nothing else", only_a_length, "torn-tail", N, W, MENDED),
    D("an empty newest log", _zero("log.20000001f", 0), "zero-length-log", N, W, MENDED),
    D("a part of a header, newest", _zero("log.20000001f", 9), "short-log", N, W, MENDED),
    D("an empty log between others", _zero("log.200000015", 0), "zero-length-log", E, R, MENDED),
    D("a part of a header between others", _zero("log.200000015", 15), "short-log", E, R, MENDED),
    D("a header without records", header_only, "empty-log", N, W, FINE),
    # The begin of a log.
    D("a file that is no log", no_log, "foreign-file", E, R, TOLD),
    D("an archived log", archived_log, "foreign-file", E, W, TOLD),
    D("a wiped header", wiped_header, "foreign-file", E, R, TOLD),
    # Bits.
    D("a bit of the content", _flipped(NEW, 2, in_content), "wrong-checksum", E, R, MENDED),
    D("a bit of the last record", _flipped(NEW, -1, in_content), "wrong-checksum", E, R, MENDED),
    D("a bit of the session", _flipped(NEW, 0, in_session, 7), "wrong-checksum", E, R, MENDED),
    D("a bit of the zxid", _flipped(NEW, 4, in_zxid, 1), "wrong-checksum", E, R, MENDED),
    D("a bit of the checksum", _flipped(NEW, 4, in_checksum), "wrong-checksum", E, R, MENDED),
    D("a bit before it", _flipped(NEW, 4, in_unused_checksum), "wrong-checksum", E, R, MENDED),
    D("a bit of the length", _flipped(NEW, 3, in_length), "wrong-length", E, R, MENDED),
    D("a bit that makes it large", _flipped(NEW, 3, in_large_length), "wrong-length", E, R, MENDED),
    D("a length's sign", _flipped(NEW, 3, in_sign_of_length, 7), "wrong-length", E, R, MENDED),
    D("a bit of an end byte", _flipped(NEW, 2, in_end), "lost-end-byte", E, R, MENDED),
    D("a bit in an old log", _flipped(OLDEST, 2, in_content), "wrong-checksum", E, W, MENDED),
    # More than bits.
    D("overwritten bytes", overwritten, "wrong-checksum", E, R, TOLD),
    D("lost pages within a log", zeroed_record, "unreadable-rest", E, SHORT, TOLD),
    D("an unknown type", unknown_type, "impossible-transaction", E, R, TOLD),
    D("a cut transaction", cut_transaction, "impossible-transaction", E, R, TOLD),
    # Which records are there.
    D("a missing log", missing_log, "hole", E, R, TOLD),
    D("a missing old log", missing_old_log, "covered-hole", A, W, FINE),
    D("a missing record", missing_record, "hole", E, R, TOLD),
    D("a member's missing last log", missing_last_log, "missing-end", A, SHORT, TOLD),
    D("a missing last log", missing_last_log_of_one_that_is_alone, "missing-end", E, SHORT, TOLD),
    D("records in another order", swapped_records, "hole", E, R, TOLD),
    D("an epoch without its begin", epoch_without_its_begin, "hole", E, R, TOLD),
    D("records of another history", other_history, "repeated-records", A, W, FINE),
    # Names.
    D("a copy of a log", copied_log, "copied-log", A, W, MENDED),
    D("a log with a higher name", log_with_a_high_name, "misnamed-log", E, R, MENDED),
    D("a log with a lower name", log_with_a_low_name, "misnamed-log", A, W, MENDED),
    D("a name without a zxid", stray_name, "stray-name", A, W, FINE),
    # Snapshots.
    D("a torn snapshot", torn_snapshot, "torn-snapshot", A, W, FINE),
    D("a torn older snapshot", torn_old_snapshot, "torn-snapshot", A, W, MENDED),
    D("an empty snapshot", empty_snapshot, "zero-length-snapshot", A, W, FINE),
    D("a bit of a snapshot", flipped_snapshot, "damaged-snapshot", A, W, FINE),
    D("a snapshot that is none", foreign_snapshot, "damaged-snapshot", A, W, FINE),
    D("a torn gz snapshot", torn_gzip, "damaged-snapshot", A, W, FINE),
    D("a torn snappy snapshot", torn_snappy, "damaged-snapshot", A, W, FINE),
    D("a copy of a snapshot", tmp_snapshot, "copied-snapshot", A, W, MENDED),
    D("a renamed snapshot", renamed_snapshot, "misnamed-snapshot", E, W, MENDED),
    D("renamed beyond the logs", renamed_beyond_the_logs, "misnamed-snapshot", E, R, MENDED),
    D("copied beyond the logs", copied_beyond_the_logs, "misnamed-snapshot", E, R, MENDED),
    D("copied among older ones", copied_among_older_ones, "misnamed-snapshot", A, W, MENDED),
    D("a renamed one that is needed", renamed_and_needed, "misnamed-snapshot", E, R, TOLD),
    D("a renamed one that is alone", renamed_and_alone, "misnamed-snapshot", E, R, TOLD),
    D("a snapshot that may be renamed", renamed_and_not_provably, "doubtful-name", A, WRONG, TOLD),
    D("a damaged snapshot beyond the logs", damaged_beyond_the_logs, "start-refused", E, R, TOLD),
    D("no snapshot", no_snapshot, "start-refused", E, R, TOLD),
    D("no sound snapshot", all_snapshots_damaged, "damaged-snapshot", A, R, TOLD),
    D("a snapshot of another history", changed_tree, "digest-mismatch", A, WRONG, TOLD),
    # Directories.
    D("a log among snapshots", log_among_snapshots, "mixed-directories", E, R, TOLD),
    D("a snapshot among logs", snapshot_among_logs, "mixed-directories", E, R, TOLD),
    D("an unfinished file", unfinished_file, "unfinished-file", N, W, FINE),
    D("an interrupted change", interrupted_cut, "interrupted-change", N, W, FINE),
    D("a forgotten mark", forgotten_mark, "initialize-mark", N, W, FINE),
    # Epochs and ids.
    D("a lost promise", broken_promise, "lost-promise", E, R, TOLD),
    D("an empty currentEpoch", empty_current_epoch, "bad-epoch", E, R, MENDED),
    D("a garbled acceptedEpoch", garbled_accepted_epoch, "bad-epoch", E, R, TOLD),
    D("an old currentEpoch", old_current_epoch, "old-epoch", A, W, FINE),
    D("an epoch in writing", epoch_in_writing, "unfinished-epoch", N, W, FINE),
    D("a myid that is no number", garbled_myid, "bad-myid", E, W, TOLD),
    D("a myid with a blank", myid_with_a_blank, "bad-myid", E, W, TOLD),
    # Room.
    D("a full disk", full_disk, "disk-full", E, W, TOLD),
    D("a nearly full disk", nearly_full_disk, "disk-full", A, W, TOLD),
]  # fmt: skip


def test_a_sound_directory_has_no_findings() -> None:
    disk = Disk()
    found = examine(disk.fs, CONFIG)
    assert found.report.findings == []
    assert found.outcome.recovered is not None
    assert described(found.outcome.recovered.tree) == disk.whole


def start(disk: Disk) -> dict[str, object] | None:
    """What a member that starts on a copy has; None: it refuses."""
    copy = disk.fs.killed()
    try:
        recovered = recover(copy, CONFIG, extended_types=True)
        epochs.load(copy, CONFIG, recovered.tree.last_zxid)
    except StorageError:
        return None
    return described(recovered.tree)


def files(disk: Disk) -> dict[PurePath, bytes]:
    return {
        directory / name: disk.content(directory / name)
        for directory in (SNAPSHOT_DIR, LOG_DIR)
        for name in disk.fs.listdir(directory)
    }


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_it_is_found_named_and_mended(damage: Damage) -> None:
    disk = Disk()
    damage.make(disk)
    before = files(disk)
    found = examine(disk.fs, CONFIG)
    assert files(disk) == before, "an examination changes nothing"
    by_kind = {finding.kind: finding for finding in found.report.findings}
    assert damage.kind in by_kind, found.report.findings
    finding = by_kind[damage.kind]
    assert finding.severity is damage.severity, finding
    started = start(disk)
    if damage.start is Start.REFUSED:
        assert started is None
    else:
        assert (started == disk.whole) == (damage.start is Start.WHOLE)
    mends = found.report.mends
    if damage.mended is Mended.WHOLE:
        assert finding.mend in mends
        repair.carry_out(disk.fs, CONFIG, mends)
        assert start(disk) == disk.whole, "an acknowledged write was lost"
        again = examine(disk.fs, CONFIG)
        assert again.report.severity is N, again.report.findings
        assert set(again.report.kinds()) <= {"kept-file"}
        kept = [path for path in files(disk) if path.name.startswith(BEFORE_REPAIR)]
        for path in kept:
            original = path.with_name(path.name.removeprefix(BEFORE_REPAIR))
            assert disk.content(path) == before[original]
        assert found.mended is not None
        assert found.mended.recovered is not None
        assert described(found.mended.recovered.tree) == disk.whole
    elif damage.mended is Mended.TOLD:
        assert finding.mend is None
        assert any(one.remedy for one in found.report.findings), finding
    else:
        assert finding.mend is None
        assert started == disk.whole


def test_there_are_many_kinds() -> None:
    assert len({damage.make for damage in DAMAGES}) >= 60
    assert len({damage.kind for damage in DAMAGES}) >= 30
