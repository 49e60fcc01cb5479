"""Plain integers that count; whoever shows them reads them when asked."""

from __future__ import annotations

from collections import defaultdict

from kraal.pipeline.load import Load
from kraal.pipeline.session_journal import SessionJournal
from kraal.pipeline.summary import Summary, merged


class SizeCounter:
    """Last, minimum and maximum size in bytes; -1 before the first."""

    __slots__ = ("last", "maximum", "minimum")

    def __init__(self) -> None:
        self.last = self.maximum = self.minimum = -1

    def add(self, size: int) -> None:
        self.last = size
        if not self.minimum <= size <= self.maximum:
            self.maximum = max(self.maximum, size)
            self.minimum = size if self.minimum < 0 else min(self.minimum, size)


class Counts:
    """What happened, by how often it did; times in milliseconds, sizes in bytes."""

    def __init__(self) -> None:
        # Connections and sessions.
        self.connect_requests = 0
        self.connections_rejected = 0
        self.token_deficit = Summary()
        """Tokens that the connection throttle lacked, at each request for a session."""
        self.connections_dropped = 0
        """Lost without a closeSession."""
        self.connections_revalidated = 0
        self.sessionless_expired = 0
        self.closed_without_server = 0
        """Clients sent away because there was no leader."""
        self.sessions_expired = 0
        # Requests and what answers them.
        self.bytes_received = 0
        self.bytes_sent = 0
        self.watch_bytes = 0
        self.requests_throttled = 0
        """Answered with ThrottledOp."""
        self.requests_stalled = 0
        """Times that a connection had to wait for room."""
        self.large_requests_rejected = 0
        self.requests_too_long = 0
        """Refused because they were longer than `jute.maxbuffer`."""
        self.near_limit_writes = 0
        self.near_limit_answers = 0
        self.watches_refused = 0
        """Requests that would have set more watches than a session may have."""
        self.read_latency = Summary()
        self.update_latency = Summary()
        self.watches_fired: dict[str, Summary] = {
            kind: Summary() for kind in ("created", "deleted", "changed", "children")
        }
        # The way of a write.
        self.changes_installed = 0
        """Images of znodes that became the tree's."""
        self.propagation = Summary()
        """From the time that a transaction carries to its effect here."""
        self.digest_mismatches = 0
        self.tree_resyncs = 0
        """Trees that differed and gave way to the leader's."""
        self.sync_waits = Summary()
        """Of the oldest transaction of a flush, until the flush began."""
        self.fsync = Summary()
        self.wait_and_sync = Summary()
        self.sync_batches = Summary()
        """Transactions of a flush."""
        self.slow_syncs = 0
        self.pauses = Summary()
        """Turns of the event loop that came late, by how much."""
        self.insecure_admin_requests = 0
        self._zero_tls()
        self._zero_storage()
        self._zero_ensemble()

    def _zero_tls(self) -> None:
        """Clients of a server that speaks TLS."""
        self.handshakes_failed = 0
        self.handshakes_exceeded = 0
        """Connections closed because too many others shook hands."""
        self.plain_local_connections = 0
        self.plain_remote_connections = 0

    def _zero_storage(self) -> None:
        self.snapshot_time = Summary()
        self.snapshot_load_time = Summary()
        self.replay_time = Summary()
        self.replayed = Summary()
        self.recovery_time = Summary()
        self.snapshot_errors = 0
        self.snapshots_rate_limited = 0
        self.restore_time = Summary()
        self.restore_errors = 0
        self.restores_rate_limited = 0

    def _zero_ensemble(self) -> None:
        """What a leader does, then what a learner gets, then changes of roles."""
        self.proposals = 0
        self.commits = 0
        self.quorum_latency = Summary()
        """From a proposal to its quorum."""
        self.ack_latency: dict[int, Summary] = defaultdict(Summary)
        """From a proposal to its acknowledgement by a voter; of some proposals."""
        self.diffs_sent = 0
        self.snapshots_sent = 0
        self.diffs_under_way = Summary()
        self.snapshots_under_way = Summary()
        self.sessions_revalidated = 0
        """For learners."""
        self.proposals_received = 0
        self.commits_received = 0
        self.proposal_latency = Summary()
        """From the time that a transaction carries to its arrival here."""
        self.elections = 0
        self.disloyal_voters = 0
        """For which a leader gave up before its epoch began."""
        self.election_time = Summary()
        self.unavailable_time = Summary()
        self.leader_unavailable_time = Summary()
        self.follower_sync_time = Summary()
        self.observer_sync_time = Summary()

    def add(self, other: Counts) -> None:
        """Together with what the other one, or a part of it, counted."""
        for name, mine in vars(Counts()).items():
            its = getattr(other, name)
            if isinstance(mine, Summary):
                getattr(self, name).merge(its)
            elif isinstance(mine, dict):
                for key, summary in its.items():
                    getattr(self, name)[key].merge(summary)
            else:
                setattr(self, name, getattr(self, name) + its)


class Counters(Counts):
    """What `srvr` and `mntr` report; `reset` is `srst`."""

    def __init__(self, *, started_ms: int) -> None:
        super().__init__()
        self.started_ms = started_ms
        self.load = Load()
        self.journal = SessionJournal()
        self.before = Counts()
        """What was counted before the last reset."""
        self._reset_term()

    def reset(self) -> None:
        """Begin to count anew; `before` has what was counted so far."""
        self.before.add(self)
        super().__init__()
        self.load.reset()
        self._reset_term()

    def plain_connected(self, host: str) -> None:
        """A client came without TLS to a server that speaks it."""
        if host.startswith("127.") or host == "0:0:0:0:0:0:0:1":
            self.plain_local_connections += 1
        else:
            self.plain_remote_connections += 1

    def handshake_failed(self) -> None:
        """Of a client."""
        self.handshakes_failed += 1

    def handshake_exceeded(self) -> None:
        """A client was closed because too many others shook hands."""
        self.handshakes_exceeded += 1

    def synchronised(self, with_snapshot: bool, under_way: int) -> None:
        """A learner is brought in step in this way, one of so many at this time."""
        if with_snapshot:
            self.snapshots_sent += 1
            self.snapshots_under_way.add(under_way)
        else:
            self.diffs_sent += 1
            self.diffs_under_way.add(under_way)

    def flushed(self, count: int, waited_ms: float, duration_ms: float) -> None:
        """So many transactions went to the disk in one flush, which the oldest waited for."""
        self.sync_batches.add(count)
        self.sync_waits.add(int(waited_ms))
        self.fsync.add(int(duration_ms))
        self.wait_and_sync.add(int(waited_ms + duration_ms))

    def begin_term(self, now_ms: int) -> None:
        """A server that changes its role counts its clients' requests anew, as the original."""
        self.started_ms = now_ms
        self._reset_term()

    def _reset_term(self) -> None:
        self.received = 0
        self.sent = 0
        self.response_sizes = SizeCounter()
        self.proposal_sizes = SizeCounter()
        self._latency_before = merged(self.read_latency, self.update_latency)

    @property
    def latency(self) -> Summary:
        """Of this term's requests, reads and writes."""
        return merged(self.read_latency, self.update_latency).without(self._latency_before)
