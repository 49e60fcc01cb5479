"""One running server: recovery, the replica or the member, the client port, timers."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic_ns, time, time_ns
from typing import TypeVar

from kraal.errors import ConfigError, KraalError, StorageError
from kraal.model.config import ServerConfig
from kraal.model.ensemble import Address
from kraal.model.session_id import first_session_id
from kraal.model.zxid import show
from kraal.pipeline.audit import server_event
from kraal.pipeline.counters import Counters
from kraal.replica.leading import Leading
from kraal.replica.replica import Replica
from kraal.server import sasl
from kraal.server.admin_server import AdminServer
from kraal.server.admin_source import ServerAdminSource
from kraal.server.disk_thread import DiskThread
from kraal.server.disk_watch import LOOK_SECONDS, DiskWatch, Look
from kraal.server.listener import ClientListener
from kraal.server.member import EXIT_ELECTION_PORT, ElectionPortError, Member
from kraal.server.storage_driver import StorageDriver
from kraal.server.tls.contexts import TlsContexts
from kraal.storage import data_dir, epochs, retention
from kraal.storage.data_dir import DataDirLock
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.interface import FileSystem, is_out_of_space
from kraal.storage.recovery import Recovered, drop_orphans, recover, save_initial
from kraal.storage.resync import cut_log
from kraal.storage.txn_log import Flush
from kraal.tree.data_tree import DataTree

logger = logging.getLogger("kraal.server")
T = TypeVar("T")

NS_PER_MS = 1_000_000
TICK_SECONDS = 0.05
PAUSE_SECONDS = 0.1
"""A tick that comes later than this is counted as a pause."""
PAUSE_WARNING_MS = 1000
PURGE_STOP_S = 1.0
"""How long a stopping server waits for a look at snapshots to end."""
REST_SECONDS = 2.0
"""How long a server that ran out of room waits at least before it tries again."""
EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_CONFIG = 2
EXIT_DATA_DIR = 3
# Young objects are looked through in small portions and the long-lived heap never: a full
# collection over a million znodes would be a pause of a second.
GC_THRESHOLDS = (2_000, 1_000_000, 1_000_000)


def monotonic_ms() -> int:
    return monotonic_ns() // NS_PER_MS


def wall_ms() -> int:
    return time_ns() // NS_PER_MS


def _exit_code(error: Exception) -> int:
    """Of a server that does not start."""
    for kind, code in (
        (ElectionPortError, EXIT_ELECTION_PORT),
        (ConfigError, EXIT_CONFIG),
        (StorageError, EXIT_DATA_DIR),
    ):
        if isinstance(error, kind):
            return code
    return EXIT_UNEXPECTED


class Server:
    """Owns everything with a beginning and an end; `run` is its life."""

    def __init__(
        self, config: ServerConfig, *, fs: FileSystem | None = None, owns_process: bool = True
    ) -> None:
        """`fs` is where it stores, the operating system's file system by default; a server that
        does not own its process leaves the process's garbage collection as it is."""
        self.config = config
        self.fs: FileSystem = OsFileSystem() if fs is None else fs
        self._owns_process = owns_process
        self._exit_code = EXIT_OK
        self._stopping = asyncio.Event()
        self._purging = asyncio.Event()
        self._resting: asyncio.Task[None] | None = None
        """While the disk is full and nobody is served."""
        self._quiet = asyncio.Lock()
        """Held by whoever changes files meanwhile."""
        self.disk = DiskWatch(self.fs, config.storage, got_little=self._purging.set)
        self.counters = Counters(started_ms=monotonic_ms())
        self.replica: Replica | None = None
        """What clients talk to; None while a member of an ensemble has no leader."""
        self.member: Member | None = None
        """None: a standalone server."""
        self.failure: str | None = None
        """Why it did not start."""

    async def run(self, ready: asyncio.Event | None = None) -> int:
        """Serve until `stop`; returns the exit code (reference/operations.md section 1.8)."""
        lock: DataDirLock | None = None
        try:
            lock = data_dir.lock(self.fs, self.config.storage)
            recovered = await self._recover_at_start()
            self.disk.judge(self.disk.look(None).free_bytes)
            await self._start_or_stop(recovered)
        except (KraalError, OSError, ValueError) as error:
            logger.error("%s", error)
            self.failure = str(error)
            if lock is not None:
                lock.release()
            return _exit_code(error)
        self._audit("serverStart", "success")
        if ready is not None and not self._stopping.is_set():
            ready.set()
        timers = [
            asyncio.create_task(self._tick()),
            asyncio.create_task(self._close_sessionless()),
            asyncio.create_task(self._purge()),
            asyncio.create_task(self._watch_disk()),
        ]
        await self._stopping.wait()
        self._audit("serverStop", "invoked")
        for timer in timers:
            timer.cancel()
        await self._shut_down()
        lock.release()
        logger.info("Stopped")
        return self._exit_code

    def _audit(self, operation: str, result: str) -> None:
        if self.config.audit_user is not None:
            server_event(self.config.audit_user, operation, result)

    def stop(self) -> None:
        """Ask the server to end."""
        self._stopping.set()

    async def _recover_at_start(self) -> Recovered:
        """A start may have to write, too; on a full disk it waits, where ending would only lead
        to another start."""
        while True:
            try:
                return self._recover()
            except StorageError as error:
                if not is_out_of_space(error) or self._stopping.is_set():
                    raise
                logger.critical("%s; the start waits for room", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(REST_SECONDS):
                    await self._stopping.wait()

    def _recover(self, keep: int | None = None) -> Recovered:
        """What the disk holds; with `keep`, after everything behind that zxid is cut away."""
        config = self.config
        began = monotonic_ms()
        if self._owns_process:
            gc.disable()
        data_dir.prepare(self.fs, config.storage)
        extended = config.extended_types
        if keep is None:
            recovered = recover(self.fs, config.storage, extended_types=extended)
        else:
            recovered = cut_log(self.fs, config.storage, keep, extended_types=extended)
        for warning in recovered.warnings:
            logger.warning("%s", warning)
        tree = recovered.tree
        self.counters.digest_mismatches += recovered.digest_mismatches
        tree.is_mixture = recovered.is_mixture
        # In an ensemble the leader ends such sessions, for all members alike.
        orphans = drop_orphans(tree) if config.ensemble is None else 0
        if orphans:
            logger.info("Deleted %d ephemerals of sessions that are gone", orphans)
        if orphans or recovered.needs_initial_snapshot:
            # Logs without a snapshot are refused at the next start, and no log tells that the
            # orphans are gone: the snapshot comes before the first record.
            save_initial(self.fs, config.storage, tree)
        if self._owns_process:
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
        counters = self.counters
        counters.snapshot_load_time.add(recovered.snapshot_ms)
        counters.replay_time.add(recovered.replay_ms)
        counters.replayed.add(recovered.replayed)
        counters.recovery_time.add(monotonic_ms() - began)
        return recovered

    async def _start_or_stop(self, recovered: Recovered) -> None:
        """A start may have to wait, such as for a name, and must not outlast the server."""
        starting = asyncio.create_task(self._start(recovered))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            starting.cancel()  # nothing happens to one that is done
            await asyncio.wait((starting,))
        if not starting.cancelled():
            starting.result()

    async def _start(self, recovered: Recovered) -> None:
        config = self.config
        if config.security.skip_acl:
            logger.warning("skipACL=yes: every client may do everything")
        self._mechanism = sasl.mechanism(config.security.sasl)
        self.status = ServerAdminSource(self)
        self.admin = AdminServer(self.status)
        self.listener = ClientListener(config, self.counters, self.status)
        self.tls = TlsContexts(config)
        await self._begin(recovered)
        try:
            await self.listener.start(self.tls.clients)
        except OSError:
            await self._shut_down()
            raise
        await self.admin.start()

    async def _begin(self, recovered: Recovered) -> None:
        """Serve clients, or take part in the ensemble, from what the disk holds."""
        config = self.config
        if config.ensemble is None:
            self.storage = StorageDriver(
                self.fs,
                config,
                recovered.tree,
                counters=self.counters,
                logged=self._logged,
                lacked_room=self.lack_room,
                ended=self._end,
            )
            first_id = first_session_id(config.server_id, monotonic_ms())
            self._serve_alone(recovered.tree, first_id)
        else:
            await self._join(recovered)
        self.storage.has_room_for = self.disk.has_room_for
        self._tell_room()

    def _serve_alone(self, tree: DataTree, first_id: int) -> None:
        self._leading = Leading(
            self.config,
            tree,
            self.storage,
            first_session_id=first_id,
            now_ms=monotonic_ms(),
            counters=self.counters,
        )
        self._serve(self._leading)

    async def begin_anew(self) -> None:
        """Forget all znodes and sessions and go on with an empty tree, alone, as after a start.

        Every client is disconnected, and its session is over when it comes back: zxids and
        session ids go on.
        """
        config = self.config
        await self.replace_tree(
            DataTree.pristine(
                extended_types=config.extended_types, digests=config.storage.digest_enabled
            )
        )

    async def replace_tree(self, tree: DataTree) -> None:
        """Go on with another tree, which is on the disk when this returns.

        Every client is disconnected; zxids and session ids go on, so that clients come back.
        """
        assert self.member is None, "a member of an ensemble does not forget for itself alone"
        before = self._leading
        self._serve(None)
        before.close()
        tree.last_zxid = max(tree.last_zxid, before.tree.last_zxid + before.in_flight)
        saved = asyncio.Event()
        self.storage.save_snapshot(tree, saved.set)
        await saved.wait()
        self._serve_alone(tree, before.next_session_id)

    async def _join(self, recovered: Recovered) -> None:
        """Take part in the ensemble; clients are served once there is a leader."""
        known = epochs.load(self.fs, self.config.storage, recovered.tree.last_zxid)
        self.member = Member(
            self.fs,
            self.config,
            recovered,
            known,
            serve=self._serve,
            clients_moved=self._clients_moved,
            lacked_room=self.lack_room,
            ended=self._end,
            counters=self.counters,
            tls=self.tls,
        )
        self.storage = self.member.storage
        await self.member.start()

    def _clients_moved(self, plain: Address | None, secure: Address | None) -> None:
        """A reconfiguration says where clients are served; None: where they are now."""
        self._moving = asyncio.create_task(self.listener.move(plain, secure))

    def _serve(self, replica: Replica | None) -> None:
        self.replica = self.listener.replica = replica
        if replica is not None:
            replica.log_in_by(self._mechanism)
        self._tell_room()

    def _logged(self, flush: Flush) -> None:
        """Alone, what is durable here is committed."""
        self._leading.committed(monotonic_ms(), wall_ms(), flush.last_zxid)

    def _end(self, code: int) -> None:
        self._exit_code = code
        self._stopping.set()

    def crash(self) -> None:
        """An impossible state was met: end at once, without acknowledging anything more."""
        self._end(EXIT_UNEXPECTED)

    # A full disk, and one that was taken away

    def lack_room(self, error: BaseException, keep: int | None = None) -> None:
        """Nothing can be logged: serve nobody until there is room, then go on from the disk.

        `keep` is the last transaction that is known to be there, where a write failed behind it.
        """
        if self._resting is None and not self._stopping.is_set():
            self._resting = asyncio.create_task(self._rest(error, keep))

    async def _rest(self, error: BaseException, keep: int | None) -> None:
        until = "there is room" if self.disk.lost is None else "it is back"
        logger.critical("%s; nobody is served until %s", error, until)
        if self.disk.lost is None:
            self._purging.set()
        try:
            await self._leave()
            recovered: Recovered | None = None
            while recovered is None:
                await self._until_room()
                try:
                    async with self._quiet:
                        recovered = await asyncio.to_thread(self._recover, keep)
                except StorageError as failure:
                    if not is_out_of_space(failure):
                        raise
                    logger.error("%s; waiting for more room", failure)
            self._resting = None
            await self._begin(recovered)
        except Exception as failure:  # nobody else would hear of it
            is_known = isinstance(failure, KraalError | OSError)
            logger.critical("%s", failure, exc_info=None if is_known else failure)
            is_port = isinstance(failure, ElectionPortError)
            self._end(EXIT_ELECTION_PORT if is_port else EXIT_UNEXPECTED)

    async def _leave(self) -> None:
        """Clients, other members and the disk: all is given up, as at the end."""
        self._serve(None)
        member, self.member = self.member, None
        if member is None:
            self._leading.close()
            await self.storage.stop()
            return
        settings, peer = self.config.ensemble, member.peer
        assert settings is not None
        self.config = replace(
            self.config, ensemble=replace(settings, config=peer.config, last_seen=peer.last_seen)
        )
        await member.stop()

    async def _until_room(self) -> None:
        """A moment at least: what was tried and failed is not tried again at once."""
        await asyncio.sleep(REST_SECONDS)
        while not self.disk.has_room_again:
            await asyncio.sleep(LOOK_SECONDS)

    async def _on_disk(self, job: Callable[[], T]) -> T:
        """A short job while no history changes, whether or not somebody is served."""
        if self._resting is None:
            return await self.storage.call(job)
        async with self._quiet:
            return await asyncio.to_thread(job)

    # Timers

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            if (late := loop.time() - due) >= PAUSE_SECONDS:
                self._paused(int(late * 1000))
            self._tell_room()
            if self.member is not None:
                self.member.tick()
            elif self.replica is not None:
                self.replica.tick(monotonic_ms(), wall_ms())

    def _paused(self, late_ms: int) -> None:
        """The loop stood still: the process had no processor, or a turn took long."""
        self.counters.pauses.add(late_ms)
        replica = self._any_replica()
        if replica is not None and late_ms >= self.config.tick_time_ms:
            replica.stood_still(monotonic_ms())
        if late_ms >= PAUSE_WARNING_MS:
            logger.warning("The server stood still for %d ms", late_ms)

    async def _close_sessionless(self) -> None:
        while True:
            await asyncio.sleep(self.config.throttle.sessionless_timeout_ms / 1000)
            self.listener.close_sessionless()

    def _any_replica(self) -> Replica | None:
        """Also that of a leader which serves no clients."""
        return self.replica if self.member is None else self.member.peer.replica

    def _tell_room(self) -> None:
        """The replica that clients talk to, whichever it is by now."""
        replica = self._any_replica()
        if replica is not None:
            replica.lacks_room = self.disk.refuses_writes
            replica.has_lost_log = self.disk.lost is not None

    async def _watch_disk(self) -> None:
        complaint = ""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.admin.look_at_files()
            self.tls.look_at_files()
            try:
                found = await self._on_disk(self._look_at_disk)
            except StorageError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    logger.error("%s", error)
                continue
            complaint = ""
            free, lost = found
            leaves = self.member is not None and (lost is not None or self.disk.is_exhausted(free))
            is_serving = self._resting is None and not leaves
            self.disk.judge_log(lost, is_serving=is_serving)
            self.disk.judge(free, is_serving=is_serving)
            self._tell_room()
            if leaves:
                why = lost or f"{free} bytes are free at {self.disk.where}"
                self.lack_room(StorageError(f"Leaving the ensemble: {why}"))

    def _look_at_disk(self) -> Look:
        """While nobody is served no log is open."""
        return self.disk.look(self.storage.log_place() if self._resting is None else None)

    async def _purge(self) -> None:
        """Autopurge: at start, once an interval (reference/operations.md 1.2), with little room.

        Looking at snapshots takes long and has a thread of its own; deleting does not, and comes
        between two flushes, so that no history changes meanwhile.
        """
        storage = self.config.storage
        if storage.purge_interval_hours <= 0:
            return
        while True:
            self._purging.clear()
            thread = DiskThread(asyncio.get_running_loop(), "kraal-purge")
            try:
                chosen = await thread.call(lambda: retention.plan(self.fs, storage, now_s=time()))
                purged = await self._on_disk(partial(retention.carry_out, self.fs, storage, chosen))
                for path in purged.deleted:
                    logger.info("Purged %s", path)
            except StorageError as error:
                logger.error("Purging failed: %s", error)
            finally:
                thread.stop(PURGE_STOP_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(storage.purge_interval_hours * 3600):
                    await self._purging.wait()

    async def _shut_down(self) -> None:
        """Close the clients, write what they were promised, release the disk."""
        if self._resting is not None:
            self._resting.cancel()
            await asyncio.gather(self._resting, return_exceptions=True)
        await asyncio.gather(self.admin.stop(), self.listener.stop())
        if self.member is not None:
            await self.member.stop()
        else:
            await self.storage.stop()
