"""What a server says of itself: immutable values that the admin room turns into text.

Field names follow reference/operations.md section 2. Times are in milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath

from kraal.model.ensemble import EnsembleConfig, Member


class Mode(StrEnum):
    """The word after `Mode:` in `srvr`."""

    STANDALONE = "standalone"
    LEADER = "leader"
    FOLLOWER = "follower"
    OBSERVER = "observer"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Request latencies since the last reset, in milliseconds."""

    minimum_ms: int = 0
    total_ms: int = 0
    maximum_ms: int = 0
    count: int = 0

    @property
    def average_ms(self) -> float:
        return self.total_ms / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A summary of whole numbers, such as times in milliseconds or sizes in bytes."""

    minimum: int = 0
    maximum: int = 0
    total: int = 0
    count: int = 0
    buckets: Sequence[tuple[int, int]] = ()
    """Values in ascending order and how often each came; large values are rounded."""

    @property
    def average(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> float:
        """The value that this share does not exceed, interpolated as the reference does it."""
        position = share * (self.count + 1)
        below = int(position)
        if below < 1 or not self.buckets:
            return self.minimum
        if below >= self.count:
            return self.maximum
        seen, lower = 0, None
        for value, count in self.buckets:
            seen += count
            if lower is not None:
                return lower + (position - below) * (value - lower)
            if seen > below:
                return value
            if seen == below:
                lower = value
        return self.maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Metrics by their names (reference/operations.md section 4), those that a server has."""

    numbers: Mapping[str, int | float] = field(default_factory=dict)
    sets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    summaries: Mapping[str, Distribution] = field(default_factory=dict)
    summary_sets: Mapping[str, Mapping[str, Distribution]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStatus:
    """One client connection, for `cons`, `stat` and `dump`."""

    host: str
    port: int
    session_id: int
    """0 before a session is established."""
    queued: int
    received: int
    sent: int
    outstanding: int
    last_operation: str
    established_wall_ms: int
    timeout_ms: int
    last_cxid: int
    last_zxid: int
    last_response_ms: int
    last_latency_ms: int
    latency: Latency
    reading: bool
    deadline_ms: int | None = None
    """Monotonic time of the bucket in which the idle connection is closed; None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    session_id: int
    timeout_ms: int
    deadline_ms: int | None
    """Monotonic time of the expiry bucket; None: another server decides when it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderStatus:
    """What only the leader knows (section 4.2)."""

    learners: int
    """Connections to its quorum port, however far they are."""
    synced_followers: int
    """Those that get proposals, whether or not they vote."""
    synced_non_voting_followers: int
    synced_observers: int
    pending_syncs: int
    uptime_ms: int
    last_proposal_bytes: int
    """-1 before the first; the others as well."""
    min_proposal_bytes: int
    max_proposal_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerStatus:
    """One learner's connection, for the admin command `observers`."""

    address: str
    server_id: int
    is_observer: bool
    connected_wall_ms: int
    queued_bytes: int
    packets_received: int
    packets_sent: int
    requests: int
    last_zxid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleStatus:
    """What a member of an ensemble says beyond a server that stands alone."""

    member: Member
    """Its own server line."""
    config: EnsembleConfig
    """The committed membership."""
    peer_state: str | None
    """As in `mntr`, for example `following - broadcast`; None without a leader."""
    phase: str = "broadcast"
    """`election`, `discovery`, `synchronization` or `broadcast`."""
    leader_id: int | None = None
    """Who leads, if that is known."""
    behind: int = 0
    """Transactions that a learner knows of and has not applied yet."""
    is_different: bool = False
    """Whether a learner's tree was seen to differ from the leader's."""
    silent_ms: int = 0
    """For how long a learner has not heard of its leader."""
    observer_master_id: int | None = None
    """Whom an observer observes."""
    synced_observers: int | None = None
    """Of a follower that serves observers."""
    leader: LeaderStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """The figures of `srvr` and `mntr` at one moment."""

    mode: Mode
    serving: bool
    last_zxid: int
    node_count: int
    """As the reference counts: the root has two keys."""
    received: int
    sent: int
    connections: int
    outstanding: int
    latency: Latency
    watch_count: int
    ephemerals_count: int
    session_count: int
    """Global sessions."""
    approximate_data_bytes: int
    uptime_ms: int
    local_session_count: int = 0
    slow_syncs: int = 0
    """Writes of the log that took longer than `fsync.warningthresholdms`."""
    handshakes: int = 0
    """TLS handshakes with clients under way."""
    handshakes_failed: int = 0
    plain_connections: tuple[int, int] = (0, 0)
    """Without TLS from this host and from others, where TLS is spoken."""
    response_sizes: tuple[int, int, int] = (-1, -1, -1)
    """Last, smallest and largest; -1 before the first."""
    disk_trouble: str | None = None
    """Why writes are refused for the disk's sake; None: they are not."""
    ensemble: EnsembleStatus | None = None
    """None: a server that stands alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatus:
    """The data-watch table, which is what `wchs`, `wchc` and `wchp` report."""

    by_path: Iterable[tuple[bytes, Sequence[int]]]
    """Path and the session ids that watch it, made while they are looked at, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedPath:
    """How many sessions watch a path's data, or its children."""

    path: bytes
    data: int
    children: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchingSession:
    """How many watches a session has."""

    session_id: int
    host: str
    watches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyRow:
    """A client, path or operation and its share of the load."""

    name: str
    session_id: int = 0
    """Of a client; 0: none."""
    requests: int
    error: int
    """By how much `requests` may be too high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStatus:
    """Who and what causes the load, the heaviest first."""

    counted_ms: int
    """For how long it has been counted."""
    clients: Sequence[HeavyRow]
    paths: Sequence[HeavyRow]
    operations: Sequence[HeavyRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowRequestStatus:
    """A request that took longer than `slowRequestThresholdMs`."""

    wall_ms: int
    latency_ms: int
    operation: str
    path: str
    session_id: int
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEventStatus:
    """Something that befell a session."""

    wall_ms: int
    what: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeZnode:
    """A znode whose data or list of children is near what one answer may hold."""

    path: str
    data_bytes: int
    children: int
    children_bytes: int
    """Of the answer to getChildren."""


class ZnodeKind(StrEnum):
    """What decides how long a znode lives (reference/client-protocol.md section 6)."""

    PERSISTENT = "persistent"
    EPHEMERAL = "ephemeral"
    CONTAINER = "container"
    TTL = "ttl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStatus:
    """One child of a znode."""

    kind: ZnodeKind
    session_id: int = 0
    """Of an ephemeral: whose it is."""
    ttl_ms: int = 0
    """Of a znode with a TTL."""
    data_bytes: int
    children: int


class Access(StrEnum):
    """Whether somebody may take or restore snapshots, or list children."""

    GRANTED = "granted"
    UNKNOWN = "unknown"
    """The scheme is not there, or the credential is wrong."""
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """A snapshot on disk."""

    path: PurePath
    zxid: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupStream:
    """An archive that is made while it is sent."""

    zxid: int
    """The last transaction in it; all before it are in it, and none behind it."""
    size: int
    """Of the whole archive, in bytes."""
    pieces: AsyncIterator[bytes]
