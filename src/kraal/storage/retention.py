"""Deleting the snapshots and logs that nothing needs any more.

As the reference's purge (reference/storage-formats.md section 4.7) with differences: a snapshot
counts as retained only when its last seal holds and its name is not in doubt, nothing is
deleted before the retained ones are synced, and names without a zxid are left alone, where the
reference deletes them. What a leader's history took the place of goes with what is as old.
Beyond the reference, age and size decide as well as the count.

`plan` reads whole snapshots and may take long; `carry_out` is short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath

from kraal.model.config import StorageConfig
from kraal.model.limits import SNAP_RETAIN_MIN, SNAP_RETAIN_MIN_BY_SIZE
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing, sync_file
from kraal.storage.log_reader import list_logs
from kraal.storage.names import LOG, REPLACED, SNAPSHOT, Named, needed_logs, zxid_of
from kraal.storage.snapshot_store import SnapshotStore, held_instead, is_doubtful

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge deleted, in that order, and the oldest zxid a start can go back to."""

    deleted: list[PurePath]
    oldest_zxid: int | None


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What is kept, newest first, and what may go."""

    retained: list[Named]
    snapshots: list[PurePath] = field(default_factory=list)
    logs: list[PurePath] = field(default_factory=list)
    missing: int = 0
    """How many sound snapshots there are too few to delete anything."""

    @property
    def deletable(self) -> list[PurePath]:
        return self.snapshots + self.logs

    @property
    def oldest_zxid(self) -> int | None:
        return self.retained[-1].zxid if self.retained else None


def purge(
    fs: FileSystem, config: StorageConfig, retain: int | None = None, *, now_s: float = 0.0
) -> Purged:
    """`plan` and `carry_out` in one go, for whoever has the directory for himself."""
    return carry_out(fs, config, plan(fs, config, retain, now_s=now_s))


def plan(
    fs: FileSystem, config: StorageConfig, retain: int | None = None, *, now_s: float = 0.0
) -> PurgePlan:
    """Keep the newest sound snapshots and the logs behind the oldest of them.

    `snap_retain_count` (or `retain`) of them are kept, and beyond it those that
    `retain_hours` needs at `now_s`, the time of the system's clock. What is more than
    `retain_bytes` then is not kept, down to two snapshots. Changes nothing; reads whole
    snapshots, unless there is nothing to delete whether they are sound or not. Raises
    StorageError.
    """
    count = max(SNAP_RETAIN_MIN, config.snap_retain_count if retain is None else retain)
    store = SnapshotStore(fs, config)
    # Nothing that appears meanwhile is deleted: a leader's snapshot may lie below all others.
    named, logs = store.named(), list_logs(fs, Layout.of(config).logs)
    believed = _chosen(fs, config, named, logs, count, now_s, lambda _found: True)
    if believed is None or not believed.deletable:
        # Damaged ones among them would only keep more.
        return believed or PurgePlan(named, missing=count - len(named))

    def is_sound(found: Named) -> bool:
        if not store.looks_valid(found) or (ending := store.ending(found)) is None:
            return False
        return held_instead(found, ending) is None and not is_doubtful(found, ending)

    chosen = _chosen(fs, config, named, logs, count, now_s, is_sound)
    if chosen is None:
        sound = [found for found in named if is_sound(found)]
        return PurgePlan(sound, missing=count - len(sound))
    return chosen


def carry_out(fs: FileSystem, config: StorageConfig, chosen: PurgePlan) -> Purged:
    """Delete what a plan says, if all that it keeps is still there.

    The server may log and write snapshots meanwhile; it may not cut its log or adopt a leader's
    snapshot. Raises StorageError; what was deleted by then was not needed.
    """
    layout = Layout.of(config)
    paths = [layout.snapshots / found.name for found in chosen.retained]
    for path in paths:
        with failing("looking for", path):
            if not fs.exists(path):  # a leader's history came between
                return Purged([], None)
    if not chosen.deletable:
        return Purged([], chosen.oldest_zxid)
    for path in paths:
        with failing("syncing", path):
            sync_file(fs, path)
    with failing("syncing", layout.snapshots):
        fs.sync_directory(layout.snapshots)
    # Snapshots first: one without its logs would stop a start that has to fall back to it.
    deleted = _delete(fs, chosen.snapshots) + _delete(fs, chosen.logs)
    return Purged(deleted, chosen.oldest_zxid)


def _chosen(
    fs: FileSystem,
    config: StorageConfig,
    named: list[Named],
    logs: list[Named],
    count: int,
    now_s: float,
    is_sound: Callable[[Named], bool],
) -> PurgePlan | None:
    """The plan that follows when these snapshots are sound; None: there are too few of them."""
    retained: list[Named] = []
    horizon_s = now_s - config.retain_hours * SECONDS_PER_HOUR
    for found in named:
        if len(retained) >= count and not _is_younger(fs, config, retained[-1], horizon_s):
            break
        if is_sound(found):
            retained.append(found)
    sound = len(retained)
    if config.retain_bytes > 0:
        while (
            len(retained) > SNAP_RETAIN_MIN_BY_SIZE
            and _bytes(fs, config, retained, logs) > config.retain_bytes
        ):
            retained.pop()
    if sound == len(retained) < count:
        return None
    oldest = retained[-1].zxid
    layout = Layout.of(config)
    needed = needed_logs(logs, oldest + 1)
    older = [layout.snapshots / found.name for found in reversed(named) if found.zxid < oldest]
    behind = [layout.logs / log.name for log in logs if log not in needed]
    return PurgePlan(
        retained,
        snapshots=older + _replaced(fs, layout.snapshots, SNAPSHOT, oldest),
        logs=behind + _replaced(fs, layout.logs, LOG, oldest),
    )


def _is_younger(fs: FileSystem, config: StorageConfig, found: Named, horizon_s: float) -> bool:
    """Whether the snapshot does not lead back to the horizon: an older one is needed, too."""
    if config.retain_hours <= 0:
        return False
    path = Layout.of(config).snapshots / found.name
    with failing("reading", path):
        return fs.modified_s(path) > horizon_s


def _bytes(fs: FileSystem, config: StorageConfig, retained: list[Named], logs: list[Named]) -> int:
    """What the snapshots and the logs behind the oldest of them take on the disk."""
    layout = Layout.of(config)
    paths = [layout.snapshots / found.name for found in retained]
    paths += [layout.logs / log.name for log in needed_logs(logs, retained[-1].zxid + 1)]
    total = 0
    for path in paths:
        with failing("measuring", path):
            total += fs.used_bytes(path)
    return total


def _replaced(fs: FileSystem, directory: PurePath, kind: str, oldest: int) -> list[PurePath]:
    """What a leader's history took the place of, below `oldest`."""
    with failing("listing", directory):
        names = [name for name in fs.listdir(directory) if name.startswith(REPLACED)]
    zxids = [(zxid_of(name.removeprefix(REPLACED), kind), name) for name in names]
    return [directory / name for zxid, name in zxids if zxid is not None and zxid < oldest]


def _delete(fs: FileSystem, paths: list[PurePath]) -> list[PurePath]:
    for path in paths:
        with failing("deleting", path):
            fs.unlink(path)
    if paths:
        with failing("syncing", paths[0].parent):
            fs.sync_directory(paths[0].parent)
    return paths
