"""One simulated server: the peer, its disk, its connections and its clocks.

Implements the peer's `Shell` as the server room does, with virtual time in place of a loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from kraal.errors import StorageError
from kraal.model.config import ServerConfig
from kraal.model.ensemble import EnsembleConfig
from kraal.model.zxid import show
from kraal.pipeline.counters import Counters
from kraal.replica.leading import Leading
from kraal.replica.peer import Peer
from kraal.replica.replica import Replica
from kraal.replica.status import Mode
from kraal.sim.client_port import ClientPort
from kraal.sim.disk import DiskSpeed, SimDisk
from kraal.sim.network import Endpoint
from kraal.sim.scheduler import MS, Action, Host
from kraal.storage import epochs, history
from kraal.storage.epochs import Epochs
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import Recovered, recover, save_initial
from kraal.storage.txn_log import Flush
from kraal.tree.data_tree import DataTree
from kraal.zab.history import Entry
from kraal.zab.state import State

if TYPE_CHECKING:
    from kraal.sim.world import World

TICK_MS = 50
LATE_FLUSHES = 0.2
"""Share of turns whose output leaves only after further inputs."""
DIAL_ATTEMPTS = 5
WALL_MS = 1_700_000_000_000


class PowerFailureError(BaseException):
    """The machine lost its power inside a turn; nothing may catch it but the turn."""


@dataclass
class Clock:
    """How this machine's clocks run."""

    rate: float = 1.0
    """Local milliseconds in one of true time."""
    monotonic_ms: int = 1_000_000
    """What the monotonic clock showed at the begin of the run."""
    wall_ms: int = WALL_MS
    """What the wall clock showed then, with the jumps since."""


class SimServer(Host):
    """A machine with its disk; between `start` and its death it runs one peer."""

    def __init__(self, world: World, config: ServerConfig) -> None:
        super().__init__(world.scheduler, f"server {config.server_id}")
        self.world = world
        self.config = config
        self.id = config.server_id
        self.is_up = False
        self.is_idle = False
        """Whether it is to be started later, or never."""
        self.clock = Clock()
        self.speed = DiskSpeed()
        self.fs = MemoryFileSystem(world.random)
        self.fails_after: int | None = None
        """Operations of the file system until the power fails in the midst of one."""
        self.has_bad_disk = False
        """Whether operations of the file system may fail: the process ends then."""
        self.peer: Peer
        self.disk: SimDisk
        self.port = ClientPort(self)
        self.is_listening = False
        self.takes_observers = False
        self.known: Epochs | None = None
        self._random: Random = world.random
        self._endpoints: dict[Endpoint, None] = {}
        self._dial = 0
        """Counts dials: an attempt of an earlier one is void."""
        self._is_awake = self._is_late = False
        self._armed_ms: int | None = None

    # Clocks

    @property
    def now_ms(self) -> int:
        """The monotonic clock."""
        clock = self.clock
        return clock.monotonic_ms + int(self.scheduler.now_us * clock.rate) // MS

    @property
    def wall_ms(self) -> int:
        clock = self.clock
        return clock.wall_ms + int(self.scheduler.now_us * clock.rate) // MS

    def _us(self, local_ms: float) -> int:
        return int(local_ms * MS / self.clock.rate) + 1

    # Turns

    def turn(self, action: Action) -> None:
        """One input; a failure of power inside it ends this life."""
        try:
            action()
            if self._is_awake and not self._is_late:
                self._flush()
        except PowerFailureError:
            self.world.trace(self, "loses its power in the midst of writing")
            self._die(silent=self._random.random() < 0.3)
            return
        except Exception as error:
            if not (self.has_bad_disk and isinstance(error, StorageError)):
                self.world.failed(self, error)
            self.world.trace(self, "ends: %s", error)
            self.crash(power=False)
            return
        if self.is_up:
            if self.peer.state is State.LOOKING:
                self._arm()
            self.world.checks.after_turn(self)

    def _arm(self) -> None:
        deadline_ms = self.peer.election.deadline_ms()
        if deadline_ms is None or deadline_ms == self._armed_ms:
            return
        self._armed_ms = deadline_ms

        def due() -> None:
            if self._armed_ms == deadline_ms:
                self._armed_ms = None
                self.peer.tick(self.now_ms, self.wall_ms)

        self.after(self._us(max(deadline_ms - self.now_ms, 0)), due)

    def _tick(self) -> None:
        self.peer.tick(self.now_ms, self.wall_ms)
        self.after(self._us(TICK_MS), self._tick)

    # Life

    def start(self) -> None:
        """Boot: recover, then take part in the ensemble."""
        assert not self.is_up, f"{self.name} runs already"
        self.is_up = True
        self.turn(self._boot)

    def _boot(self) -> None:
        config, fs = self.config, self.fs
        fs.hook = self._count_operation
        recovered = recover(fs, config.storage, extended_types=config.extended_types)
        if recovered.needs_initial_snapshot:
            save_initial(fs, config.storage, recovered.tree)
        known = epochs.load(fs, config.storage, recovered.tree.last_zxid)
        self.world.checks.booted(self, recovered, known)
        self.disk = SimDisk(self, fs, config, recovered.tree, self._random, self._flushed)
        self.disk.abandon_snapshot()
        self.is_listening = self._is_awake = self._is_late = False
        self.takes_observers = False
        self._armed_ms = None
        self.world.trace(self, "starts with %s, epochs %d and %d",
                         show(recovered.tree.last_zxid), known.accepted, known.current)  # fmt: skip
        self.peer = Peer(
            config,
            recovered.tree,
            self,
            Mail(self),
            history=recovered.recent,
            accepted_epoch=known.accepted,
            current_epoch=known.current,
            counters=Counters(started_ms=self.now_ms),
            now_ms=self.now_ms,
            random=self._random,
        )
        self.peer.start(self.now_ms, self.wall_ms)
        self.after(self._us(self._random.randint(0, TICK_MS)), self._tick)

    def crash(self, *, power: bool) -> None:
        """The process is killed, or the machine loses its power and what was not flushed."""
        self.world.trace(self, "loses its power" if power else "is killed")
        if power:
            self.fs = self.fs.crash(self._random)
        else:
            self.fs = self.fs.killed()
        self._die(silent=power and self._random.random() < 0.3)

    def _die(self, *, silent: bool) -> None:
        """`silent`: no peer learns of it but by what does not come."""
        self.die()
        self.fails_after = None
        self.has_bad_disk = False
        for endpoint in self._endpoints:
            if silent:
                endpoint.vanish()
            else:
                endpoint.close()
        self._endpoints.clear()
        self.port.forget()
        self.world.checks.died(self)

    def _count_operation(self, _kind: str, _path: object) -> None:
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                self.fs.hook = None
                self.fs = self.fs.crash(self._random)
                raise PowerFailureError

    def keep(self, endpoint: Endpoint) -> None:
        """This end dies with the process."""
        self._endpoints[endpoint] = None
        if len(self._endpoints) > 100:
            self._endpoints = {end: None for end in self._endpoints if end.is_open}

    def end_session(self, session_id: int) -> None:
        """Somebody asks this leader to end a session at once."""

        def expire() -> None:
            replica = self.peer.replica
            if isinstance(replica, Leading):
                replica.expire(self.now_ms, self.wall_ms, session_id)

        self.turn(expire)

    # The election

    def notified(self, server_id: int, message: bytes) -> None:
        """A notification arrives."""
        self.peer.notified(self.now_ms, self.wall_ms, server_id, message)

    # Connections of the quorum port

    def accept(self, of_observers: bool, link: Endpoint) -> None:
        """A learner dialled one of both ports."""
        self.keep(link)
        peer = self.peer
        connected = peer.observer_connected if of_observers else peer.learner_connected
        handler = connected(self.now_ms, link, link.name)
        if handler is None:
            return
        link.received = lambda data: peer.learner_received(self.now_ms, self.wall_ms, handler, data)
        link.lost = lambda: peer.learner_disconnected(handler)
        link.resume_reading()

    def _dialled(self, dial: int, link: Endpoint) -> None:
        self.keep(link)
        if dial != self._dial:
            link.close()
            return
        peer = self.peer
        link.received = partial(self._leader_said, link)
        link.lost = lambda: peer.leader_disconnected(self.now_ms, self.wall_ms, link)
        peer.dialled(self.now_ms, self.wall_ms, link)

    def _leader_said(self, link: Endpoint, data: bytes) -> None:
        self.peer.leader_received(self.now_ms, self.wall_ms, link, data)

    # The disk

    def _flushed(self, flush: Flush) -> None:
        self.world.checks.flushed(self, flush.last_zxid)
        self.peer.logged(self.now_ms, self.wall_ms, flush.last_zxid)

    # What the peer asks

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction."""
        self.world.checks.appended(self, zxid, payload)
        self.disk.append(zxid, payload)

    def save_accepted_epoch(self, epoch: int) -> None:
        """Durable before it returns."""
        self.world.checks.saving_epoch(self, "accepted", epoch)
        epochs.save_accepted(self.fs, self.config.storage, epoch)
        self.world.checks.saved_epoch(self, "accepted", epoch)

    def save_current_epoch(self, epoch: int) -> None:
        """Durable before it returns."""
        self.world.checks.saving_epoch(self, "current", epoch)
        epochs.save_current(self.fs, self.config.storage, epoch)
        self.world.checks.saved_epoch(self, "current", epoch)

    def truncate(self, zxid: int) -> None:
        """Cut the log and load what is left."""
        self.world.trace(self, "cuts its log behind %s", show(zxid))
        self.world.checks.giving_up(self, zxid)

        def done(recovered: Recovered) -> None:
            self.world.checks.given_up(self, recovered.tree.last_zxid)
            self.peer.truncated(self.now_ms, self.wall_ms, recovered.tree, recovered.recent)

        def refused() -> None:
            self.world.checks.cut_refused(self, zxid)
            self.peer.cut_refused(self.now_ms, self.wall_ms)

        self.disk.truncate(zxid, done, refused)

    def save_snapshot(self, tree: DataTree) -> None:
        """Make this tree the content of the data directory."""
        zxid = tree.last_zxid
        self.world.trace(self, "adopts a snapshot of %s", show(zxid))
        self.world.checks.giving_up(self, zxid)
        self.world.checks.adopting(self)

        def done() -> None:
            self.world.checks.given_up(self, zxid)
            self.peer.snapshot_saved(self.now_ms, self.wall_ms)

        self.disk.save_snapshot(tree, done)

    def abandon_snapshot(self) -> None:
        """No snapshot until somebody is served again."""
        self.disk.abandon_snapshot()

    def older_history(self, zxid: int) -> Iterable[Entry] | None:
        """The log on disk from zxid on."""
        assert self.config.ensemble is not None
        return history.proposals_since(
            self.fs,
            self.config.storage,
            zxid,
            snapshot_size_factor=self.config.ensemble.snapshot_size_factor,
        )

    def listen(self) -> None:
        """Accept learners."""
        self.is_listening = True

    def listen_for_observers(self) -> None:
        """Accept observers, while following."""
        self.takes_observers = True

    def stop_listening(self) -> None:
        """Accept nobody."""
        self.is_listening = self.takes_observers = False

    def dial(self, leader: int, config: EnsembleConfig) -> None:
        """Connect to the leader: five attempts, unless the network is silent."""
        self._dial_port(leader, config, of_observers=False)

    def dial_observer_master(self, master: int, config: EnsembleConfig) -> None:
        """Connect to a voter, which may or may not take observers."""
        self._dial_port(master, config, of_observers=True)

    def _dial_port(self, leader: int, config: EnsembleConfig, *, of_observers: bool) -> None:
        self._dial += 1
        assert self.config.ensemble is not None
        ticks = self.config.ensemble.init_limit_ticks
        limit_us = self.scheduler.now_us + self._us(ticks * self.config.tick_time_ms)
        if leader in config.members:
            self._attempt(self._dial, self.world.servers[leader], of_observers, 1, limit_us)
        else:
            self.after(0, partial(self._dial_failed, self._dial))

    def _attempt(
        self, dial: int, leader: SimServer, of_observers: bool, number: int, limit_us: int
    ) -> None:
        if dial != self._dial:
            return
        network = self.world.network
        is_heard = network.reaches(self, leader) and network.reaches(leader, self)
        is_listening = leader.takes_observers if of_observers else leader.is_listening
        if is_heard and leader.is_up and is_listening:
            near, far = network.connect(self, leader, f"{self.id}-{leader.id}")
            far.pause_reading()  # until it is accepted
            leader.after(network.delay(), partial(leader.accept, of_observers, far))
            self.after(2 * network.delay(), partial(self._dialled, dial, near))
            return
        assert self.config.ensemble is not None
        delay_us = self._us(self.config.ensemble.leader_connect_delay_ms)
        is_last = is_heard and number == DIAL_ATTEMPTS
        if is_last or self.scheduler.now_us + delay_us > limit_us:
            self.after(0, partial(self._dial_failed, dial))
            return
        # Where nothing is heard, an attempt is not refused: it goes on asking.
        again = number + 1 if is_heard else number
        attempt = partial(self._attempt, dial, leader, of_observers, again, limit_us)
        self.after(delay_us, attempt)

    def _dial_failed(self, dial: int) -> None:
        if dial == self._dial:
            self.peer.dial_failed(self.now_ms, self.wall_ms)

    def hang_up(self) -> None:
        """Dial no more."""
        self._dial += 1

    def serve(self, replica: Replica | None) -> None:
        """Clients talk to this replica."""
        assert self.config.ensemble is not None
        if replica is not None and replica.mode != Mode.READ_ONLY:
            self.disk.allow_snapshots()
        self.world.checks.serving(self, replica)
        self.world.disturbed_us = max(self.world.disturbed_us, self.scheduler.now_us)
        if replica is not None and replica.mode == Mode.LEADER:
            replica = replica if self.config.ensemble.leader_serves else None
        self.port.replica = replica

    def activate(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None:
        """Use a committed configuration, and find it at the next start."""
        if self.config.reconfig_enabled:
            assert self.config.ensemble is not None
            ensemble = replace(self.config.ensemble, config=config, last_seen=last_seen)
            self.config = replace(self.config, ensemble=ensemble)
        self.world.checks.activated(self, config, last_seen)

    def wake(self) -> None:
        """Flush at the end of this turn, or soon after it."""
        if not self._is_awake:
            self._is_awake = True
            self._is_late = self._random.random() < LATE_FLUSHES
            if self._is_late:
                self.after(0, self._flush)

    def _flush(self) -> None:
        self._is_awake = False
        self.peer.flush()


class Mail:
    """The courier of one server's election."""

    def __init__(self, server: SimServer) -> None:
        self._server = server

    def send(self, server_id: int, message: bytes) -> None:
        """Send a notification."""
        sender = self._server
        target = sender.world.servers.get(server_id)
        if target is not None:
            sender.world.network.carry(sender, target, lambda: target.notified(sender.id, message))
