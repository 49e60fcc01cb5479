"""Plain integers that count; whoever shows them reads them when asked."""

from __future__ import annotations


class LatencyCounter:
    """Minimum, maximum, sum and count of latencies in milliseconds."""

    __slots__ = ("count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.minimum = self.maximum = self.total = self.count = 0

    def add(self, latency_ms: int, count: int = 1) -> None:
        if not self.count or latency_ms < self.minimum:
            self.minimum = latency_ms
        self.maximum = max(self.maximum, latency_ms)
        self.total += latency_ms * count
        self.count += count

    def merge(self, other: LatencyCounter) -> None:
        """Add what the other one counted."""
        if other.count:
            low = other.minimum
            self.minimum = min(self.minimum, low) if self.count else low
            self.maximum = max(self.maximum, other.maximum)
            self.total += other.total
            self.count += other.count


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


class Counters:
    """What `srvr` and `mntr` report; `reset` is `srst`."""

    def __init__(self, *, started_ms: int) -> None:
        self.started_ms = started_ms
        self.reset()

    def reset(self) -> None:
        self._reset_term()
        # Of terms that are over.
        self.past_latency = LatencyCounter()
        self.past_update_latency = LatencyCounter()
        self.sessions_expired = 0
        self.connections_revalidated = 0
        self.connections_rejected = 0
        self.digest_mismatches = 0
        self.fsync = LatencyCounter()
        # In an ensemble; what a leader does, then what a learner gets, then changes of roles.
        self.proposals = 0
        self.commits = 0
        self.proposals_received = 0
        self.commits_received = 0
        self.elections = 0
        self.election_time = LatencyCounter()
        self.unavailable_time = LatencyCounter()
        self.leader_unavailable_time = LatencyCounter()
        self.follower_sync_time = LatencyCounter()
        self.observer_sync_time = LatencyCounter()

    def begin_term(self, now_ms: int) -> None:
        """A server that changes its role counts its clients' requests anew, as the original."""
        self.started_ms = now_ms
        self.past_latency.merge(self.latency)
        self.past_update_latency.merge(self.update_latency)
        self._reset_term()

    def _reset_term(self) -> None:
        self.received = 0
        self.sent = 0
        self.latency = LatencyCounter()
        self.update_latency = LatencyCounter()
        self.proposal_sizes = SizeCounter()
