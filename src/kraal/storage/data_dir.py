"""The layout of a data directory, and whether a server may use it.

Rules: reference/storage-formats.md section 1. The lock is ours: Apache has none, and two
servers on one directory destroy it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from kraal.errors import DataDirError
from kraal.model.config import StorageConfig
from kraal.storage.interface import FileSystem, Lock, failing
from kraal.storage.names import LOG, SNAPSHOT, UNFINISHED

VERSION_DIR = "version-2"
LOCK_NAME = "kraal.lock"
INITIALIZE_NAME = "initialize"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are: snapshots and epochs, logs, the operator's `initialize` mark."""

    snapshots: PurePath
    logs: PurePath
    initialize: PurePath

    @classmethod
    def of(cls, config: StorageConfig) -> Layout:
        return cls(
            config.data_dir / VERSION_DIR,
            config.data_log_dir / VERSION_DIR,
            config.data_log_dir / INITIALIZE_NAME,
        )


@dataclass(frozen=True, slots=True)
class DirectorySizes:
    """Bytes below each version-2 directory, as `dirs` and `mntr` show them."""

    snapshots: int
    logs: int


class DataDirLock:
    """Both directories locked for this process."""

    def __init__(self, locks: list[Lock]) -> None:
        self._locks = locks

    def release(self) -> None:
        while self._locks:
            self._locks.pop().release()


def prepare(fs: FileSystem, config: StorageConfig) -> Layout:
    """Create what is missing, clear what an earlier run left unfinished, check the content.

    Raises DataDirError for what the reference ends with exit code 3.
    """
    layout = Layout.of(config)
    for directory in dict.fromkeys((layout.snapshots, layout.logs)):
        with failing("creating", directory):
            if not fs.exists(directory):
                _create(fs, config, directory)
    _check_separation(fs, layout)
    for directory in dict.fromkeys((layout.snapshots, layout.logs)):
        with failing("clearing", directory):
            for name in fs.listdir(directory):
                if name.startswith(UNFINISHED):
                    fs.unlink(directory / name)
    return layout


def _create(fs: FileSystem, config: StorageConfig, directory: PurePath) -> None:
    if not config.datadir_autocreate:
        raise DataDirError(f"{directory} is missing and zookeeper.datadir.autocreate is off")
    fs.mkdir(directory)


def _check_separation(fs: FileSystem, layout: Layout) -> None:
    if layout.snapshots == layout.logs:
        return
    for directory, foreign, setting in (
        (layout.snapshots, LOG, "dataDir"),
        (layout.logs, SNAPSHOT, "dataLogDir"),
    ):
        with failing("listing", directory):
            strays = [name for name in fs.listdir(directory) if name.startswith(foreign + ".")]
        if strays:
            raise DataDirError(
                f"{directory} holds {min(strays)}: check the settings dataDir and dataLogDir "
                f"({setting} must not hold {foreign} files)"
            )


def lock(fs: FileSystem, config: StorageConfig) -> DataDirLock:
    """Lock the data directories until release.

    Raises DataDirError while another process has one, or where none can be.
    """
    held = DataDirLock([])
    locks = held._locks
    for directory in dict.fromkeys((config.data_dir, config.data_log_dir)):
        path = directory / LOCK_NAME
        try:
            try:
                if not fs.exists(directory):
                    _create(fs, config, directory)
                taken = fs.lock(path)
            except OSError as error:
                reason = error.strerror or error
                raise DataDirError(f"{directory} cannot be a data directory: {reason}") from error
            if taken is None:
                raise DataDirError(f"{directory} is in use by another server ({path} is locked)")
        except BaseException:
            held.release()
            raise
        locks.append(taken)
    return held


def sizes(fs: FileSystem, config: StorageConfig) -> DirectorySizes:
    layout = Layout.of(config)
    return DirectorySizes(_size(fs, layout.snapshots), _size(fs, layout.logs))


def _size(fs: FileSystem, directory: PurePath) -> int:
    total = 0
    with failing("measuring", directory):
        for name in fs.listdir(directory):
            try:
                total += fs.size(directory / name)
            except FileNotFoundError:  # purged meanwhile
                continue
    return total
