"""A data directory that the commands are tried on, and the commands in this process."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from click.testing import CliRunner, Result

from kraal.cli.main import main
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.recovery import recover
from kraal.tree.data_tree import DataTree
from tests.storage.inspection.support import build

FS = OsFileSystem()
OK, WARNINGS, USAGE, DAMAGED = 0, 1, 2, 3


def kraal(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="kraal")


def json_of(*arguments: object) -> Any:
    result = kraal(*arguments, "--output", "json")
    return json.loads(result.stdout)


class Written:
    """A data directory on the disk, and what it leads to."""

    def __init__(
        self, directory: Path, codec: SnapshotCodec = SnapshotCodec.NONE, *, seed: int = 3
    ) -> None:
        self.path = directory
        self.config = StorageConfig(
            data_dir=PurePath(directory),
            data_log_dir=PurePath(directory),
            snapshot_codec=codec,
            pre_alloc_bytes=0,
        )
        self.tree, self.txns = build(FS, self.config, seed=seed)
        self.version_2 = directory / "version-2"

    def recovered(self) -> DataTree:
        return recover(FS, self.config, extended_types=True).tree

    def flip(self, name: str, offset: int, bits: int = 8) -> None:
        content = bytearray((self.version_2 / name).read_bytes())
        content[offset] ^= bits
        (self.version_2 / name).write_bytes(bytes(content))


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
