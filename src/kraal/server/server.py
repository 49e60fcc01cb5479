"""One running server: recovery, the replica, the log, snapshots, the client port, timers."""

from __future__ import annotations

import asyncio
import gc
import logging
from random import Random
from time import monotonic_ns, time_ns

from kraal.errors import DataDirError, KraalError, StorageError
from kraal.model.config import ServerConfig
from kraal.model.session_id import first_session_id
from kraal.model.zxid import show
from kraal.replica.replica import Replica
from kraal.server.disk_thread import DiskThread
from kraal.server.listener import ClientListener
from kraal.server.log_writer import LogWriter
from kraal.server.snapshotter import Snapshotter
from kraal.server.status_source import ServerStatusSource
from kraal.storage import data_dir
from kraal.storage.data_dir import DataDirLock
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.recovery import Recovered, drop_orphans, recover, save_initial
from kraal.storage.snapshot_policy import SnapshotPolicy
from kraal.storage.snapshot_store import SnapshotStore
from kraal.storage.txn_log import Flush, TxnLog

logger = logging.getLogger("kraal.server")

NS_PER_MS = 1_000_000
TICK_SECONDS = 0.05
EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_DATA_DIR = 3
EXIT_SNAPSHOT = 10
# Young objects are looked through in small portions and the long-lived heap never: a full
# collection over a million znodes would be a pause of a second.
GC_THRESHOLDS = (20_000, 1_000_000, 1_000_000)


def monotonic_ms() -> int:
    return monotonic_ns() // NS_PER_MS


def wall_ms() -> int:
    return time_ns() // NS_PER_MS


class Server:
    """Owns everything with a beginning and an end; `run` is its life."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._fs = OsFileSystem()
        self._exit_code = EXIT_OK
        self._stopping = asyncio.Event()
        self._logged_zxid = 0
        self._is_snapshot_due = False
        self.digest_mismatches = 0
        self._fsync_warning_ms = config.storage.fsync_warning_threshold_ms

    async def run(self, ready: asyncio.Event | None = None) -> int:
        """Serve until `stop`; returns the exit code (reference/operations.md section 1.8)."""
        lock: DataDirLock | None = None
        try:
            lock = data_dir.lock(self._fs, self.config.storage)
            recovered = self._recover()
            await self._start(recovered)
        except (KraalError, OSError, ValueError) as error:
            logger.error("%s", error)
            if lock is not None:
                lock.release()
            return EXIT_DATA_DIR if isinstance(error, DataDirError) else EXIT_UNEXPECTED
        if ready is not None:
            ready.set()
        timers = [
            asyncio.create_task(self._tick()),
            asyncio.create_task(self._close_sessionless()),
            asyncio.create_task(self._purge()),
        ]
        await self._stopping.wait()
        for timer in timers:
            timer.cancel()
        await self._shut_down()
        lock.release()
        logger.info("Stopped")
        return self._exit_code

    def stop(self) -> None:
        """Ask the server to end."""
        self._stopping.set()

    def _recover(self) -> Recovered:
        config = self.config
        began = monotonic_ms()
        gc.disable()
        data_dir.prepare(self._fs, config.storage)
        recovered = recover(self._fs, config.storage, extended_types=config.extended_types)
        for warning in recovered.warnings:
            logger.warning("%s", warning)
        tree = recovered.tree
        self.digest_mismatches = recovered.digest_mismatches
        orphans = drop_orphans(tree)
        if orphans:
            logger.info("Deleted %d ephemerals of sessions that are gone", orphans)
        if orphans or recovered.needs_initial_snapshot:
            # Logs without a snapshot are refused at the next start, and no log tells that the
            # orphans are gone: the snapshot comes before the first record.
            save_initial(self._fs, config.storage, tree)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        logger.info(
            "Recovered to zxid %s: %d znodes, %d sessions, %d transactions replayed, %d ms",
            show(tree.last_zxid),
            len(tree.nodes) - 1,
            len(tree.sessions),
            recovered.replayed,
            monotonic_ms() - began,
        )
        return recovered

    async def _start(self, recovered: Recovered) -> None:
        config, tree = self.config, recovered.tree
        loop = asyncio.get_running_loop()
        self._logged_zxid = tree.last_zxid
        self._store = SnapshotStore(self._fs, config.storage)
        self._policy = SnapshotPolicy(config.storage, Random())
        self._snapshotter = Snapshotter(
            self._store,
            tree,
            last_zxid_section=config.storage.serialize_last_processed_zxid,
            failed=self._snapshot_failed,
        )
        self._disk = DiskThread(loop, "kraal-log")
        self._log = TxnLog(self._fs, config.storage)
        self._writer = LogWriter(
            self._log, self._disk, logged=self._logged, failed=self._log_failed
        )
        now = monotonic_ms()
        self.replica = Replica(
            config,
            tree,
            self._writer,
            first_session_id=first_session_id(config.server_id, now),
            now_ms=now,
        )
        if config.security.skip_acl:
            logger.warning("skipACL=yes: every client may do everything")
        self.status = ServerStatusSource(self)
        self.listener = ClientListener(config, self.replica, self.status)
        if config.client_port is not None:
            await self.listener.start()

    # The disk

    def _logged(self, flush: Flush) -> None:
        self._logged_zxid = flush.last_zxid
        now = monotonic_ms()
        self.replica.counters.fsync.add(int(flush.duration_ms))
        if flush.duration_ms > self._fsync_warning_ms:
            logger.warning(
                "Writing %d transactions took %d ms, which will adversely affect latency",
                flush.count,
                flush.duration_ms,
            )
        self.replica.logged(now, wall_ms(), flush.last_zxid)
        if self._policy.logged(flush.count, flush.grown_bytes):
            self._writer.roll()
            self._is_snapshot_due = True
        if self._is_snapshot_due and not self._snapshotter.is_busy:
            self._start_snapshot()

    def _start_snapshot(self) -> None:
        self._is_snapshot_due = False
        self._snapshotter.start(lambda: self._logged_zxid, self._snapshot_done)

    def _snapshot_done(self) -> None:
        """One that came due meanwhile follows: after a burst nothing else would start it."""
        if self._is_snapshot_due and not self._stopping.is_set():
            self._start_snapshot()

    def _log_failed(self, error: BaseException) -> None:
        logger.critical("%s; ending, so that nothing is acknowledged that is not on disk", error)
        self._end(EXIT_UNEXPECTED)

    def _snapshot_failed(self, error: BaseException) -> None:
        logger.critical("Writing a snapshot failed: %s", error)
        self._end(EXIT_SNAPSHOT)

    def _end(self, code: int) -> None:
        self._exit_code = code
        self._stopping.set()

    def crash(self) -> None:
        """An impossible state was met: end at once, without acknowledging anything more."""
        self._end(EXIT_UNEXPECTED)

    @property
    def snapshots_taken(self) -> int:
        return self._snapshotter.taken

    # Timers

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.replica.tick(monotonic_ms(), wall_ms())

    async def _close_sessionless(self) -> None:
        while True:
            await asyncio.sleep(self.config.throttle.sessionless_timeout_ms / 1000)
            self.listener.close_sessionless()

    async def _purge(self) -> None:
        """Autopurge: at start and then once an interval (reference/operations.md 1.2)."""
        storage = self.config.storage
        if storage.purge_interval_hours <= 0:
            return
        from kraal.storage import retention  # noqa: PLC0415 - most servers never need it

        thread = DiskThread(asyncio.get_running_loop(), "kraal-purge")
        try:
            while True:
                try:
                    purged = await thread.call(lambda: retention.purge(self._fs, storage))
                    for path in purged.deleted:
                        logger.info("Purged %s", path)
                except StorageError as error:
                    logger.error("Purging failed: %s", error)
                await asyncio.sleep(storage.purge_interval_hours * 3600)
        finally:
            thread.stop()

    async def _shut_down(self) -> None:
        """Close the clients, write what they were promised, release the disk."""
        await self.listener.stop()
        await self._writer.drained()
        await self._snapshotter.finish()
        self._disk.submit(self._log.close, lambda _error: None)
        self._disk.stop()
