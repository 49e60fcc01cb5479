"""A server made of values, for tests of what is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from kraal.admin import four_letter_words
from kraal.model.config import ServerConfig, StorageConfig, ThrottleConfig
from kraal.pipeline.counters import Counters
from kraal.replica.status import (
    ConnectionStatus,
    Figures,
    Latency,
    Mode,
    ServerStatus,
    SessionStatus,
    WatchStatus,
)
from kraal.server import metrics

FIRST, SECOND = 0x100000F1DB60000, 0x100000F1DB60001
CONFIG = ServerConfig(
    storage=StorageConfig(data_dir=PurePath("/var/lib/zk"), data_log_dir=PurePath("/var/log/zk")),
    throttle=ThrottleConfig(max_client_connections=0),
    client_port=0,
    tick_time_ms=2000,
    min_session_timeout_ms=4000,
    max_session_timeout_ms=40_000,
    four_letter_words=frozenset({"srvr", "*"}),
)
STATUS = ServerStatus(
    mode=Mode.STANDALONE,
    serving=True,
    last_zxid=0x91,
    node_count=8,
    received=172,
    sent=173,
    connections=4,
    outstanding=0,
    latency=Latency(minimum_ms=0, total_ms=100, maximum_ms=13, count=152),
    watch_count=5,
    ephemerals_count=1,
    session_count=2,
    approximate_data_bytes=74,
    uptime_ms=738,
)
COMMAND_SOCKET = ConnectionStatus(
    host="127.0.0.1", port=59480, session_id=0, queued=0, received=1, sent=0, outstanding=0,
    last_operation="NA", established_wall_ms=1795356158261, timeout_ms=0, last_cxid=-1,
    last_zxid=-1, last_response_ms=0, last_latency_ms=0, latency=Latency(), reading=False,
    deadline_ms=1_019_000,
)  # fmt: skip
CLIENT = ConnectionStatus(
    host="127.0.0.1", port=37820, session_id=FIRST, queued=0, received=149, sent=150,
    outstanding=0, last_operation="GETD", established_wall_ms=1795356158261, timeout_ms=10_000,
    last_cxid=0x94, last_zxid=0x91, last_response_ms=991221, last_latency_ms=0,
    latency=Latency(total_ms=100, maximum_ms=13, count=149), reading=True, deadline_ms=1_019_000,
)  # fmt: skip


@dataclass
class Source:
    """A server made of values; counts the resets it is asked for."""

    config: ServerConfig = CONFIG
    status: ServerStatus = STATUS
    connections: Sequence[ConnectionStatus] = (COMMAND_SOCKET, CLIENT)
    bound_port: int = 47995
    secure_port: int = -1
    local_sessions: Sequence[SessionStatus] | None = None
    expiry_s: int | None = None
    resets: list[str] = field(default_factory=list)

    def server_status(self) -> ServerStatus:
        return self.status

    def figures(self, *, lifetime: bool = False) -> Figures:
        counters = Counters(started_ms=0)
        counters.flushed(145, 0.5, 1.9)
        counters.load.wrote(b"/app/x", 4, 3)
        learners = [1, 2] if self.status.mode is Mode.LEADER else []
        return metrics.figures(
            self.status,
            counters,
            None,
            learners,
            disk=(10**9, False),
            certificate_expiry_s=self.expiry_s,
            lifetime=lifetime,
        )

    def connection_statuses(self, *, secure: bool) -> Sequence[ConnectionStatus]:
        return [] if secure else self.connections

    def session_statuses(self) -> Sequence[SessionStatus]:
        return [
            SessionStatus(session_id=SECOND, timeout_ms=10_000, deadline_ms=1_001_000),
            SessionStatus(session_id=FIRST, timeout_ms=10_000, deadline_ms=1_001_000),
        ]

    def local_session_statuses(self) -> Sequence[SessionStatus] | None:
        return self.local_sessions

    def ephemerals(self) -> Mapping[int, Sequence[bytes]]:
        return {FIRST: [b"/app/e-0000000000"]}

    def watch_status(self) -> WatchStatus:
        by_path = [
            ("/caf\u00e9".encode(), [FIRST]), (b"/app", [FIRST, SECOND]), (b"/nope", [FIRST]),
        ]  # fmt: skip
        return WatchStatus(by_path=by_path)

    def digests(self) -> Sequence[tuple[int, int]]:
        return [(0x80, 7799483068)]

    def data_dir_bytes(self) -> int:
        return 67109358

    def log_dir_bytes(self) -> int:
        return 5

    def monotonic_ms(self) -> int:
        return 991_000

    def wall_ms(self) -> int:
        return 1_795_356_159_500

    def reset_server_stats(self) -> None:
        self.resets.append("server")

    def reset_connection_stats(self) -> None:
        self.resets.append("connections")


def answer(word: str, source: Source, argument: bytes = b"") -> str:
    """The whole answer to a four-letter word."""
    text = four_letter_words.answer(word, source, argument)
    return text if isinstance(text, str) else "".join(text)
