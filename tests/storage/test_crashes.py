"""A power failure at every step of a server's life, again and again.

After each operation that changes the disk, what a power failure would leave at that moment is
recovered, several times with different losses. It must hold every acknowledged transaction
and nothing that was never submitted: its tree is the one after some prefix of the history,
and the prefix is no shorter than what was acknowledged. Now and then an operation fails: the
process ends, and nothing that it had not acknowledged before may have been.
"""

from __future__ import annotations

from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import StorageError
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.storage.data_dir import prepare
from kraal.storage.log_format import FILE_HEADER_BYTES
from kraal.storage.log_reader import list_logs
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import Recovered, recover, save_initial
from kraal.storage.retention import purge
from kraal.storage.snapshot_store import SnapshotStore, SnapshotWriter
from kraal.storage.txn_log import TxnLog
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.wire.records.txn import Txn
from tests.storage.support import LOG_DIR, SNAPSHOT_DIR, History, configured

FAILING = ("create", "write", "write", "sync", "sync", "rename", "sync_directory", "unlink", "read")
Brief = tuple[int, int, frozenset[int], int]


def brief(tree: DataTree) -> Brief:
    """Enough of a tree to tell it from those before and after it."""
    return tree.last_zxid, signed(tree.digest), frozenset(tree.sessions), len(tree.nodes)


class Server:
    """One server on a disk that fails: it logs, acknowledges, snapshots and purges."""

    def __init__(self, rng: Random, config: StorageConfig) -> None:
        self.rng = rng
        self.config = config
        self.fs = MemoryFileSystem(Random(rng.random()))
        self.submitted: dict[int, Brief] = {0: brief(DataTree.pristine())}
        self.acknowledged = 0
        self.checked = 0
        self.failed = 0
        self.begin()

    def begin(self) -> None:
        """Start from what the disk holds; everything behind it was never acknowledged."""
        self.fs.hook = self.look
        recovered = self.recovered(self.fs)
        if recovered.needs_initial_snapshot:
            save_initial(self.fs, self.config, recovered.tree)
        last = recovered.tree.last_zxid
        self.history = History(Random(self.rng.random()), recovered.tree)
        self.submitted = {zxid: it for zxid, it in self.submitted.items() if zxid <= last}
        self.acknowledged = last
        self.log = TxnLog(self.fs, self.config)
        self.writer: SnapshotWriter | None = None

    def recovered(self, fs: MemoryFileSystem) -> Recovered:
        recovered = recover(fs, self.config, extended_types=True)
        assert recovered.digest_mismatches == 0, recovered.warnings
        return recovered

    def look(self, _kind: str, _path: PurePath) -> None:
        """Before an operation: what would a power failure leave now, or a kill?"""
        for _ in range(2):
            self.check(self.fs.crash(Random(self.rng.random())))
        if self.rng.random() < 0.3:
            self.check(self.fs.killed())

    def check(self, crashed: MemoryFileSystem) -> None:
        self.checked += 1
        prepare(crashed, self.config)
        for log in list_logs(crashed, LOG_DIR):
            assert crashed.size(LOG_DIR / log.name) >= FILE_HEADER_BYTES, log
        store = SnapshotStore(crashed, self.config)
        for found in store.named():
            assert store.verify(found), found
        tree = self.recovered(crashed).tree
        assert tree.last_zxid >= self.acknowledged
        assert brief(tree) == self.submitted[tree.last_zxid]
        # What a start has shown to clients, the next power failure may not take back.
        again = self.recovered(crashed.crash(Random(self.rng.random()))).tree
        assert brief(again) == brief(tree)

    def live(self, steps: int) -> None:
        """Go on, over failures of the disk too: each ends the process and starts another."""
        for _ in range(steps):
            try:
                if self.rng.random() < 0.04:
                    self.fs.fail(self.rng.choice(FAILING), after=self.rng.randrange(4))
                self.step()
            except StorageError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                self.failed += 1
                lost = self.rng.random() < 0.5
                self.fs = self.fs.crash(Random(self.rng.random())) if lost else self.fs.killed()
                self.begin()

    def step(self) -> None:
        chosen = self.rng.random()
        if chosen < 0.55:
            for _ in range(self.rng.randint(1, 4)):
                self.submit()
        elif chosen < 0.85:
            self.flush_once()
        elif chosen < 0.93:
            self.snapshot()
        elif chosen < 0.96:
            self.log.roll()
        elif chosen < 0.98:
            purge(self.fs, self.config)
        else:
            self.fs = self.fs.crash(Random(self.rng.random()))
            self.begin()

    def submit(self) -> None:
        tree = self.history.tree
        if tree.last_zxid >> 32 == 0 and self.rng.random() < 0.01:
            txn = self.history.next(epoch=1)
        else:
            txn = self.history.next()
        self.submitted[txn.zxid] = brief(tree)
        self.log.append(txn.zxid, txn.payload)

    def flush_once(self) -> None:
        flush = self.log.take()
        if flush is not None:
            flush.run()
            self.acknowledged = flush.last_zxid

    def snapshot(self) -> None:
        """Begin one, or end the one that was begun; anything happens in between."""
        while self.acknowledged != self.history.tree.last_zxid:
            self.flush_once()
        if self.writer is None:
            tree = self.history.tree
            writer = SnapshotStore(self.fs, self.config).create(tree.last_zxid)
            self.slices = snapshot.encode(tree)
            writer.write(next(self.slices))
            self.writer = writer
            return
        writer, self.writer = self.writer, None
        for piece in self.slices:
            writer.write(piece)
            if self.rng.random() < 0.3:
                self.submit()
        while self.acknowledged != self.history.tree.last_zxid:
            self.flush_once()
        if self.rng.random() < 0.8:
            writer.commit()
            self.log.roll()
        else:
            writer.abort()


def live(seed: object, codec: SnapshotCodec, variant: int, steps: int) -> Server:
    config = configured(
        snapshot_codec=codec,
        pre_alloc_bytes=(0, 4096)[variant % 2],
        txn_log_size_limit_bytes=(0, 6000)[variant // 2 % 2],
    )
    server = Server(Random(f"{codec}{seed}"), config)
    server.live(steps)
    return server


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SLICE_NODES", 3)


@pytest.mark.parametrize("codec", SnapshotCodec)
@pytest.mark.parametrize("variant", range(4))
def test_every_power_failure_leaves_an_acknowledged_prefix(
    variant: int, codec: SnapshotCodec
) -> None:
    server = live(variant, codec, variant, 90)
    assert server.checked > 80


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("codec", SnapshotCodec)
def test_many_long_lives(codec: SnapshotCodec) -> None:
    failed = sum(live(f"soak{seed}", codec, seed, 200).failed for seed in range(40))
    assert failed > 40


def test_every_torn_tail_of_a_recorded_log() -> None:
    """The bytes of a log, cut at each place, padded or not."""
    config = configured()
    fs = MemoryFileSystem(Random(3))
    start = recover(fs, config, extended_types=True)
    save_initial(fs, config, start.tree)
    history = History(Random(4), start.tree)
    states = {0: brief(history.tree)}
    ends = [FILE_HEADER_BYTES]
    log = TxnLog(fs, config)
    txns: list[Txn] = []
    for _ in range(25):
        txns.append(history.next())
        states[txns[-1].zxid] = brief(history.tree)
        log.append(txns[-1].zxid, txns[-1].payload)
        flush = log.take()
        assert flush is not None
        flush.run()
        ends.append(ends[-1] + flush.size)
    path = LOG_DIR / "log.1"
    whole = fs.read(path)
    assert len(whole) == ends[-1]
    for cut in range(FILE_HEADER_BYTES, len(whole) + 1):
        torn = fs.crash()
        torn.truncate(path, cut)
        if cut % 2:
            torn.truncate(path, cut + 5000)
        tree = recover(torn, config, extended_types=True).tree
        kept = sum(end <= cut for end in ends) - 1
        assert tree.last_zxid == kept, cut
        assert brief(tree) == states[kept]
    assert sorted(fs.listdir(SNAPSHOT_DIR)) == ["snapshot.0"]
