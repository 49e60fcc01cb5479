"""What a command line points at: a data directory, a file of one, a zoo.cfg."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

import click

from kraal.model.config import StorageConfig
from kraal.server.config.file import LoadedConfig, load
from kraal.storage.inspection import file_kind
from kraal.storage.inspection.file_kind import FileKind
from kraal.storage.inspection.target import directories, is_data_directory, local, located

FS = local()
CONFIG_NAME = "zoo.cfg"
_LOOKED_AT_BYTES = 4096
_BINARY = re.compile(rb"[\0-\x08\x0b\x0e-\x1f\x7f]")
"""What stands in no configuration."""
_CALLED = {FileKind.LOG: "transaction log", FileKind.SNAPSHOT: "snapshot"}


def directory_of(path: Path, log_directory: Path | None = None) -> StorageConfig:
    """The data directory that is named, or that a zoo.cfg names.

    Raises click.UsageError for what does not exist, ConfigError, DataDirError.
    """
    for named in (path, log_directory):
        if named is not None and not named.exists():
            raise click.UsageError(f"{named} does not exist")
    if path.is_file():
        return configured(path).config.storage
    if (path / CONFIG_NAME).is_file() and not is_data_directory(FS, PurePath(path)):
        return configured(path / CONFIG_NAME).config.storage
    logs = PurePath(log_directory) if log_directory is not None else None
    return located(FS, PurePath(path), logs)


def configured(path: str | Path, *, server_id: int | None = None) -> LoadedConfig:
    """A zoo.cfg as a server reads it, without the environment.

    `server_id` is whose it is where no `myid` says it. Raises ConfigError, and UsageError for
    what is another file.
    """
    _require_text(Path(path))
    return load(path, defines={}, environment={}, overrides={}, server_id=server_id)


def kind_of(path: Path) -> FileKind | None:
    """What a file is; None: neither a log nor a snapshot. Raises StorageError."""
    return file_kind.file_kind_of(FS, PurePath(path))


def _require_text(path: Path) -> None:
    """UsageError for a file that is no configuration, and says what it is.

    Raises StorageError and OSError.
    """
    if not path.is_file():
        return
    if (kind := kind_of(path)) is not None:
        raise click.UsageError(
            f"{path} is a {_CALLED[kind]}: kraal {kind.value} verify {path} checks it, and kraal"
            f" {kind.value} dump {path} prints it"
        )
    head = FS.read(path, 0, _LOOKED_AT_BYTES)
    if _BINARY.search(head):
        raise click.UsageError(
            f"{path} is neither a log nor a snapshot nor a zoo.cfg: {file_kind.beginning(head[:8])}"
        )


def size_of(*paths: Path | PurePath) -> int:
    """Bytes on the disk of files, and of what lies directly in directories."""
    total = 0
    for path in map(Path, paths):
        try:
            if path.is_dir():
                with os.scandir(path) as entries:
                    total += sum(entry.stat().st_size for entry in entries if entry.is_file())
            else:
                total += path.stat().st_size
        except OSError:
            continue
    return total


def size_of_directory(config: StorageConfig) -> int:
    return size_of(*directories(config))
