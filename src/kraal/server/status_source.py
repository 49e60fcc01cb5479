"""The server's figures, gathered when somebody asks."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

from kraal.model.config import ServerConfig
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import LatencyCounter
from kraal.replica.status import (
    ConnectionStatus,
    Latency,
    Mode,
    ServerStatus,
    SessionStatus,
    WatchStatus,
)
from kraal.server.client_socket import ClientSocket
from kraal.storage import data_dir
from kraal.storage.filesystem import OsFileSystem
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import SHORT_NAMES

if TYPE_CHECKING:
    from kraal.server.server import Server

NS_PER_MS = 1_000_000
_MASK_64 = (1 << 64) - 1


class ServerStatusSource:
    """Implements `kraal.admin.source.StatusSource`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def config(self) -> ServerConfig:
        return self._server.config

    @property
    def bound_port(self) -> int:
        return self._server.listener.bound_port

    def server_status(self) -> ServerStatus:
        server, replica = self._server, self._server.replica
        counters = server.counters
        tree = replica.tree if replica is not None else DataTree()
        return ServerStatus(
            mode=replica.mode if replica is not None else Mode.STANDALONE,
            serving=replica is not None,
            last_zxid=tree.last_zxid,
            node_count=len(tree.nodes),
            received=counters.received,
            sent=counters.sent,
            connections=len(replica.connections) if replica is not None else 0,
            outstanding=replica.in_flight if replica is not None else 0,
            latency=_latency(counters.latency),
            watch_count=replica.watches.count if replica is not None else 0,
            ephemerals_count=sum(map(len, tree.ephemerals.values())),
            session_count=len(replica.tracker.sessions) if replica is not None else 0,
            approximate_data_bytes=tree.data_bytes,
            uptime_ms=self.monotonic_ms() - counters.started_ms,
            proposal_count=0,  # the reference counts proposals to followers only
            snapshot_count=server.storage.snapshots_taken,
            connections_rejected=counters.connections_rejected,
            digest_mismatches=counters.digest_mismatches,
            fsync_latency=_latency(counters.fsync),
            gauges={
                **_process_gauges(),
                "stale_sessions_expired": counters.sessions_expired,
                "connection_revalidate_count": counters.connections_revalidated,
            },
        )

    def connection_statuses(self) -> Sequence[ConnectionStatus]:
        replica = self._server.replica
        return [_connection(conn) for conn in replica.connections] if replica is not None else []

    def session_statuses(self) -> Sequence[SessionStatus]:
        replica = self._server.replica
        sessions = replica.tracker.sessions.values() if replica is not None else ()
        found = [SessionStatus(session_id=s.id, timeout_ms=s.timeout_ms, deadline_ms=s.deadline_ms)
                 for s in sessions]  # fmt: skip
        return sorted(found, key=lambda session: session.deadline_ms)

    def ephemerals(self) -> Mapping[int, Sequence[bytes]]:
        replica = self._server.replica
        owned = replica.tree.ephemerals if replica is not None else {}
        return {owner: list(paths) for owner, paths in owned.items()}

    def watch_status(self) -> WatchStatus:
        replica = self._server.replica
        watched = replica.watches.data if replica is not None else {}
        return WatchStatus(
            by_path=[
                (path, [conn.session.id if conn.session else 0 for conn in watchers])
                for path, watchers in watched.items()
            ]
        )

    def digests(self) -> Sequence[tuple[int, int]]:
        replica = self._server.replica
        kept = replica.tree.digest_history if replica is not None else ()
        return [(zxid, digest & _MASK_64) for zxid, digest in kept]

    def data_dir_bytes(self) -> int:
        return data_dir.sizes(OsFileSystem(), self.config.storage).snapshots

    def log_dir_bytes(self) -> int:
        return data_dir.sizes(OsFileSystem(), self.config.storage).logs

    def monotonic_ms(self) -> int:
        return monotonic_ns() // NS_PER_MS

    def wall_ms(self) -> int:
        return time_ns() // NS_PER_MS

    def reset_server_stats(self) -> None:
        self._server.counters.reset()

    def reset_connection_stats(self) -> None:
        replica = self._server.replica
        for conn in replica.connections if replica is not None else ():
            conn.received = conn.sent = 0
            conn.reset_latency()


def _process_gauges() -> dict[str, int | float]:
    """What the reference asks its virtual machine, here of the operating system."""
    return {
        "open_file_descriptor_count": len(os.listdir("/dev/fd")),  # noqa: PTH208 - only counted
        "max_file_descriptor_count": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "connection_drop_probability": 0.0,
    }


def _latency(counter: LatencyCounter) -> Latency:
    return Latency(
        minimum_ms=counter.minimum,
        total_ms=counter.total,
        maximum_ms=counter.maximum,
        count=counter.count,
    )


def _connection(conn: ClientConnection) -> ConnectionStatus:
    session = conn.session
    return ConnectionStatus(
        host=conn.host,
        port=conn.port,
        session_id=session.id if session else 0,
        queued=len(conn.out),
        received=conn.received,
        sent=conn.sent,
        outstanding=len(conn.pending),
        last_operation=SHORT_NAMES.get(conn.last_op, "NA"),
        established_wall_ms=conn.established_wall_ms,
        timeout_ms=session.timeout_ms if session else 0,
        last_cxid=conn.last_cxid,
        last_zxid=conn.last_zxid,
        last_response_ms=conn.last_response_ms,
        last_latency_ms=conn.last_latency_ms,
        latency=Latency(
            minimum_ms=conn.latency_min,
            total_ms=conn.latency_total,
            maximum_ms=conn.latency_max,
            count=conn.latency_count,
        ),
        reading=isinstance(conn.channel, ClientSocket) and conn.channel.is_reading,
    )
