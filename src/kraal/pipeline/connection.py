"""One client connection as the pipeline sees it: identity, order, watches, counters.

The socket is behind `Channel`, which the shell and the simulator implement. Replies leave in
request order: while a write of this connection is on its way to commit, everything behind it
waits in `pending`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kraal.model.acl import Id
from kraal.pipeline.auth.sasl import Exchange
from kraal.pipeline.session_tracker import Session


class Channel(Protocol):
    """The outside end of a connection. No method raises, whatever the peer did."""

    def write(self, data: bytes) -> None:
        """Send bytes, in order."""
        ...

    def close(self) -> None:
        """Close once everything written before is sent; further input is dropped."""
        ...

    def abort(self) -> None:
        """Close now, dropping unsent bytes."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


Frame = bytes
WRITE_IN_FLIGHT: Frame = b""
"""Entry of `pending` that stands for a write whose reply comes with its commit."""


class ClientConnection:
    """State of one TCP connection; `session` is None before the handshake is done."""

    __slots__ = (
        "auth",
        "blocked",
        "channel",
        "child_watches",
        "closed",
        "data_watches",
        "dirty",
        "established_wall_ms",
        "host",
        "inbox",
        "is_greeted",
        "last_cxid",
        "last_latency_ms",
        "last_op",
        "last_response_ms",
        "last_zxid",
        "latency_count",
        "latency_max",
        "latency_min",
        "latency_total",
        "out",
        "paused",
        "pending",
        "port",
        "received",
        "sasl",
        "sent",
        "session",
        "stalled_ms",
        "waiting_reads",
        "with_read_only",
    )

    def __init__(self, channel: Channel, host: str, port: int, wall_ms: int) -> None:
        self.channel = channel
        self.host = host
        self.port = port
        self.auth: tuple[Id, ...] = (Id("ip", host),)
        self.sasl: Exchange | None = None
        """The login by SASL, once it has begun; a connection has one."""
        self.session: Session | None = None
        self.with_read_only = False
        """Whether the ConnectRequest had the readOnly byte, which the reply mirrors."""
        self.is_greeted = False
        """Whether the ConnectResponse is on its way; nothing may be answered before."""
        self.pending: deque[Frame] = deque()
        self.waiting_reads = 0
        """Entries of `pending` that are no write in flight."""
        self.inbox: deque[Frame] = deque()
        """Frames read but not yet taken up, while output or the pipeline is full."""
        self.out: list[bytes] = []
        self.dirty = False
        """Whether `out` waits for the flush at the end of the input."""
        self.blocked = False
        """Whether the channel asked to write no more for now."""
        self.paused = False
        """Whether reading from the channel is paused."""
        self.stalled_ms = 0
        """Since when frames wait in the inbox."""
        self.closed = False
        self.data_watches: set[bytes] = set()
        self.child_watches: set[bytes] = set()
        self.established_wall_ms = wall_ms
        self.last_op = 0
        self.last_cxid = -1
        self.last_zxid = -1
        self.last_response_ms = 0
        self.last_latency_ms = 0
        self.received = 0
        self.sent = 0
        self.reset_latency()

    def reset_latency(self) -> None:
        self.latency_min = self.latency_max = self.latency_total = self.latency_count = 0

    def add_identity(self, identity: Id) -> None:
        """Identities are only ever added (reference/client-protocol.md section 10.1)."""
        if identity not in self.auth:
            self.auth = (*self.auth, identity)

    def record_latency(self, latency_ms: int, count: int) -> None:
        if not self.latency_count or latency_ms < self.latency_min:
            self.latency_min = latency_ms
        self.latency_max = max(self.latency_max, latency_ms)
        self.latency_total += latency_ms * count
        self.latency_count += count
        self.last_latency_ms = latency_ms
