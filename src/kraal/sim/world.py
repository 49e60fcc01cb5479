"""A whole ensemble in virtual time, decided by one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

from kraal.model.config import EnsembleSettings, SecurityConfig, ServerConfig, StorageConfig
from kraal.model.ensemble import EnsembleConfig, Role
from kraal.replica.status import Mode
from kraal.sim.checks.panel import Checks
from kraal.sim.client import SimClient
from kraal.sim.network import Conditions, Network
from kraal.sim.scheduler import MS, Host, Scheduler
from kraal.sim.server import SimServer
from kraal.sim.violation import ViolationError, violated

if TYPE_CHECKING:
    from kraal.sim.application import Application
    from kraal.sim.checks.history import History

TRACE_KEPT = 2000
DATA = PurePath("/data")


@dataclass
class EnsemblePlan:
    """How an ensemble is set up; times in ms."""

    voters: int = 3
    observers: int = 0
    groups: str = ""
    """Lines of a configuration that make it a hierarchy; not together with spares."""
    spares: int = 0
    """Servers that run, if at all, to join one day; the membership can change then."""
    tick_ms: int = 200
    init_limit_ticks: int = 10
    sync_limit_ticks: int = 5
    max_notification_interval_ms: int = 2000
    commit_log_count: int = 500
    snap_count: int = 100_000
    pre_alloc_bytes: int = 0
    snapshot_size_factor: float = 0.33
    settings: dict[str, Any] = field(default_factory=dict)
    """Further ones of `ServerConfig`."""
    ensemble: dict[str, Any] = field(default_factory=dict)
    """Further ones of `EnsembleSettings`."""


def server_line(server_id: int, role: Role) -> str:
    """As a configuration file and a reconfiguration name a server."""
    return f"server.{server_id}=s{server_id}:2888:3888:{role};2181"


def configuration(plan: EnsemblePlan) -> dict[int, ServerConfig]:
    """What each server is told at its start: voters first, then observers, then spares."""
    ids = range(1, plan.voters + plan.observers + plan.spares + 1)
    lines = {
        server_id: server_line(
            server_id, Role.PARTICIPANT if server_id <= plan.voters else Role.OBSERVER
        )
        for server_id in ids
    }
    members = [lines[server_id] for server_id in ids[: plan.voters + plan.observers]]
    return {
        # A joiner knows the others and itself; it observes until it is taken in.
        server_id: _server_config(plan, server_id, dict.fromkeys([*members, lines[server_id]]))
        for server_id in ids
    }


def _server_config(plan: EnsemblePlan, server_id: int, lines: Iterable[str]) -> ServerConfig:
    config = EnsembleConfig.parse("\n".join([*lines, plan.groups]))
    ensemble = EnsembleSettings(
        config=config,
        init_limit_ticks=plan.init_limit_ticks,
        sync_limit_ticks=plan.sync_limit_ticks,
        max_notification_interval_ms=plan.max_notification_interval_ms,
        commit_log_count=plan.commit_log_count,
        snapshot_size_factor=plan.snapshot_size_factor,
        **{"tree_resync_interval_ms": 0, **plan.ensemble},  # a member may not mend what is found
    )
    storage = StorageConfig(
        data_dir=DATA,
        data_log_dir=DATA,
        pre_alloc_bytes=plan.pre_alloc_bytes,
        snap_count=plan.snap_count,
    )
    return ServerConfig(
        server_id=server_id,
        storage=storage,
        ensemble=ensemble,
        security=SecurityConfig(skip_acl=plan.spares > 0),
        tick_time_ms=plan.tick_ms,
        min_session_timeout_ms=2 * plan.tick_ms,
        max_session_timeout_ms=20 * plan.tick_ms,
        reconfig_enabled=plan.spares > 0,
        **plan.settings,
    )


class World:
    """Servers, clients, the network between them, and those who watch."""

    def __init__(self, seed: int, plan: EnsemblePlan, conditions: Conditions | None = None) -> None:
        self.random = Random(seed)
        self.plan = plan
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, self.random, conditions or Conditions())
        self.entries: list[tuple[int, str, str, tuple[object, ...]]] = []
        self.trace_hash = 0
        self.disturbed_us = 0
        """When a fault was last at work."""
        self.silent_until_us = 0
        """Until when the clients of a workload ask for nothing."""
        self.checks = Checks(self)
        self.servers = {
            server_id: SimServer(self, config) for server_id, config in configuration(plan).items()
        }
        spares = list(self.servers.values())[plan.voters + plan.observers :]
        for server in spares:
            server.is_idle = True
        self.clients: list[SimClient] = []
        self.on_client_lost: Callable[[], None] | None = None
        self.applications: list[Application] = []
        self.are_names_known = True
        """Whether applications can look up addresses."""
        self.on_application_lost: Callable[[], None] | None = None

    # Time

    def run(self, ms: int) -> None:
        """Let time pass."""
        self.scheduler.run(ms * MS)

    def now_ms(self) -> int:
        return self.scheduler.now_us // MS

    # Clients

    @property
    def server_ids(self) -> Sequence[int]:
        """Whom clients try."""
        return [server_id for server_id, server in self.servers.items() if not server.is_idle]

    def client(self, timeout_ms: int = 2000, *, read_only: bool = False) -> SimClient:
        """A client that connects."""
        client = SimClient(self, len(self.clients) + 1, timeout_ms=timeout_ms, read_only=read_only)
        self.clients.append(client)
        client.start()
        return client

    def replace_client(self) -> None:
        """One died: another one takes its place, if somebody wants that."""
        if self.on_client_lost is not None:
            self.on_client_lost()

    def replace_application(self) -> None:
        """One died: another one takes its place, if somebody wants that."""
        if self.on_application_lost is not None:
            self.on_application_lost()

    def silence(self, ms: int) -> None:
        """Let clients ask for nothing for a while: servers come to rest as they are."""
        self.silent_until_us = max(self.silent_until_us, self.scheduler.now_us + ms * MS)

    # What is seen

    @property
    def history(self) -> History:
        """Everything that is committed by now."""
        return self.checks.history

    @property
    def shown_zxid(self) -> int:
        """The newest transaction that any server has applied."""
        return self.checks.history.tip

    @property
    def now_us(self) -> int:
        """Time since the begin."""
        return self.scheduler.now_us

    def is_session_ending(self, session_id: int) -> bool:
        """Whether some server has proposed, at least, to end it."""
        return self.checks.sessions.is_ending(session_id)

    def watches_left(self) -> list[tuple[int, list[bytes]]]:
        """What servers watch for the applications, by session."""
        return [
            (conn.session.id, sorted(conn.data_watches | conn.child_watches))
            for server in self.servers.values()
            for conn in (channel.conn for channel in server.port.connections)
            if conn.session is not None and (conn.data_watches or conn.child_watches)
        ]

    def leader(self) -> SimServer | None:
        """The established leader of the newest epoch that is up."""
        leaders = [
            server
            for server in self.servers.values()
            if server.is_up
            and server.peer.replica is not None
            and server.peer.replica.mode == Mode.LEADER
        ]
        return max(leaders, key=lambda server: server.peer.current_epoch, default=None)

    def trace(self, who: Host, what: str, *args: object) -> None:
        """Note what happened."""
        entry = (self.scheduler.now_us, who.name, what, args)
        self.trace_hash = crc32(repr(entry).encode(), self.trace_hash)
        self.entries.append(entry)
        if len(self.entries) > 2 * TRACE_KEPT:
            del self.entries[:TRACE_KEPT]

    def note(self, who: str, what: str) -> None:
        """A line among the events that is not part of the story."""
        self.entries.append((self.scheduler.now_us, who, "%s", (what,)))

    def trace_lines(self, count: int = TRACE_KEPT) -> list[str]:
        """The last entries as text."""
        return [
            f"{at_us / 1_000_000:11.6f} {who}: {what % args if args else what}"
            for at_us, who, what, args in self.entries[-count:]
        ]

    def failed(self, who: Host, error: Exception) -> NoReturn:
        """An input raised: that is a violation whatever it was."""
        if isinstance(error, ViolationError):
            raise error
        try:
            violated("no input raises", "%s: %s: %s", who.name, type(error).__name__, error)
        except ViolationError as violation:
            raise violation from error
