"""Giving up history for a leader's, in one step as far as any start can tell.

A member that is brought in step loses the end of its history (TRUNC) or all of it (SNAP). Many
files change then, so one name makes the change valid, before any file is touched:

- `cut-history.<zxid>`: what lies above zxid is not ours any more;
- `adopted-snapshot.<zxid>`, a complete snapshot: it is all that is ours.

Without the name a start finds the old state, untouched. With it a start first completes the
change, as often as it takes: each step may be repeated, and the name goes last. It is gone for
good before anything new is written, so no later record can fall to it.

Whole files are not deleted but renamed to `replaced-…`: an operator may still want them when
the leader's history was the wrong one. A purge deletes them in its time. All logs go for an
adopted snapshot, those below it too: they may end with transactions that no leader knows, and
nothing in them tells. Older snapshots stay; without their logs nothing is built on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

from kraal.model.config import StorageConfig
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_reader import cut_file, list_logs
from kraal.storage.names import REPLACED, SNAPSHOT, Named, needed_logs, pick, zxid_of
from kraal.storage.snapshot_store import SnapshotWriter

_CUT = "cut-history."
_ADOPTED = "adopted-"
_CUT_NAME = re.compile(re.escape(_CUT) + "[0-9a-f]{1,16}")


def cut(fs: FileSystem, config: StorageConfig, zxid: int, fuzzy: Iterable[Named] = ()) -> None:
    """Give up everything above `zxid`, which a start can reach without it.

    `fuzzy` are snapshots of earlier names that must not be used either. Raises StorageError; a
    later start completes then what was begun.
    """
    directory = Layout.of(config).snapshots
    # Before the name: without them the old state can be reached as well.
    _set_aside(fs, directory, fuzzy)
    path = directory / f"{_CUT}{zxid:x}"
    with failing("creating", path):
        fs.create(path).close()
        fs.sync_directory(directory)
    _complete_cut(fs, config, path.name)


def adopting(fs: FileSystem, config: StorageConfig, zxid: int) -> SnapshotWriter:
    """Write a snapshot named after `zxid` that replaces everything once it is committed.

    No log may be open and no other snapshot in writing when it is. After a failed commit the
    directory may not be used before another start.
    """
    return _AdoptedSnapshotWriter(fs, config, zxid)


class _AdoptedSnapshotWriter(SnapshotWriter):
    def __init__(self, fs: FileSystem, config: StorageConfig, zxid: int) -> None:
        super().__init__(fs, Layout.of(config).snapshots, zxid, config.snapshot_codec)
        self._config = config

    def _publish(self) -> None:
        adopted = self._directory / (_ADOPTED + self.name)
        self._fs.rename(self._path, adopted)
        self._fs.sync_directory(self._directory)
        _complete_adoption(self._fs, self._config, adopted.name)


def complete(fs: FileSystem, config: StorageConfig) -> list[str]:
    """Complete a change that a crash interrupted; returns notes for the operator.

    Raises StorageError.
    """
    directory = Layout.of(config).snapshots
    with failing("listing", directory):
        names = sorted(fs.listdir(directory))
    notes = []
    for name in names:
        if _CUT_NAME.fullmatch(name):
            step, done = _complete_cut, "cut the history"
        elif name.startswith(_ADOPTED) and zxid_of(name[len(_ADOPTED) :], SNAPSHOT) is not None:
            step, done = _complete_adoption, "put a leader's snapshot in the place of the history"
        else:
            continue
        with failing("syncing", directory):
            # A killed process may not have got so far, and the steps rely on the name.
            fs.sync_directory(directory)
        step(fs, config, name)
        notes.append(f"completed {directory / name}: {done}")
    return notes


def _complete_cut(fs: FileSystem, config: StorageConfig, name: str) -> None:
    layout = Layout.of(config)
    zxid = int(name.removeprefix(_CUT), 16)
    snapshots = _snapshots(fs, layout.snapshots)
    _set_aside(fs, layout.snapshots, [found for found in snapshots if found.zxid > zxid])
    logs = needed_logs(list_logs(fs, layout.logs), zxid + 1)
    _set_aside(fs, layout.logs, [log for log in logs if log.zxid > zxid])
    for log in logs:
        if log.zxid <= zxid:
            cut_file(fs, config, layout.logs / log.name, zxid)
    with failing("removing", layout.snapshots / name):
        fs.unlink(layout.snapshots / name)
        fs.sync_directory(layout.snapshots)


def _complete_adoption(fs: FileSystem, config: StorageConfig, name: str) -> None:
    layout = Layout.of(config)
    final = name.removeprefix(_ADOPTED)
    zxid = zxid_of(final, SNAPSHOT)
    assert zxid is not None
    # Of the same zxid, too: another codec gives another name. The same name is overwritten.
    snapshots = [found for found in _snapshots(fs, layout.snapshots) if found.zxid >= zxid]
    _set_aside(fs, layout.snapshots, [found for found in snapshots if found.name != final])
    _set_aside(fs, layout.logs, list_logs(fs, layout.logs))
    with failing("renaming", layout.snapshots / name):
        fs.rename(layout.snapshots / name, layout.snapshots / final)
        fs.sync_directory(layout.snapshots)


def _snapshots(fs: FileSystem, directory: PurePath) -> list[Named]:
    with failing("listing", directory):
        return pick(fs.listdir(directory), SNAPSHOT)


def _set_aside(fs: FileSystem, directory: PurePath, files: Iterable[Named]) -> None:
    """Durably, also what was renamed before and not synced: a killed process leaves that."""
    for file in files:
        with failing("renaming", directory / file.name):
            fs.rename(directory / file.name, directory / (REPLACED + file.name))
    with failing("syncing", directory):
        fs.sync_directory(directory)
