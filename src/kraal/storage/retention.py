"""Deleting the snapshots and logs that nothing needs any more.

As the reference's purge (reference/storage-formats.md section 4.7) with three differences:
a snapshot counts as retained only when its last seal holds, nothing is deleted before the
retained ones are synced, and names without a zxid are left alone, where the reference deletes
them. What a leader's history took the place of goes with what is as old.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from kraal.model.config import StorageConfig
from kraal.model.limits import SNAP_RETAIN_MIN
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing, sync_file
from kraal.storage.log_reader import list_logs
from kraal.storage.names import LOG, REPLACED, SNAPSHOT, Named, needed_logs, zxid_of
from kraal.storage.snapshot_store import SnapshotStore


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge deleted, in that order, and the oldest zxid a start can go back to."""

    deleted: list[PurePath]
    oldest_zxid: int | None


def purge(fs: FileSystem, config: StorageConfig, retain: int | None = None) -> Purged:
    """Keep the newest sound snapshots and the logs behind the oldest of them.

    Reads whole snapshots and may take long: call it on a thread of its own. The server may log
    and write snapshots meanwhile; it should not cut its log or adopt a leader's snapshot, under
    which the purge may fail. Raises StorageError; what was deleted by then was not needed.
    """
    count = max(SNAP_RETAIN_MIN, config.snap_retain_count if retain is None else retain)
    layout = Layout.of(config)
    store = SnapshotStore(fs, config)
    # Nothing that appears meanwhile is deleted: a leader's snapshot may lie below all others.
    named, logs = store.named(), list_logs(fs, layout.logs)
    retained: list[Named] = []
    for found in store.valid():
        if store.verify(found):
            retained.append(found)
            if len(retained) == count:
                break
    if len(retained) < count:
        return Purged([], retained[-1].zxid if retained else None)
    for found in retained:
        with failing("syncing", store.directory / found.name):
            sync_file(fs, store.directory / found.name)
    oldest = retained[-1].zxid
    with failing("syncing", store.directory):
        fs.sync_directory(store.directory)
    # Snapshots first: one without its logs would stop a start that has to fall back to it.
    snapshots = [found for found in reversed(named) if found.zxid < oldest]
    deleted = _delete(fs, layout.snapshots, snapshots)
    needed = needed_logs(logs, oldest + 1)
    deleted += _delete(fs, layout.logs, [log for log in logs if log not in needed])
    deleted += _delete(fs, layout.snapshots, _replaced(fs, layout.snapshots, SNAPSHOT, oldest))
    deleted += _delete(fs, layout.logs, _replaced(fs, layout.logs, LOG, oldest))
    return Purged(deleted, oldest)


def _replaced(fs: FileSystem, directory: PurePath, kind: str, oldest: int) -> list[Named]:
    """What a leader's history took the place of, below `oldest`."""
    with failing("listing", directory):
        names = [name for name in fs.listdir(directory) if name.startswith(REPLACED)]
    zxids = [(zxid_of(name.removeprefix(REPLACED), kind), name) for name in names]
    return [Named(zxid, name) for zxid, name in zxids if zxid is not None and zxid < oldest]


def _delete(fs: FileSystem, directory: PurePath, files: list[Named]) -> list[PurePath]:
    deleted = []
    for file in files:
        path = directory / file.name
        with failing("deleting", path):
            fs.unlink(path)
        deleted.append(path)
    if deleted:
        with failing("syncing", directory):
            fs.sync_directory(directory)
    return deleted
