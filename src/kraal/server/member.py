"""A member of an ensemble in its process: the peer, its ports, its disk, its timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from time import monotonic_ns, time_ns

from kraal.errors import KraalError, RestoreError, StorageError
from kraal.model import ensemble as membership
from kraal.model.config import ServerConfig
from kraal.model.ensemble import Address, EnsembleConfig
from kraal.model.zxid import epoch
from kraal.pipeline.complaints import Complaints
from kraal.pipeline.counters import Counters
from kraal.replica.leading_term import LeadingTerm
from kraal.replica.peer import Peer
from kraal.replica.replica import Replica
from kraal.replica.status import Mode
from kraal.server import joining
from kraal.server.election_transport import ElectionTransport
from kraal.server.quorum_sasl import QuorumSasl
from kraal.server.quorum_transport import QuorumDialer, QuorumLink, QuorumListener
from kraal.server.storage_driver import StorageDriver
from kraal.server.tls.contexts import TlsContexts
from kraal.storage import dynamic_config, epochs, history
from kraal.storage.epochs import Epochs
from kraal.storage.interface import FileSystem, is_out_of_space
from kraal.storage.recovery import Recovered
from kraal.storage.txn_log import Flush
from kraal.tree.data_tree import DataTree
from kraal.zab.history import Entry
from kraal.zab.learner_handler import LearnerHandler, Stage

logger = logging.getLogger("kraal.server.member")
NS_PER_MS = 1_000_000
ANY_HOST = "0.0.0.0"
EXIT_ELECTION_PORT = 14
RESTORE_LEAP = 1 << 20
"""How far the zxid of a restore is ahead: writes go on while its snapshot is written."""
RESTORE_SECONDS = 10.0
"""How long the election after it may take, beside `initLimit` for its outcome."""
RESTORE_POLL_SECONDS = 0.02


def monotonic_ms() -> int:
    return monotonic_ns() // NS_PER_MS


def wall_ms() -> int:
    return time_ns() // NS_PER_MS


class ElectionPortError(KraalError):
    """Nobody could reach this server: exit code 14."""


class Member:
    """Implements the peer's `Shell`; `serve(replica)` tells the client port whom to talk to."""

    def __init__(
        self,
        fs: FileSystem,
        config: ServerConfig,
        recovered: Recovered,
        known: Epochs,
        *,
        serve: Callable[[Replica | None], None],
        clients_moved: Callable[[Address | None, Address | None], None],
        lacked_room: Callable[[BaseException, int | None], None],
        ended: Callable[[int], None],
        counters: Counters,
        tls: TlsContexts | None = None,
    ) -> None:
        assert config.ensemble is not None
        self._fs = fs
        self._config = config
        self._settings = config.ensemble
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._clients_moved = clients_moved
        self._lacked_room = lacked_room
        self._ended = ended
        self._recorded_version = config.ensemble.config.version
        self.own = self._settings.config.members.get(config.server_id)
        """This server's line; one of its own making until a configuration names it."""
        self._told_version = -1
        """The configuration that was complained of, because it does not name this server."""
        self._is_awake = False
        self._has_left = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._handlers: dict[QuorumLink, LearnerHandler] = {}
        self._strangers = Complaints(logger)
        """Of those who connect to the quorum port."""
        self.storage = StorageDriver(
            fs, config, recovered.tree,
            counters=counters, logged=self._flushed, lacked_room=lacked_room, ended=ended,
        )  # fmt: skip
        self.storage.abandon_snapshot()
        quorum_tls = tls.of_quorum(self._hosts) if tls is not None else None
        self._elections = ElectionTransport(
            config.server_id,
            self._settings,
            self._notified,
            tick_time_ms=config.tick_time_ms,
            failed=self._election_port_failed,
            tls=quorum_tls,
        )
        self._listener = QuorumListener(self._learner_link, quorum_tls)
        self._observer_listener = QuorumListener(self._observer_link, quorum_tls)
        self._dialer = QuorumDialer(
            self._leader_link, self._leader_connected, self._dial_failed, quorum_tls
        )
        sasl = self._settings.sasl
        self._sasl = None if sasl is None else QuorumSasl(sasl)
        self.counters = counters
        self.peer = Peer(
            config,
            recovered.tree,
            self,
            self._elections,
            history=recovered.recent,
            accepted_epoch=known.accepted,
            current_epoch=known.current,
            counters=counters,
            now_ms=monotonic_ms(),
            random=Random(),
        )

    async def start(self) -> None:
        """Bind the election port and look for a leader. Raises ElectionPortError."""
        if self.own is None:
            self.own = await self._joining()
        try:
            await self._elections.start(self.own)
        except OSError as error:
            addresses = ", ".join(map(str, self.own.election))
            raise ElectionPortError(
                f"server.{self.own.id}: the election port {addresses} cannot be bound: {error}"
            ) from error
        self.peer.start(monotonic_ms(), wall_ms())
        self._arm()

    async def _joining(self) -> membership.Member:
        """A line for a server that has none. Without a port for clients it takes its old ones."""
        config, known = self._config, self._settings.config
        own = await joining.own_line(config)
        logger.warning(
            "No line of the configuration, version %x, names server %d: it asks %s for the"
            " current one and follows without a vote",
            known.version, own.id, ", ".join(f"server {other}" for other in known.members),
        )  # fmt: skip
        if config.client_port is None and config.secure_client_port is None:
            self._clients_moved(own.client, own.secure_client)
        return own

    async def stop(self) -> None:
        """Leave the ensemble; what was logged is on disk afterwards, unless the disk is full."""
        self._has_left = True
        if self._timer is not None:
            self._timer.cancel()
        self.peer.stop()
        self._dialer.stop()
        self.stop_listening()
        await self._elections.stop()
        await self.storage.stop()

    def tick(self) -> None:
        """Time passed."""
        self.peer.tick(monotonic_ms(), wall_ms())
        self._arm()

    # Restoring

    def require_leader(self) -> LeadingTerm:
        """RestoreError where this member does not lead: a restore is a matter of all."""
        term = self.peer.term
        if not isinstance(term, LeadingTerm) or not term.leader.is_established:
            leader = self.peer.election.vote.leader
            raise RestoreError(
                f"this is a member of an ensemble, which its leader restores as a whole: ask"
                f" server {leader}"
            )
        return term

    async def restore(self, tree: DataTree) -> None:
        """Give all members this tree, whose `last_zxid` is set; it is on a quorum's disks then.

        Raises RestoreError, after which the ensemble goes on with what it had.
        """
        term = self.require_leader()
        leader = term.leader
        assert leader.epoch is not None
        if epoch(tree.last_zxid) > leader.epoch:
            raise RestoreError(
                f"the snapshot is of epoch {epoch(tree.last_zxid)}, and this ensemble is only in"
                f" epoch {leader.epoch}: zxids would go back. Restore data directories instead"
            )
        tree.last_zxid = max(tree.last_zxid, leader.last_proposed) + RESTORE_LEAP
        if epoch(tree.last_zxid) != leader.epoch:
            raise RestoreError("this epoch has too few zxids left: restart the leader first")
        await self.storage.prepare(tree)
        if self.peer.term is not term or leader.last_proposed >= tree.last_zxid:
            self.storage.forget_prepared()
            raise RestoreError("the ensemble changed while the tree was written; try again")
        self.peer.restore(monotonic_ms(), wall_ms(), tree)
        limit_s = self._settings.init_limit_ticks * self._config.tick_time_ms / 1000
        deadline = monotonic_ns() + int((RESTORE_SECONDS + limit_s) * 1e9)
        while self.peer.tree is tree and monotonic_ns() < deadline:
            replica = self.peer.replica
            if replica is not None and replica.mode is not Mode.READ_ONLY:
                return
            await asyncio.sleep(RESTORE_POLL_SECONDS)
        if self.peer.tree is not tree:
            raise RestoreError("another member was elected meanwhile, and nothing has changed")
        raise RestoreError("no quorum has taken the snapshot yet; it still may")

    def _hosts(self) -> frozenset[str]:
        """Of all who are members, or are about to be."""
        configs = (self.peer.config, self.peer.last_seen, self._settings.config)
        return frozenset(
            address.host
            for config in configs
            if config is not None
            for member in config.members.values()
            for address in (*member.quorum, *member.election)
        )

    # The election

    def _election_port_failed(self, error: OSError) -> None:
        logger.critical("The election port cannot be bound: %s", error)
        self._ended(EXIT_ELECTION_PORT)

    def _notified(self, server_id: int, message: bytes) -> None:
        self.peer.notified(monotonic_ms(), wall_ms(), server_id, message)
        self._arm()

    def _arm(self) -> None:
        """Wake up exactly when the election wants to."""
        deadline_ms = self.peer.election.deadline_ms()
        if self._has_left:
            return
        if deadline_ms == self._timer_ms or deadline_ms is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = deadline_ms
        delay = max(deadline_ms - monotonic_ms(), 0) / 1000
        self._timer = self._loop.call_later(delay, self._due)

    def _due(self) -> None:
        self._timer_ms = 0
        self.tick()

    # Connections of the quorum port

    def _learner_link(self) -> QuorumLink:
        return QuorumLink(
            opened=self._learner_connected,
            received=self._learner_received,
            lost=self._learner_lost,
            no_delay=self._settings.leader_no_delay,
            auth=None if self._sasl is None else self._sasl.accepted(),
            auth_seconds=self._config.tick_time_ms * self._settings.init_limit_ticks / 1000,
            complaints=self._strangers,
        )

    def _observer_link(self) -> QuorumLink:
        """At an observer that falls so far behind, the reference gives up, too (section 5.11)."""
        return QuorumLink(
            opened=self._observer_connected,
            received=self._learner_received,
            lost=self._learner_lost,
            no_delay=self._settings.leader_no_delay,
            auth=None if self._sasl is None else self._sasl.accepted(),
            auth_seconds=self._config.tick_time_ms * self._settings.init_limit_ticks / 1000,
            complaints=self._strangers,
            output_max_bytes=self._settings.observer_master_size_limit_bytes,
        )

    def _learner_connected(self, link: QuorumLink) -> None:
        self._keep(link, self.peer.learner_connected(monotonic_ms(), link, link.name))

    def _observer_connected(self, link: QuorumLink) -> None:
        self._keep(link, self.peer.observer_connected(monotonic_ms(), link, link.name))

    def _keep(self, link: QuorumLink, handler: LearnerHandler | None) -> None:
        """Together with those that have not been closed, which nobody tells us of."""
        for other in [other for other, of in self._handlers.items() if of.stage == Stage.GONE]:
            del self._handlers[other]
        if handler is not None:
            self._handlers[link] = handler

    def _learner_received(self, link: QuorumLink, data: bytes) -> None:
        handler = self._handlers.get(link)
        if handler is not None:
            self.peer.learner_received(monotonic_ms(), wall_ms(), handler, data)
            self._arm()

    def _learner_lost(self, link: QuorumLink) -> None:
        handler = self._handlers.pop(link, None)
        if handler is not None:
            self.peer.learner_disconnected(handler)

    def _leader_link(self) -> QuorumLink:
        return QuorumLink(
            opened=lambda _link: None,  # the dialer says when it is ours
            received=self._leader_received,
            lost=self._leader_lost,
            no_delay=self._settings.follower_no_delay,
            auth=None if self._sasl is None else self._sasl.dialled(),
            complaints=self._strangers,
        )

    def _leader_connected(self, link: QuorumLink) -> None:
        self.peer.dialled(monotonic_ms(), wall_ms(), link)

    def _leader_received(self, link: QuorumLink, data: bytes) -> None:
        self.peer.leader_received(monotonic_ms(), wall_ms(), link, data)
        self._arm()

    def _leader_lost(self, link: QuorumLink) -> None:
        self.peer.leader_disconnected(monotonic_ms(), wall_ms(), link)
        self._arm()

    def _dial_failed(self) -> None:
        leader = self.peer.election.vote.leader
        member = self.peer.config.members.get(leader)
        where = ", ".join(map(str, member.quorum)) if member is not None else "unknown"
        logger.warning("Server %d leads, but its quorum port (%s) does not answer", leader, where)
        self.peer.dial_failed(monotonic_ms(), wall_ms())
        self._arm()

    # The disk

    def _flushed(self, flush: Flush) -> None:
        self.peer.logged(monotonic_ms(), wall_ms(), flush.last_zxid)
        self._arm()

    # What the peer asks

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction."""
        self.storage.append(zxid, payload)

    def save_accepted_epoch(self, epoch: int) -> None:
        """Durable before it returns; raises StorageError, which ends the server or its term."""
        with self._telling():
            epochs.save_accepted(self._fs, self._config.storage, epoch)

    def save_current_epoch(self, epoch: int) -> None:
        """Durable before it returns; raises StorageError, which ends the server or its term."""
        with self._telling():
            epochs.save_current(self._fs, self._config.storage, epoch)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """A full disk is no reason to end; whatever this member was doing ends with the error."""
        try:
            yield
        except StorageError as error:
            if is_out_of_space(error):
                self._lacked_room(error, None)
            raise

    def truncate(self, zxid: int) -> None:
        """Cut the log and load what is left."""

        def done(recovered: Recovered) -> None:
            self.peer.truncated(monotonic_ms(), wall_ms(), recovered.tree, recovered.recent)
            self._arm()

        def refused() -> None:
            self.peer.cut_refused(monotonic_ms(), wall_ms())
            self._arm()

        self.storage.truncate(zxid, done, refused)

    def save_snapshot(self, tree: DataTree) -> None:
        """Make this tree the content of the data directory."""

        def done() -> None:
            self.peer.snapshot_saved(monotonic_ms(), wall_ms())
            self._arm()

        self.storage.save_snapshot(tree, done)

    def abandon_snapshot(self) -> None:
        """No snapshot until somebody is served again."""
        self.storage.abandon_snapshot()

    def older_history(self, zxid: int) -> Iterable[Entry] | None:
        """The log on disk from zxid on."""
        return history.proposals_since(
            self._fs,
            self._config.storage,
            zxid,
            snapshot_size_factor=self._settings.snapshot_size_factor,
        )

    def listen(self) -> None:
        """Accept learners."""
        member = self.peer.config.members.get(self._config.server_id)
        if member is None:
            logger.error("The configuration has no address for this server to lead at")
            return
        try:
            self._listener.start(self._bound(member.quorum))
        except OSError as error:
            logger.error("The quorum port cannot be bound: %s", error)

    def listen_for_observers(self) -> None:
        """Accept observers."""
        member = self.peer.config.members.get(self._config.server_id)
        if member is None:
            return  # a joiner has no address that others know
        port = self._settings.observer_master_port
        try:
            self._observer_listener.start(self._bound(_with_port(member.quorum, port)))
        except OSError as error:
            logger.error("The port for observers, %d, cannot be bound: %s", port, error)

    def _bound(self, addresses: Sequence[Address]) -> list[Address]:
        if not self._settings.quorum_listen_on_all_ips:
            return list(addresses)
        return list(dict.fromkeys(Address(ANY_HOST, address.port) for address in addresses))

    def stop_listening(self) -> None:
        """Accept nobody."""
        self._listener.stop()
        self._observer_listener.stop()

    def dial(self, leader: int, config: EnsembleConfig) -> None:
        """Connect to the leader."""
        member = config.members.get(leader)
        self._dial(member.quorum if member is not None else ())

    def dial_observer_master(self, master: int, config: EnsembleConfig) -> None:
        """Connect to a voter's port for observers."""
        member = config.members.get(master)
        port = self._settings.observer_master_port
        self._dial(_with_port(member.quorum, port) if member is not None else ())

    def _dial(self, addresses: Sequence[Address]) -> None:
        ticks = self._settings.connect_to_learner_master_limit_ticks
        self._dialer.start(
            addresses,
            delay_ms=self._settings.leader_connect_delay_ms,
            limit_ms=(ticks or self._settings.init_limit_ticks) * self._config.tick_time_ms,
        )

    def hang_up(self) -> None:
        """Dial no more."""
        self._dialer.stop()

    def serve(self, replica: Replica | None) -> None:
        """Clients talk to this replica."""
        if replica is not None and replica.mode != Mode.READ_ONLY:
            self.storage.allow_snapshots()
            self._tell_if_unnamed()
            if replica.mode == Mode.LEADER and not self._settings.leader_serves:
                replica = None
        self._serve(replica)

    def _tell_if_unnamed(self) -> None:
        """Once for each configuration: what it takes to have a vote."""
        config = self.peer.config
        if (
            self.own is None
            or self.own.id in config.members
            or config.version == self._told_version
        ):
            return
        self._told_version = config.version
        logger.warning(
            "The membership of version %x does not name server %d: it follows without a vote until"
            " somebody does so: %s",
            config.version, self.own.id, joining.command(self.own),
        )  # fmt: skip

    def activate(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None:
        """Use and record the configurations; raises StorageError, which ends the server."""
        self._elections.reconfigure(config, last_seen)
        own = config.members.get(self._config.server_id)
        self.own = own or self.own
        static = self._settings.config_path
        if static is None or not self._config.reconfig_enabled:
            return
        with self._telling():
            if last_seen is not None:
                dynamic_config.save_next(self._fs, static, last_seen)
            elif config.version != self._recorded_version:
                self._recorded_version = config.version
                dynamic_config.save_committed(
                    self._fs,
                    static,
                    config,
                    client_port_moved=own is not None and own.client is not None,
                    secure_port_moved=own is not None and own.secure_client is not None,
                )
        if own is not None:
            self._clients_moved(own.client, own.secure_client)

    def wake(self) -> None:
        """Flush at the end of this turn."""
        if not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_awake = False
        self.peer.flush()


def _with_port(addresses: Iterable[Address], port: int) -> list[Address]:
    """The same hosts, each once."""
    return list(dict.fromkeys(Address(address.host, port) for address in addresses))
