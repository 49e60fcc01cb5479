"""A restore that is interrupted."""

from __future__ import annotations

from pathlib import PurePath

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import make
from kraal.storage.inspection import backup
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from tests.storage.inspection.support import CONFIG, NEWEST_SNAPSHOT, Disk

EMPTY, REFUSED = 0, -1
BACKUP = PurePath("/backup")
TARGET = StorageConfig(data_dir=PurePath("/new"), data_log_dir=PurePath("/new"))


def test_a_restore_that_is_killed_never_leaves_more_than_was_asked_for() -> None:
    disk, until = Disk(), make(2, 24)
    disk.fs.unlink(NEWEST_SNAPSHOT)
    backup.create(disk.fs, CONFIG, BACKUP, created="now")
    reached: list[int] = []

    def killed(kind: str, path: PurePath) -> None:
        if kind in ("rename", "sync_directory") and path.is_relative_to(TARGET.data_dir):
            reached.append(start(disk.fs.killed()))

    disk.fs.hook = killed
    backup.restore(disk.fs, BACKUP, TARGET, until=until)
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
    assert backup.restore(disk.fs, BACKUP, TARGET, until=until) == until
    assert recover(disk.fs, TARGET, extended_types=True).tree.last_zxid == until
    assert backup.verify(disk.fs, BACKUP) == before, "the backup is as it was"
