"""What a purge deletes, and what it must never delete."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from kraal.storage.retention import carry_out, plan, purge
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

    def __init__(self, config: StorageConfig = CONFIG) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.history = History(Random(2), recover(self.fs, config, extended_types=True).tree)
        txns = []
        for zxid in range(56):
            if zxid % 10 == 0:
                write_snapshot(self.fs, config, self.history.tree)
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


@pytest.mark.parametrize("last_zxid_section", [True, False])
def test_snapshots_whose_names_are_not_theirs_do_not_count(last_zxid_section: bool) -> None:
    config = configured(serialize_last_processed_zxid=last_zxid_section)
    disk = Disk(config)
    for name in ("snapshot.37", "snapshot.36"):
        disk.put(SNAPSHOT_DIR / name, disk.fs.read(SNAPSHOT_DIR / "snapshot.a"))
    assert purge(disk.fs, config).oldest_zxid == 30
    assert disk.snapshots() == [30, 40, 50, 54, 55]
    assert disk.logs() == [23, 33, 43, 53]


def test_with_too_few_sound_snapshots_everything_stays(disk: Disk) -> None:
    for name in ("snapshot.32", "snapshot.28", "snapshot.1e", "snapshot.14"):
        disk.fs.corrupt(SNAPSHOT_DIR / name, 60)
    assert purge(disk.fs, CONFIG).deleted == []
    assert plan(disk.fs, CONFIG).missing == 1


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


def test_age_keeps_what_leads_back_so_far() -> None:
    hour = 3600.0
    config = configured(retain_hours=10)
    disk = Disk()
    # Of snapshots 0 to 50: 9 hours old, 8, ... 4; then of one that is 11 hours old.
    for hours, name in enumerate(("0", "a", "14", "1e", "28", "32")):
        disk.fs._inode(SNAPSHOT_DIR / f"snapshot.{name}").modified_s = hours * hour
    assert purge(disk.fs, config, now_s=9 * hour).deleted == []
    purge(disk.fs, config, now_s=11.5 * hour)
    # The one of hour 1 was written before the horizon, so it leads back to it.
    assert disk.snapshots() == [10, 20, 30, 40, 50]
    assert disk.logs() == [1, 13, 23, 33, 43, 53]
    purge(disk.fs, config, now_s=100 * hour)
    assert disk.snapshots() == [30, 40, 50]


def test_bytes_are_a_bound_on_all_that_is_kept() -> None:
    disk = Disk()
    sizes = {name: disk.fs.size(SNAPSHOT_DIR / name) for name in disk.fs.listdir(SNAPSHOT_DIR)}
    sizes |= {name: disk.fs.size(LOG_DIR / name) for name in disk.fs.listdir(LOG_DIR)}
    three = ("snapshot.1e", "snapshot.28", "snapshot.32", "log.17", "log.21", "log.2b", "log.35")
    bound = sum(sizes[name] for name in three)
    purge(disk.fs, configured(retain_bytes=bound, snap_retain_count=5))
    assert disk.snapshots() == [30, 40, 50]
    purge(disk.fs, configured(retain_bytes=bound - 1, snap_retain_count=5))
    assert disk.snapshots() == [40, 50]
    # Two stay, whatever they take.
    assert purge(disk.fs, configured(retain_bytes=1)).deleted == []
    assert described(recover(disk.fs, CONFIG, extended_types=True).tree) == described(
        disk.history.tree
    )


def test_a_plan_is_void_when_a_leaders_history_came_between(disk: Disk) -> None:
    chosen = plan(disk.fs, CONFIG)
    assert chosen.deletable
    disk.fs.rename(SNAPSHOT_DIR / "snapshot.32", SNAPSHOT_DIR / "replaced-snapshot.32")
    assert carry_out(disk.fs, CONFIG, chosen).deleted == []
    assert len(disk.logs()) == 6


def test_nothing_is_read_when_nothing_could_go(disk: Disk) -> None:
    purge(disk.fs, CONFIG)
    disk.fs.fail("read")
    assert plan(disk.fs, CONFIG).deletable == []
