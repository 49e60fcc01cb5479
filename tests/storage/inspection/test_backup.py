"""What counts as a backup, and a restore that is interrupted."""

from __future__ import annotations

import json
from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import CorruptError, StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import make
from kraal.storage.data_dir import VERSION_DIR
from kraal.storage.inspection import backup, doctor
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from tests.storage.inspection.support import (
    CONFIG,
    LAST_ZXID,
    MIDDLE_LOG,
    MIDDLE_SNAPSHOT,
    NEWEST_LOG,
    NEWEST_SNAPSHOT,
    Disk,
    build,
)
from tests.storage.support import SNAPSHOT_DIR, History, described, write_log

EMPTY, REFUSED = 0, -1
BACKUP = PurePath("/backup")
FILE = backup.BackedUp("snapshot.0", 1, "")
TARGET = StorageConfig(data_dir=PurePath("/new"), data_log_dir=PurePath("/new"))


def test_a_restore_that_is_killed_never_leaves_more_than_was_asked_for() -> None:
    disk, until = Disk(), make(2, 24)
    disk.fs.unlink(NEWEST_SNAPSHOT)
    backup.create(disk.fs, CONFIG, BACKUP, created="now")
    made = backup.verify(disk.fs, BACKUP)
    reached: list[int] = []

    def killed(kind: str, path: PurePath) -> None:
        if kind in ("rename", "sync_directory") and path.is_relative_to(TARGET.data_dir):
            reached.append(start(disk.fs.killed()))

    disk.fs.hook = killed
    backup.fill(disk.fs, made, TARGET, until=until)
    disk.fs.hook = None
    assert set(reached) <= {EMPTY, REFUSED, until}
    assert REFUSED in reached
    assert start(disk.fs) == until


def start(fs: MemoryFileSystem) -> int:
    try:
        return recover(fs, TARGET, extended_types=True).tree.last_zxid
    except StorageError:
        return REFUSED


def test_a_restore_ends_where_it_should() -> None:
    disk, until = Disk(), make(2, 24)
    before = backup.create(disk.fs, CONFIG, BACKUP, created="now")
    made = backup.verify(disk.fs, BACKUP)
    assert backup.fill(disk.fs, made, TARGET, until=until) == until
    assert recover(disk.fs, TARGET, extended_types=True).tree.last_zxid == until
    assert backup.verify(disk.fs, BACKUP).manifest == before, "the backup is as it was"


def test_only_files_of_the_manifest_count() -> None:
    disk = Disk()
    own = backup.create(disk.fs, CONFIG, BACKUP, created="now")
    other = MemoryFileSystem(Random(2))
    build(other, StorageConfig(data_dir=BACKUP, data_log_dir=BACKUP), seed=8)
    build_on(other, 3)
    for name in other.listdir(BACKUP / VERSION_DIR):
        if name not in {one.name for one in own.files}:
            disk.put(BACKUP / VERSION_DIR / name, other.read(BACKUP / VERSION_DIR / name))
    mixed = backup.verify(disk.fs, BACKUP)
    assert {path.name for path in mixed.strangers} > {"log.300000001", "acceptedEpoch"}
    assert described(backup.state(mixed)) == disk.whole
    assert backup.fill(disk.fs, mixed, TARGET) == LAST_ZXID
    assert described(recover(disk.fs, TARGET, extended_types=True).tree) == disk.whole
    found = doctor.examine(disk.fs, StorageConfig(data_dir=BACKUP, data_log_dir=BACKUP))
    assert found.outcome.zxid == LAST_ZXID
    assert set(found.report.kinds()) == {"not-in-manifest"}


def build_on(fs: MemoryFileSystem, epoch: int) -> None:
    """A log of a later epoch, which a start on the directory would take."""
    config = StorageConfig(data_dir=BACKUP, data_log_dir=BACKUP)
    history = History(Random(epoch), recover(fs, config, extended_types=True).tree)
    write_log(fs, config, [history.next(epoch=epoch) for _ in range(3)])


def test_a_snapshot_whose_name_is_not_its_own_is_left_out() -> None:
    disk = Disk()
    disk.put(SNAPSHOT_DIR / "snapshot.20000001e", disk.content(MIDDLE_SNAPSHOT))
    made = backup.create(disk.fs, CONFIG, BACKUP, created="now")
    assert (made.snapshot, made.last) == (NEWEST_SNAPSHOT.name, LAST_ZXID)
    assert described(backup.state(backup.verify(disk.fs, BACKUP))) == disk.whole


@pytest.mark.parametrize("which", [MIDDLE_LOG, NEWEST_LOG], ids=["middle", "newest"])
def test_a_manifest_without_one_of_its_logs_is_not_whole(which: PurePath) -> None:
    disk = Disk()
    disk.fs.unlink(NEWEST_SNAPSHOT)
    disk.fs.unlink(MIDDLE_SNAPSHOT)
    made = backup.create(disk.fs, CONFIG, BACKUP, created="now")
    left = [one for one in made.files if one.name != which.name]
    assert len(left) == len(made.files) - 1
    disk.fs.unlink(BACKUP / VERSION_DIR / which.name)
    disk.put(BACKUP / backup.MANIFEST, made.with_files(left).text().encode())
    with pytest.raises(CorruptError, match=r"not whole|are missing"):
        backup.verify(disk.fs, BACKUP)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("last_zxid", '"zz"'), ("last_zxid", "5"), ("first_zxid", "null"),
        ("first_zxid", '"0x-5"'), ("first_zxid", '"0x5_0"'), ("last_zxid", '"0x11111111111111111"'),
        ("files", "5"), ("files", "[5]"), ("files", "[]"), ("created", "[]"), ("snapshot", "{}"),
        ("format", "[" * 100_000), ("format", "1" * 5000), ("other", "1"),
        ("files", '[{"name": "../log.1", "size": 1, "sha256": ""}]'),
        ("files", '[{"name": "log.1", "size": 1e400, "sha256": ""}]'),
        ("files", '[{"name": "log.1", "size": -1, "sha256": ""}]'),
        ("files", '[{"name": "log.1\\u0000", "size": 1, "sha256": ""}]'),
        ("files", '[{"name": "log.1", "size": 1, "sha256": null}]'),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(key: str, value: str) -> None:
    made = backup.Manifest("now", "/data", "snapshot.0", "0x0", "0x5", (FILE,))
    whole = json.loads(made.text())
    assert backup.Manifest.parse(made.text().encode(), BACKUP) == made
    whole[key] = "here"
    content = json.dumps(whole).replace('"here"', value).encode()
    with pytest.raises(CorruptError, match=r"no manifest|is not known"):
        backup.Manifest.parse(content, BACKUP)
