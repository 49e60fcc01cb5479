"""Which directory a tool was pointed at, and how its files are to be read."""

from __future__ import annotations

from pathlib import PurePath

from kraal.errors import DataDirError
from kraal.model.config import StorageConfig
from kraal.storage import retention
from kraal.storage.data_dir import LOCK_NAME, VERSION_DIR, Layout
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_reader import list_logs
from kraal.storage.retention import Purged, PurgePlan

EXTENDED_TYPES = True
"""Tools take an owner of TTL shape for a TTL: no session id looks like one."""


def located(
    fs: FileSystem, directory: PurePath, log_directory: PurePath | None = None
) -> StorageConfig:
    """The configuration of a data directory, named as in zoo.cfg or by its `version-2`.

    Raises DataDirError when there is none.
    """
    data = _without_version(directory)
    logs = data if log_directory is None else _without_version(log_directory)
    config = StorageConfig(data_dir=data, data_log_dir=logs)
    layout = Layout.of(config)
    for place in dict.fromkeys((layout.snapshots, layout.logs)):
        with failing("reading", place):
            if not fs.exists(place.parent):
                raise DataDirError(f"{place.parent} does not exist")
            if not fs.exists(place):
                below = place.parent / "data"
                hint = f"; {below} is one" if fs.exists(below / VERSION_DIR) else ""
                raise DataDirError(
                    f"{place.parent} is no data directory: it has no {VERSION_DIR}{hint}"
                )
    return config


def is_data_directory(fs: FileSystem, directory: PurePath) -> bool:
    """Whether it is one, by its name or by what is in it."""
    return directory.name == VERSION_DIR or fs.exists(directory / VERSION_DIR)


def local() -> FileSystem:
    """The file system of this machine."""
    return OsFileSystem()


def log_paths(fs: FileSystem, config: StorageConfig) -> list[PurePath]:
    """The logs of a directory in their order."""
    directory = Layout.of(config).logs
    return [directory / log.name for log in list_logs(fs, directory)]


def directories(config: StorageConfig) -> list[PurePath]:
    """Where snapshots and logs are: one directory, or two."""
    layout = Layout.of(config)
    return list(dict.fromkeys((layout.snapshots, layout.logs)))


def plan_purge(fs: FileSystem, config: StorageConfig, now_s: float) -> PurgePlan:
    """What the settings of `config` would delete now. Raises StorageError."""
    return retention.plan(fs, config, now_s=now_s)


def carry_out_purge(fs: FileSystem, config: StorageConfig, chosen: PurgePlan) -> Purged:
    """Delete it. Raises StorageError."""
    return retention.carry_out(fs, config, chosen)


def _without_version(directory: PurePath) -> PurePath:
    return directory.parent if directory.name == VERSION_DIR else directory


def is_in_use(fs: FileSystem, config: StorageConfig) -> bool:
    """Whether a kraal server runs on the directory; Apache ZooKeeper leaves no trace of that."""
    for directory in dict.fromkeys((config.data_dir, config.data_log_dir)):
        path = directory / LOCK_NAME
        with failing("reading", path):
            if not fs.exists(path):
                continue
            held = fs.lock(path)
        if held is None:
            return True
        held.release()
    return False
