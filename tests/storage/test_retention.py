"""What a purge deletes, and what it must never delete."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import StorageError
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from kraal.storage.retention import purge
from tests.storage.support import (
    LOG_DIR,
    SNAPSHOT_DIR,
    History,
    configured,
    described,
    write_log,
    write_snapshot,
)

CONFIG = configured()


class Disk:
    """Snapshots at 0, 10, ... 50, and logs that begin two transactions behind each.

    The record that trips the threshold stays in the old file (section 4.5), and one more.
    """

    def __init__(self) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.history = History(Random(2), recover(self.fs, CONFIG, extended_types=True).tree)
        txns = []
        for zxid in range(56):
            if zxid % 10 == 0:
                write_snapshot(self.fs, CONFIG, self.history.tree)
            txns.append(self.history.next())
            if zxid % 10 == 1 and zxid > 1:
                write_log(self.fs, CONFIG, txns)
                txns = []
        write_log(self.fs, CONFIG, txns)

    def snapshots(self) -> list[int]:
        return sorted(int(name.split(".")[1], 16) for name in self.fs.listdir(SNAPSHOT_DIR))

    def logs(self) -> list[int]:
        return sorted(int(name.split(".")[1], 16) for name in self.fs.listdir(LOG_DIR))

    def put(self, path: PurePath, content: bytes = b"") -> None:
        self.fs.create(path).write(content, 0)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_the_newest_snapshots_and_the_logs_behind_them_stay(disk: Disk) -> None:
    assert disk.snapshots() == [0, 10, 20, 30, 40, 50]
    assert disk.logs() == [1, 13, 23, 33, 43, 53]
    purged = purge(disk.fs, CONFIG)
    assert disk.snapshots() == [30, 40, 50]
    assert disk.logs() == [23, 33, 43, 53]
    assert [path.name for path in purged.deleted] == [
        "snapshot.0", "snapshot.a", "snapshot.14", "log.1", "log.d",
    ]  # fmt: skip
    assert purged.oldest_zxid == 30
    assert purge(disk.fs, CONFIG).deleted == []


def test_a_start_from_each_retained_snapshot_still_works(disk: Disk) -> None:
    purge(disk.fs, CONFIG)
    for zxid in (50, 40, 30):
        recovered = recover(disk.fs, CONFIG, extended_types=True)
        assert recovered.snapshot is not None
        assert recovered.snapshot.zxid == zxid
        assert described(recovered.tree) == described(disk.history.tree)
        disk.fs.unlink(SNAPSHOT_DIR / f"snapshot.{zxid:x}")


@pytest.mark.parametrize(("asked", "kept"), [(0, 3), (3, 3), (5, 5), (7, 6)])
def test_three_snapshots_stay_at_least(disk: Disk, asked: int, kept: int) -> None:
    purge(disk.fs, configured(snap_retain_count=asked))
    assert len(disk.snapshots()) == kept
    disk = Disk()
    purge(disk.fs, CONFIG, asked)
    assert len(disk.snapshots()) == kept


def test_damaged_snapshots_do_not_count(disk: Disk) -> None:
    disk.fs.corrupt(SNAPSHOT_DIR / "snapshot.32", 60)
    disk.fs.truncate(SNAPSHOT_DIR / "snapshot.1e", 100)
    purged = purge(disk.fs, CONFIG)
    assert purged.oldest_zxid == 10
    assert disk.snapshots() == [10, 20, 30, 40, 50]
    assert disk.logs() == [1, 13, 23, 33, 43, 53]


def test_with_too_few_sound_snapshots_everything_stays(disk: Disk) -> None:
    for name in ("snapshot.32", "snapshot.28", "snapshot.1e", "snapshot.14"):
        disk.fs.corrupt(SNAPSHOT_DIR / name, 60)
    assert purge(disk.fs, CONFIG).deleted == []


def test_names_without_a_zxid_are_left_alone(disk: Disk) -> None:
    strays = [SNAPSHOT_DIR / "snapshot.zzz", LOG_DIR / "log.old", LOG_DIR / "notes.txt"]
    for stray in strays:
        disk.put(stray)
    disk.put(LOG_DIR / "log.1.bak")
    purge(disk.fs, CONFIG)
    assert all(disk.fs.exists(stray) for stray in strays)
    # A live file for either server, and not needed any more.
    assert not disk.fs.exists(LOG_DIR / "log.1.bak")


def test_nothing_goes_before_the_retained_ones_are_synced(disk: Disk) -> None:
    seen: list[str] = []
    disk.fs.hook = lambda kind, path: seen.append(f"{kind} {path.name}")
    purge(disk.fs, CONFIG)
    first = next(at for at, step in enumerate(seen) if step.startswith("unlink"))
    assert seen[:first] == [
        "sync snapshot.32", "sync snapshot.28", "sync snapshot.1e", "sync_directory version-2",
    ]  # fmt: skip
    disk = Disk()
    for kind in ("sync", "sync_directory"):
        disk.fs.fail(kind)
        with pytest.raises(StorageError, match="syncing"):
            purge(disk.fs, CONFIG)
        assert len(disk.snapshots()) == len(disk.logs()) == 6


def test_a_power_failure_while_purging() -> None:
    for step in range(9):
        disk = Disk()
        disk.fs.fail("unlink" if step < 5 else "sync_directory", after=step % 5 % 3)
        with suppress(StorageError):
            purge(disk.fs, CONFIG)
        for _ in range(4):
            crashed = disk.fs.crash()
            tree = recover(crashed, CONFIG, extended_types=True).tree
            assert described(tree) == described(disk.history.tree)
