"""Which transactions a learner can get from the log on disk, and when it is not worth it."""

from __future__ import annotations

from random import Random

import pytest

from kraal.storage.history import proposals_since
from kraal.storage.log_format import FILE_HEADER, FRAMING_BYTES, frame
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from kraal.storage.resync import adopt_snapshot
from kraal.wire.records.txn import Txn
from tests.storage.support import (
    LOG_DIR,
    SNAPSHOT_DIR,
    History,
    configured,
    write_log,
    write_snapshot,
)

CONFIG = configured()
ANY_SIZE = 1e9


class Disk:
    """Three logs: 1 to 10, 11 to 20, and epoch 3 with 1 to 5."""

    def __init__(self) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.history = History(Random(2), recover(self.fs, CONFIG, extended_types=True).tree)
        write_snapshot(self.fs, CONFIG, self.history.tree)
        self.txns: list[Txn] = []
        for epoch, count in ((0, 10), (0, 10), (3, 1), (0, 4)):
            self.txns += [self.history.next(epoch=epoch) for _ in range(count)]
        write_log(self.fs, CONFIG, self.txns[:10])
        write_log(self.fs, CONFIG, self.txns[10:20])
        write_log(self.fs, CONFIG, self.txns[20:])

    def since(self, zxid: int, factor: float = ANY_SIZE) -> list[int] | None:
        found = proposals_since(self.fs, CONFIG, zxid, snapshot_size_factor=factor)
        if found is None:
            return None
        payloads = {txn.zxid: txn.payload for txn in self.txns}
        zxids = []
        for at, payload in found:
            assert payload == payloads[at]
            zxids.append(at)
        return zxids

    def rewrite(self, name: str, content: bytes) -> None:
        self.fs.create(LOG_DIR / name).write(content, 0)

    @property
    def zxids(self) -> list[int]:
        return [txn.zxid for txn in self.txns]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.mark.parametrize("at", range(1, 25))
def test_from_the_one_before(disk: Disk, at: int) -> None:
    assert disk.since(disk.zxids[at]) == disk.zxids[at - 1 :]


def test_from_the_first(disk: Disk) -> None:
    assert disk.since(1) == disk.zxids
    assert disk.since(0) is None


def test_where_a_zxid_is_not_in_the_log(disk: Disk) -> None:
    """A new epoch's zero, a transaction that no other has, and one behind the end."""
    assert disk.since(0x3_0000_0000) == disk.zxids[19:]
    assert disk.since(21) == disk.zxids[19:]
    assert disk.since(0x3_0000_0009) == disk.zxids[-1:]
    assert disk.since(0x9_0000_0001) == disk.zxids[-1:]


def test_a_log_that_begins_later(disk: Disk) -> None:
    disk.fs.unlink(LOG_DIR / "log.1")
    assert disk.since(10) is None
    assert disk.since(11) == disk.zxids[10:]
    for name in disk.fs.listdir(LOG_DIR):
        disk.fs.unlink(LOG_DIR / name)
    assert disk.since(11) is None
    disk.rewrite("log.1", FILE_HEADER)
    assert disk.since(11) is None


def test_the_later_files_must_be_small_beside_the_newest_snapshot(disk: Disk) -> None:
    snapshot = disk.fs.size(SNAPSHOT_DIR / "snapshot.0")
    later = disk.fs.size(LOG_DIR / "log.b") + disk.fs.size(LOG_DIR / "log.300000001")
    exact = later / snapshot
    assert disk.since(5, exact * 1.0001) == disk.zxids[3:]
    assert disk.since(5, exact * 0.9999) is None
    # The first file does not count, whatever its size.
    assert disk.since(15, exact * 0.9999) == disk.zxids[13:]
    assert disk.since(0x3_0000_0002, 1e-9) == disk.zxids[20:]
    # Padding counts.
    disk.fs.truncate(LOG_DIR / "log.300000001", 1 << 20)
    assert disk.since(15, exact) is None
    assert disk.since(0x3_0000_0002, 1e-9) == disk.zxids[20:]


def test_a_factor_of_zero_is_no_limit_and_a_negative_one_means_never(disk: Disk) -> None:
    assert disk.since(5, 0.0) == disk.zxids[3:]
    assert disk.since(5, -0.1) is None
    disk.fs.unlink(SNAPSHOT_DIR / "snapshot.0")
    assert disk.since(5, 1e-9) == disk.zxids[3:]


@pytest.mark.parametrize("tail", [b"", bytes(500), frame(b"x" * 60)[:-1]])
def test_torn_tails_end_a_file(disk: Disk, tail: bytes) -> None:
    for name in ("log.b", "log.300000001"):
        disk.rewrite(name, disk.fs.read(LOG_DIR / name) + tail)
    assert disk.since(5) == disk.zxids[3:]


def test_what_is_missing_or_damaged_ends_it(disk: Disk) -> None:
    """The caller sees that it does not reach as far as it should."""
    disk.fs.corrupt(LOG_DIR / "log.b", len(FILE_HEADER) + 30)
    assert disk.since(5) == disk.zxids[3:10]
    assert disk.since(15) is None
    disk.fs.unlink(LOG_DIR / "log.b")
    write_log(disk.fs, CONFIG, disk.txns[12:20])
    assert disk.since(5) == disk.zxids[3:10]
    assert disk.since(12) == disk.zxids[9:10]
    assert disk.since(13) == disk.zxids[12:]
    write_log(disk.fs, CONFIG, disk.txns[10:13])
    assert disk.since(5) == disk.zxids[3:]
    disk.rewrite("log.300000001", FILE_HEADER + frame(disk.txns[21].payload))
    assert disk.since(5) == disk.zxids[3:20]


def test_repeated_records_come_once(disk: Disk) -> None:
    disk.rewrite("log.b.bak", disk.fs.read(LOG_DIR / "log.b"))
    assert disk.since(5) == disk.zxids[3:]


def test_a_file_that_is_purged_meanwhile(disk: Disk) -> None:
    found = proposals_since(disk.fs, CONFIG, 5, snapshot_size_factor=ANY_SIZE)
    assert found is not None
    got = [next(found)[0] for _ in range(3)]
    disk.fs.unlink(LOG_DIR / "log.b")
    assert got + [zxid for zxid, _ in found] == disk.zxids[3:10]


def test_reading_is_lazy(disk: Disk) -> None:
    found = proposals_since(disk.fs, CONFIG, 5, snapshot_size_factor=ANY_SIZE)
    assert found is not None
    next(found)
    disk.fs.fail("read")
    for _ in range(5):
        next(found)  # the window of the first file holds these
    assert disk.since(5) is None


def test_a_disk_that_cannot_be_read(disk: Disk) -> None:
    for after in range(2):
        disk.fs.fail("read", after=after)
        found = disk.since(5)
        assert found is None or found == disk.zxids[3 : 3 + len(found)]


def test_what_is_just_being_written_is_left_out(disk: Disk) -> None:
    txn = disk.history.next()
    path = LOG_DIR / "log.300000001"
    disk.txns.append(txn)
    record = frame(txn.payload)
    at = disk.fs.size(path)
    for size in range(1, FRAMING_BYTES + len(txn.payload)):
        disk.fs.truncate(path, at)
        disk.fs.open(path).write(record[:size], at)
        assert disk.since(20) == disk.zxids[18:-1]


def test_a_leaders_snapshot_between_two_epochs_may_hide_something(disk: Disk) -> None:
    """The reference leaves the log below it, and it may end with what no leader knows."""
    tree = disk.history.tree
    tree.last_zxid = 0x3_0000_0000
    write_snapshot(disk.fs, CONFIG, tree)
    assert disk.since(15) == disk.zxids[13:20]
    assert disk.since(0x3_0000_0000) == disk.zxids[19:20]
    assert disk.since(0x3_0000_0001) == disk.zxids[20:]
    assert disk.since(0x3_0000_0002) == disk.zxids[20:]


def test_nothing_from_before_an_adopted_snapshot(disk: Disk) -> None:
    adopt_snapshot(disk.fs, CONFIG, disk.history.tree)
    assert disk.since(15) is None
    disk.txns += [disk.history.next() for _ in range(3)]
    write_log(disk.fs, CONFIG, disk.txns[-3:])
    assert disk.since(disk.zxids[-4]) is None
    assert disk.since(disk.zxids[-3]) == disk.zxids[-3:]
