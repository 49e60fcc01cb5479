"""The leader's end of one learner's connection: where it stands and when it was last heard."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from kraal.wire.records.quorum import PacketReader
from kraal.zab.link import Link


class Stage(IntEnum):
    """How far a learner is (reference/quorum-protocol.md sections 4.3 to 4.8), in order."""

    CONNECTED = 0
    """Its FOLLOWERINFO or OBSERVERINFO is still to come."""
    REGISTERED = 1
    """Waits until the epoch is known."""
    EPOCH_SENT = 2
    """Its ACKEPOCH is still to come."""
    EPOCH_ACKED = 3
    """Waits until a quorum has accepted the epoch."""
    SYNCING = 4
    """Has been sent its history and NEWLEADER; the ACK is still to come."""
    SYNCED = 5
    """Waits until a quorum is synced."""
    SERVING = 6
    """Has been sent UPTODATE."""
    GONE = 7


class LearnerHandler:
    """State of one learner; `server_id` is what it said of itself."""

    __slots__ = (
        "acked",
        "acked_before",
        "connected_ms",
        "is_observer",
        "is_sent_snapshot",
        "last_received_ms",
        "last_zxid",
        "link",
        "name",
        "packets_received",
        "packets_sent",
        "reader",
        "requests",
        "server_id",
        "slices",
        "slices_before",
        "stage",
        "unacked_since_ms",
    )

    def __init__(self, link: Link, name: str, now_ms: int, packet_limit: int) -> None:
        self.link = link
        self.name = name
        """Its address, for messages."""
        self.reader = PacketReader(packet_limit)
        self.stage = Stage.CONNECTED
        self.server_id = -1
        self.is_observer = False
        self.connected_ms = now_ms
        self.packets_received = 0
        self.packets_sent = 0
        self.requests = 0
        """Writes that it forwarded."""
        self.last_received_ms = now_ms
        self.last_zxid = 0
        """The end of its history when it registered."""
        self.is_sent_snapshot = False
        """Whether its history comes as a whole tree."""
        self.slices = 0
        """How much of its history the connection has taken."""
        self.slices_before = 0
        """The same when the clock was last looked at."""
        self.acked = 0
        """Largest zxid it acknowledged on this connection."""
        self.acked_before = 0
        """The same when the clock was last looked at."""
        self.unacked_since_ms: int | None = None
        """Since when it has been due an ACK without sending one."""

    def counted(self, slices: Iterator[bytes]) -> Iterator[bytes]:
        """The history on its way to the learner."""
        for piece in slices:
            self.slices += 1
            yield piece

    def has_taken_history(self) -> bool:
        """Whether it went on taking its history since the last call: it cannot answer yet."""
        taken, self.slices_before = self.slices - self.slices_before, self.slices
        return taken > 0

    def __str__(self) -> str:
        kind = "observer" if self.is_observer else "follower"
        return f"{kind} {self.server_id} ({self.name})"
