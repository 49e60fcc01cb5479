"""The disk of a running server: the log, snapshots in time, and what synchronisation asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import PurePath
from random import Random
from time import monotonic
from typing import TypeVar

from kraal.errors import CutError, StorageError
from kraal.model.config import ServerConfig
from kraal.pipeline.counters import Counters
from kraal.server.disk_thread import DiskThread
from kraal.server.log_writer import LogWriter
from kraal.server.snapshotter import Snapshotter
from kraal.storage.interface import FileSystem, is_out_of_space
from kraal.storage.recovery import Recovered
from kraal.storage.resync import begin_adoption, cut_log
from kraal.storage.snapshot_policy import SnapshotPolicy
from kraal.storage.snapshot_store import SnapshotStore, SnapshotWriter
from kraal.storage.txn_log import Flush, LogEnd, LogPlace, TxnLog
from kraal.tree.data_tree import DataTree

logger = logging.getLogger("kraal.server.storage")
EXIT_UNEXPECTED = 1
EXIT_SNAPSHOT = 10
SNAPSHOT_NODE_BYTES = 76
"""What a snapshot holds of each znode beyond its path and data."""
T = TypeVar("T")


class StorageDriver:
    """Owns the disk thread; `logged(flush)` follows what was appended, `ended(code)` a failure."""

    def __init__(
        self,
        fs: FileSystem,
        config: ServerConfig,
        tree: DataTree,
        *,
        counters: Counters,
        logged: Callable[[Flush], None],
        lacked_room: Callable[[BaseException, int | None], None],
        ended: Callable[[int], None],
    ) -> None:
        """`lacked_room(error, keep)` says that the disk is full; `keep` is the last transaction
        that is known to be on it, where a write failed behind it."""
        self._fs = fs
        self._config = config
        self._storage = config.storage
        self._counters = counters
        self._logged = logged
        self._lacked_room = lacked_room
        self._ended = ended
        self._store = SnapshotStore(fs, config.storage)
        self._policy = SnapshotPolicy(config.storage, Random())
        self._disk = DiskThread(asyncio.get_running_loop(), "kraal-log")
        self._log = TxnLog(fs, config.storage)
        self._writer = LogWriter(
            self._log,
            self._disk,
            inputs=lambda: counters.received,
            logged=self._after_flush,
            failed=self._log_failed,
        )
        self.has_room_for: Callable[[int], bool] = lambda _bytes: True
        """Whether a file of that size may be written; a snapshot waits until it is so."""
        self._is_snapshot_due = False
        self._is_put_off = False
        self._may_snapshot = True
        self._job: asyncio.Task[None] | None = None
        self._prepared: tuple[DataTree, SnapshotWriter] | None = None
        self.use_tree(tree)

    def use_tree(self, tree: DataTree) -> None:
        """Snapshots are of this tree from now on; none may be under way."""
        self._logged_zxid = tree.last_zxid
        self._tree = tree
        self._snapshotter = Snapshotter(
            self._store,
            tree,
            last_zxid_section=self._storage.serialize_last_processed_zxid,
            taken_ms=self._counters.snapshot_time.add,
        )

    # The log

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction, in zxid order."""
        self._writer.append(zxid, payload)

    def _after_flush(self, flush: Flush) -> None:
        self._logged_zxid = flush.last_zxid
        self._logged(flush)
        self._counters.flushed(flush.count, flush.waited_ms, flush.duration_ms)
        if flush.duration_ms > self._storage.fsync_warning_threshold_ms:
            self._counters.slow_syncs += 1
            logger.warning(
                "Writing %d transactions took %d ms, which will adversely affect latency",
                flush.count,
                flush.duration_ms,
            )
        if self._policy.logged(flush.count, flush.grown_bytes):
            self._writer.roll()
            self._is_snapshot_due = True
        if self._is_snapshot_due and self._may_snapshot and not self._snapshotter.is_busy:
            self._start_snapshot()

    def _log_failed(self, error: BaseException) -> None:
        if is_out_of_space(error):
            self._lacked_room(error, self._logged_zxid)
            return
        logger.critical("%s; ending, so that nothing is acknowledged that is not on disk", error)
        self._ended(EXIT_UNEXPECTED)

    # Snapshots in time

    def _start_snapshot(self) -> None:
        size = self._tree.data_bytes + SNAPSHOT_NODE_BYTES * len(self._tree.nodes)
        if not self.has_room_for(size):
            if not self._is_put_off:
                logger.error("A snapshot of some %d bytes has to wait: the disk is too full", size)
            self._is_put_off = True
            return
        self._is_snapshot_due = self._is_put_off = False
        self._snapshotter.start(
            lambda: self._logged_zxid, self._snapshot_done, self._snapshot_failed
        )

    def _snapshot_done(self) -> None:
        """One that came due meanwhile follows: after a burst nothing else would start it."""
        if self._is_snapshot_due and self._may_snapshot:
            self._start_snapshot()

    async def take_snapshot(self) -> tuple[PurePath, int, int]:
        """Write one now: where it is, its zxid and its size. Raises StorageError."""
        await self._snapshotter.ended()
        if not self._may_snapshot:
            raise StorageError("no snapshot is taken while there is no leader")
        done = asyncio.Event()
        errors: list[StorageError] = []

        def failed(error: BaseException) -> None:
            if isinstance(error, StorageError):  # told to who asked, and the log has everything
                errors.append(error)
            else:
                self._snapshot_failed(error)

        self._snapshotter.start(lambda: self._logged_zxid, done.set, failed)
        await self._snapshotter.ended()
        if errors:
            raise StorageError(f"the snapshot could not be written: {errors[0]}") from errors[0]
        if not done.is_set():
            raise StorageError("the snapshot was given up: the server's role is over")

        def newest() -> tuple[PurePath, int, int]:
            found = self._store.named()[0]
            path = self._store.directory / found.name
            return path, found.zxid, self._fs.size(path)

        return await self._disk.call(newest)

    def _snapshot_failed(self, error: BaseException) -> None:
        if is_out_of_space(error):
            # The log has everything, and what was written is gone again.
            logger.error("%s; the next snapshot is tried when it comes due", error)
            return
        logger.critical("Writing a snapshot failed: %s", error)
        self._ended(EXIT_SNAPSHOT)

    def abandon_snapshot(self) -> None:
        """Forget one in writing, and begin none until `allow_snapshots`."""
        self._may_snapshot = False
        self._snapshotter.abandon()

    def allow_snapshots(self) -> None:
        """What is in the tree is committed, or will be."""
        self._may_snapshot = True

    def log_end(self) -> LogEnd | None:
        """How far the log goes, for a job of `call`; None: nothing was logged since the start."""
        return self._log.end

    def log_place(self) -> LogPlace | None:
        """Which file is being written, for a job of `call`."""
        return self._log.place

    async def call(self, job: Callable[[], T]) -> T:
        """A short job between two flushes: never while a history is cut or adopted."""
        return await self._disk.call(job)

    # Synchronisation with a leader

    def truncate(
        self, zxid: int, done: Callable[[Recovered], None], refused: Callable[[], None]
    ) -> None:
        """Cut the log behind zxid, recover what is left and hand it to `done`.

        `refused` is called instead where the log does not lead to zxid; nothing has changed.
        """

        def cut() -> Recovered | CutError:
            extended_types = self._config.extended_types
            try:
                return cut_log(self._fs, self._storage, zxid, extended_types=extended_types)
            except CutError as error:
                return error

        def finished(recovered: Recovered | CutError) -> None:
            if isinstance(recovered, CutError):
                logger.error("%s", recovered)
                refused()
                return
            for warning in recovered.warnings:
                logger.warning("%s", warning)
            self.use_tree(recovered.tree)
            done(recovered)

        self._run(cut, finished, EXIT_UNEXPECTED)

    async def prepare(self, tree: DataTree) -> None:
        """Write a tree that `save_snapshot` will be asked for, while the other one is served.

        Raises StorageError.
        """
        self.forget_prepared()
        thread = DiskThread(asyncio.get_running_loop(), "kraal-restore")
        try:
            writer = await thread.call(lambda: begin_adoption(self._fs, self._storage, tree))
        finally:
            thread.stop()
        self._prepared = tree, writer

    def forget_prepared(self) -> None:
        """It will not be asked for after all."""
        if self._prepared is not None:
            (_, writer), self._prepared = self._prepared, None
            self._disk.submit(writer.abort, lambda _error: None)

    def save_snapshot(self, tree: DataTree, done: Callable[[], None]) -> None:
        """Make a tree that nobody changes meanwhile the content of the data directory."""
        prepared: SnapshotWriter | None = None
        if self._prepared is not None and self._prepared[0] is tree:
            (_, prepared), self._prepared = self._prepared, None

        def write() -> float:
            began = monotonic()
            writer = prepared or begin_adoption(self._fs, self._storage, tree)
            writer.commit()
            return monotonic() - began

        def finished(seconds: float) -> None:
            self._counters.snapshot_time.add(int(seconds * 1000))
            self.use_tree(tree)
            done()

        self._run(write, finished, EXIT_SNAPSHOT)

    def _run(self, job: Callable[[], T], finished: Callable[[T], None], code: int) -> None:
        """A job on the disk thread that leaves a new log behind."""
        assert self._job is None or self._job.done(), "one change of history at a time"
        self._job = asyncio.get_running_loop().create_task(self._change(job, finished, code))

    async def _change(self, job: Callable[[], T], finished: Callable[[T], None], code: int) -> None:
        await self._snapshotter.finish()
        await self._writer.drained()
        if self._writer.is_broken:
            return
        self._disk.submit(self._log.close, lambda _error: None)
        try:
            result = await self._disk.call(job)
        except Exception as error:  # nothing is sure about the disk any more
            if is_out_of_space(error):
                self._lacked_room(error, None)  # a change that was begun is completed or undone
                return
            logger.critical("Adopting the leader's history failed: %s", error)
            self._ended(code)
            return
        self._log = TxnLog(self._fs, self._storage)
        self._writer.replace(self._log)
        finished(result)

    # The end

    async def stop(self) -> None:
        """Write what was appended, drop a snapshot under way, release the disk."""
        if self._job is not None and not self._job.done():
            await asyncio.gather(self._job, return_exceptions=True)
        await self._writer.drained()
        self._may_snapshot = False
        await self._snapshotter.finish()
        self._disk.submit(self._log.close, lambda _error: None)
        self._disk.stop()
