"""A data directory with a history of two epochs, in memory."""

from __future__ import annotations

from pathlib import PurePath
from random import Random

from kraal.model.config import StorageConfig
from kraal.model.zxid import make
from kraal.storage import epochs
from kraal.storage.interface import FileSystem
from kraal.storage.log_format import FILE_HEADER, frame
from kraal.storage.log_reader import scanner
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from kraal.tree.data_tree import DataTree
from kraal.wire.records.txn import Txn
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
NEWEST_LOG = LOG_DIR / "log.200000016"
MIDDLE_LOG = LOG_DIR / "log.20000000c"
OLD_LOG = LOG_DIR / "log.100000011"
FIRST_LOG = LOG_DIR / "log.100000001"
NEWEST_SNAPSHOT = SNAPSHOT_DIR / "snapshot.200000014"
MIDDLE_SNAPSHOT = SNAPSHOT_DIR / "snapshot.20000000a"
LAST_ZXID = make(2, 30)


def build(
    fs: FileSystem, config: StorageConfig = CONFIG, *, seed: int = 3
) -> tuple[DataTree, list[Txn]]:
    """Epochs 1 and 2 with 30 transactions each; snapshots at 0, 1:15, 2:10 and 2:20.

    Logs begin two transactions behind each snapshot: 1:1, 1:17, 2:12 and 2:22.
    """
    start = recover(fs, config, extended_types=True)
    write_snapshot(fs, config, start.tree)
    history = History(Random(seed), start.tree)
    txns: list[Txn] = []
    everything: list[Txn] = []
    for epoch in (1, 2):
        for counter in range(1, 31):
            txns.append(history.next(epoch=epoch))
            everything.append(txns[-1])
            if (epoch, counter) in {(1, 15), (2, 10), (2, 20)}:
                write_snapshot(fs, config, history.tree)
            if (epoch, counter) in {(1, 16), (2, 11), (2, 21), (2, 30)}:
                write_log(fs, config, txns)
                txns = []
    epochs.save_accepted(fs, config, 2)
    epochs.save_current(fs, config, 2)
    return history.tree, everything


class Disk:
    """One such directory and what it must lead to."""

    def __init__(self, *, seed: int = 3) -> None:
        self.fs = MemoryFileSystem(Random(1))
        self.tree, self.txns = build(self.fs, seed=seed)
        self.whole = described(self.tree)

    def content(self, path: PurePath) -> bytes:
        return self.fs.read(path)

    def put(self, path: PurePath, content: bytes) -> None:
        file = self.fs.create(path)
        if content:
            file.write(content, 0)
        file.sync_data()
        self.fs.sync_directory(path.parent)

    def records(self, path: PurePath) -> list[tuple[int, bytes]]:
        """Offset and payload of each record."""
        return list(scanner(self.fs, path, CONFIG))

    def write_records(self, path: PurePath, payloads: list[bytes]) -> None:
        self.put(path, FILE_HEADER + b"".join(map(frame, payloads)))

    def flip(self, path: PurePath, offset: int, bit: int = 3) -> None:
        self.fs.corrupt(path, offset, 1 << bit)

    def recovered(self) -> dict[str, object]:
        return described(recover(self.fs, CONFIG, extended_types=True).tree)
