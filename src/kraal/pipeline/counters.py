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


class Counters:
    """What `srvr` and `mntr` report; `reset` is `srst`."""

    def __init__(self, *, started_ms: int) -> None:
        self.started_ms = started_ms
        self.reset()

    def reset(self) -> None:
        self.received = 0
        self.sent = 0
        self.sessions_expired = 0
        self.connections_revalidated = 0
        self.connections_rejected = 0
        self.digest_mismatches = 0
        self.snapshots = 0
        self.latency = LatencyCounter()
        self.update_latency = LatencyCounter()
        self.fsync = LatencyCounter()
