"""The disk of a simulated server: the storage room itself on a file system that can lose.

Plays the part of the server's storage driver in virtual time: one thread for the log and for
changes of history, one for a snapshot, each job with a duration. A job takes effect at its
begin or at its end, so a crash in between finds all of it or nothing; one that comes inside
finds a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from kraal.errors import CutError
from kraal.model.config import ServerConfig
from kraal.model.zxid import counter
from kraal.sim.scheduler import MS
from kraal.storage import retention
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import Recovered
from kraal.storage.resync import adopt_snapshot, cut_log
from kraal.storage.snapshot_policy import SnapshotPolicy
from kraal.storage.snapshot_store import SnapshotStore, SnapshotWriter
from kraal.storage.txn_log import Flush, TxnLog
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree

if TYPE_CHECKING:
    from kraal.sim.server import SimServer

Job = Callable[[], None]
JOB_US = (1 * MS, 20 * MS)
PURGES = 0.3
"""Share of snapshots after which old ones are deleted."""


@dataclass
class DiskSpeed:
    """Durations in microseconds."""

    flush_us: tuple[int, int] = (200, 3 * MS)
    job_us: tuple[int, int] = JOB_US
    slice_us: tuple[int, int] = (100, 2 * MS)
    slowed: int = 1
    """By how much everything takes longer for the time being."""

    def of(self, between: tuple[int, int], random: Random) -> int:
        """How long a job takes now."""
        shortest, longest = between
        return (shortest + int(random.random() * (longest - shortest))) * self.slowed


class SimDisk:
    """What a running server has of its disk; a crash leaves the file system alone."""

    def __init__(
        self,
        server: SimServer,
        fs: MemoryFileSystem,
        config: ServerConfig,
        tree: DataTree,
        random: Random,
        logged: Callable[[Flush], None],
    ) -> None:
        self._server = server
        self._fs = fs
        self._config = config
        self._storage = config.storage
        self._random = random
        self._logged = logged
        self._store = SnapshotStore(fs, config.storage)
        self._policy = SnapshotPolicy(config.storage, random)
        self._log = TxnLog(fs, config.storage)
        self._flush: Flush | None = None
        self._is_scheduled = False
        self._change: Job | None = None
        """A change of history that waits for the log to be drained."""
        self._is_changing = False
        self._may_snapshot = True
        self._is_snapshot_due = False
        self._snapshot: _Snapshot | None = None
        self.durable_zxid = tree.last_zxid
        self._use_tree(tree)

    def _use_tree(self, tree: DataTree) -> None:
        self._tree = tree
        self.durable_zxid = tree.last_zxid

    # The log

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction, in zxid order."""
        assert not self._is_changing, "nothing is logged while the history changes"
        self._log.append(zxid, payload)
        if not self._is_scheduled:
            self._is_scheduled = True
            if self._flush is None:
                self._server.after(0, self._start_flush)

    def _start_flush(self) -> None:
        if self._flush is not None:
            return
        self._is_scheduled = False
        flush = self._log.take()
        if flush is None:
            self._begin_change()
            return
        self._flush = flush
        self._timed(flush.run, self._server.speed.flush_us, self._flushed)

    def _flushed(self) -> None:
        flush = self._flush
        assert flush is not None
        self._flush = None
        self.durable_zxid = flush.last_zxid
        self._logged(flush)
        if self._policy.logged(flush.count, flush.grown_bytes):
            self._log.roll()
            self._is_snapshot_due = True
        if self._is_snapshot_due and self._may_snapshot and self._snapshot is None:
            self._start_snapshot()
        self._server.after(0, self._start_flush)

    def _timed(self, job: Job, between: tuple[int, int], done: Job) -> None:
        """Something of the disk thread that takes time, and happens at its begin or end."""
        if self._random.random() < 0.5:
            job()
            after = done
        else:

            def after() -> None:
                job()
                done()

        self._server.after(self._server.speed.of(between, self._random), after)

    # Snapshots in time

    def _start_snapshot(self) -> None:
        self._is_snapshot_due = False
        self._snapshot = _Snapshot(self._server, self._store, self, self._tree, self._random)

    def snapshot_done(self) -> None:
        """One that came due meanwhile follows."""
        self._snapshot = None
        if self._is_snapshot_due and self._may_snapshot:
            self._start_snapshot()

        if self._random.random() < PURGES:
            self._server.after(self._server.speed.of(JOB_US, self._random), self._purge)

    def _purge(self) -> None:
        if not self._is_changing:
            retention.purge(self._fs, self._storage)

    def abandon_snapshot(self) -> None:
        """Forget one in writing, and begin none until `allow_snapshots`."""
        self._may_snapshot = False
        if self._snapshot is not None:
            self._snapshot.abandon()
            self._snapshot = None

    def allow_snapshots(self) -> None:
        """What is in the tree is committed, or will be."""
        self._may_snapshot = True

    # Synchronisation with a leader

    def truncate(
        self, zxid: int, done: Callable[[Recovered], None], refused: Callable[[], None]
    ) -> None:
        """Cut the log behind zxid, recover what is left and hand it to `done`."""
        left: list[Recovered] = []

        def cut() -> None:
            extended_types = self._config.extended_types
            with suppress(CutError):
                left.append(cut_log(self._fs, self._storage, zxid, extended_types=extended_types))

        def finished() -> None:
            if not left:
                refused()
                return
            self._use_tree(left[0].tree)
            done(left[0])

        self._run(cut, finished)

    def save_snapshot(self, tree: DataTree, done: Job) -> None:
        """Make a tree that nobody changes meanwhile the content of the data directory."""

        def write() -> None:
            adopt_snapshot(self._fs, self._storage, tree)

        def finished() -> None:
            self._use_tree(tree)
            done()

        self._run(write, finished)

    def _run(self, job: Job, finished: Job) -> None:
        assert self._change is None, "one change of history at a time"
        if self._snapshot is not None:
            self._snapshot.abandon()
            self._snapshot = None

        def replaced() -> None:
            self._is_changing = False
            self._log = TxnLog(self._fs, self._storage)
            finished()

        def begin() -> None:
            self._is_changing = True
            self._log.close()
            self._timed(job, self._server.speed.job_us, replaced)

        self._change = begin
        if self._flush is None and not self._is_scheduled:
            self._server.after(0, self._begin_change)

    def _begin_change(self) -> None:
        begin, self._change = self._change, None
        if begin is not None:
            begin()


class _Snapshot:
    """One snapshot in writing, slice by slice, while the tree goes on changing."""

    def __init__(
        self,
        server: SimServer,
        store: SnapshotStore,
        disk: SimDisk,
        tree: DataTree,
        random: Random,
    ) -> None:
        self._server = server
        self._disk = disk
        self._tree = tree
        self._random = random
        self._is_abandoned = False
        self._writer: SnapshotWriter | None = None
        self._slices: Iterator[bytes] = snapshot.encode(tree)
        self._zxid = tree.last_zxid
        first = next(self._slices)

        def create() -> None:
            if not self._is_abandoned:
                self._writer = store.create(self._zxid)
                self._writer.write(first)
                self._later(self._step)

        self._later(create)

    def _later(self, action: Job) -> None:
        speed = self._server.speed
        self._server.after(speed.of(speed.slice_us, self._random), action)

    def _step(self) -> None:
        if self._is_abandoned:
            return
        assert self._writer is not None
        piece = next(self._slices, None)
        if piece is not None:
            self._writer.write(piece)
            self._later(self._step)
            return
        self._await_log(self._tree.last_zxid)

    def _await_log(self, zxid: int) -> None:
        """A snapshot may not hold what the log could still lose."""
        if self._is_abandoned:
            return
        if counter(zxid) and self._disk.durable_zxid < zxid:
            self._later(lambda: self._await_log(zxid))
            return
        assert self._writer is not None
        self._writer.commit()
        self._disk.snapshot_done()

    def abandon(self) -> None:
        """Drop it; the log has everything."""
        self._is_abandoned = True
        if self._writer is not None:
            self._writer.abort()
