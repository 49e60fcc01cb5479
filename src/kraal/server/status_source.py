"""The server's figures, gathered when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

from kraal.model.config import ServerConfig
from kraal.model.zxid import epoch
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.session_tracker import Session
from kraal.pipeline.summary import Summary
from kraal.replica.following import Following
from kraal.replica.leading import Leading
from kraal.replica.leading_term import LeadingTerm
from kraal.replica.learning_term import LearningTerm
from kraal.replica.status import (
    ConnectionStatus,
    EnsembleStatus,
    Figures,
    Latency,
    LeaderStatus,
    Mode,
    ServerStatus,
    SessionStatus,
    WatchStatus,
)
from kraal.server import metrics
from kraal.server.client_socket import ClientSocket
from kraal.storage import data_dir
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import SHORT_NAMES
from kraal.zab.leader import Leader
from kraal.zab.learner_handler import LearnerHandler, Stage
from kraal.zab.learner_master import LearnerMaster
from kraal.zab.state import State

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

    @property
    def secure_port(self) -> int:
        return self._server.listener.secure_port

    def server_status(self) -> ServerStatus:
        server, replica = self._server, self._server.replica
        counters = server.counters
        tree = replica.tree if replica is not None else DataTree()
        local = replica.local_sessions if replica is not None else None
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
            session_count=self._session_count(),
            local_session_count=len(local) if local is not None else 0,
            approximate_data_bytes=tree.data_bytes + len("/"),
            uptime_ms=self.monotonic_ms() - counters.started_ms,
            slow_syncs=counters.slow_syncs,
            response_sizes=(
                counters.response_sizes.last,
                counters.response_sizes.minimum,
                counters.response_sizes.maximum,
            ),
            handshakes=server.listener.handshakes,
            handshakes_failed=counters.handshakes_failed,
            plain_connections=(
                counters.plain_local_connections,
                counters.plain_remote_connections,
            ),
            disk_trouble=server.disk.trouble,
            ensemble=self._ensemble_status(),
        )

    def figures(self, *, lifetime: bool = False) -> Figures:
        server = self._server
        return metrics.figures(
            self.server_status(),
            server.counters,
            server.replica,
            [handler.server_id for handler in self.learners() if handler.server_id >= 0],
            disk=(server.disk.free_bytes, server.disk.refuses_writes),
            certificate_expiry_s=min(
                (s for each in (server.admin, server.tls) if (s := each.certificate_expiry_s)),
                default=None,
            ),
            lifetime=lifetime,
        )

    def learners(self) -> list[LearnerHandler]:
        """Those that are connected to this leader, or to this observer master."""
        term = self._server.member.peer.term if self._server.member is not None else None
        if isinstance(term, LeadingTerm):
            return list(term.leader.handlers)
        if isinstance(term, LearningTerm) and term.observers is not None:
            return list(term.observers.master.handlers)
        return []

    def _session_count(self) -> int:
        replica = self._server.replica
        if replica is None:
            return 0
        sessions = replica.tracker if isinstance(replica, Leading) else replica.tree
        return len(sessions.sessions)

    def _ensemble_status(self) -> EnsembleStatus | None:
        member = self._server.member
        if member is None:
            return None
        peer = member.peer
        me = member.own
        assert me is not None, "a member that has started has a line"
        if peer.replica is None or peer.replica.mode is Mode.READ_ONLY:
            return EnsembleStatus(
                member=me, config=peer.config, peer_state=None, phase=_phase(peer.term)
            )
        state, term = peer.state, peer.term
        return EnsembleStatus(
            member=me,
            config=peer.config,
            # Only a member that serves is asked, and it serves in this phase alone.
            peer_state=f"{state.name.lower()} - broadcast",
            observer_master_id=peer.learner_master if state is State.OBSERVING else None,
            synced_observers=_observers_of(term) if isinstance(term, LearningTerm) else None,
            leader_id=peer.election.vote.leader,
            behind=_behind(term, peer.replica.tree.last_zxid),
            is_different=isinstance(peer.replica, Following) and peer.replica.is_different,
            silent_ms=_silent_ms(term, self.monotonic_ms()),
            leader=self._leader_status(term.leader) if isinstance(term, LeadingTerm) else None,
        )

    def _leader_status(self, leader: Leader) -> LeaderStatus:
        counters = self._server.counters
        synced = _synced(leader)
        followers = [handler.server_id for handler in synced if not handler.is_observer]
        return LeaderStatus(
            learners=len(leader.handlers),
            synced_followers=len(followers),
            synced_non_voting_followers=sum(sid not in leader.config.voters for sid in followers),
            synced_observers=len(synced) - len(followers),
            pending_syncs=leader.pending_syncs,
            uptime_ms=self.monotonic_ms() - counters.started_ms,
            last_proposal_bytes=counters.proposal_sizes.last,
            min_proposal_bytes=counters.proposal_sizes.minimum,
            max_proposal_bytes=counters.proposal_sizes.maximum,
        )

    def connection_statuses(self, *, secure: bool) -> Iterator[ConnectionStatus]:
        replica = self._server.replica
        every = list(replica.connections) if replica is not None else []
        connections = [conn for conn in every if _is_secure(conn) == secure]
        offset_ms = self.wall_ms() - self.monotonic_ms()
        sessionless_ms = self.config.throttle.sessionless_timeout_ms
        return (_connection(conn, offset_ms, sessionless_ms) for conn in connections)

    def session_statuses(self) -> Sequence[SessionStatus]:
        replica = self._server.replica
        if replica is None:
            return []
        if isinstance(replica, Leading):
            return [_session(session) for session in replica.tracker.sessions.values()]
        return [
            SessionStatus(session_id=session_id, timeout_ms=timeout_ms, deadline_ms=None)
            for session_id, timeout_ms in replica.tree.sessions.items()
        ]

    def local_session_statuses(self) -> Sequence[SessionStatus] | None:
        replica = self._server.replica
        sessions = replica.local_sessions if replica is not None else None
        return None if sessions is None else [_session(session) for session in sessions]

    def ephemerals(self) -> Mapping[int, Sequence[bytes]]:
        replica = self._server.replica
        owned = replica.tree.ephemerals if replica is not None else {}
        return {owner: list(paths) for owner, paths in owned.items()}

    def watch_status(self) -> WatchStatus:
        replica = self._server.replica
        watched = replica.watches.data if replica is not None else {}
        return WatchStatus(
            by_path=(
                (path, [conn.session.id if conn.session else 0 for conn in list(watchers)])
                for path, watchers in list(watched.items())
            )
        )

    def digests(self) -> Sequence[tuple[int, int]]:
        replica = self._server.replica
        kept = replica.tree.digest_history if replica is not None else ()
        return [(zxid, digest & _MASK_64) for zxid, digest in kept]

    def data_dir_bytes(self) -> int:
        return data_dir.sizes(self._server.fs, self.config.storage).snapshots

    def log_dir_bytes(self) -> int:
        return data_dir.sizes(self._server.fs, self.config.storage).logs

    def monotonic_ms(self) -> int:
        return monotonic_ns() // NS_PER_MS

    def wall_ms(self) -> int:
        return time_ns() // NS_PER_MS

    def reset_server_stats(self) -> None:
        self._server.counters.reset()
        if self._server.replica is not None:
            self._server.replica.tree.quotas.exceeded.clear()

    def reset_connection_stats(self) -> None:
        replica = self._server.replica
        for conn in replica.connections if replica is not None else ():
            conn.received = conn.sent = 0
            conn.reset_latency()


def _synced(master: LearnerMaster) -> list[LearnerHandler]:
    """Learners that get what is new, though some may not have all that is old."""
    return [handler for handler in master.handlers if handler.stage >= Stage.SYNCING]


def _observers_of(term: LearningTerm) -> int | None:
    return len(_synced(term.observers.master)) if term.observers is not None else None


def _phase(term: LeadingTerm | LearningTerm | None) -> str:
    """How far a member without a leader is, in the words of `zabstate`."""
    if term is None:
        return "election"
    if isinstance(term, LeadingTerm):
        return "discovery" if term.leader.epoch is None else "synchronization"
    learner = term.learner
    return "discovery" if learner is None or not learner.epoch else "synchronization"


def _behind(term: LeadingTerm | LearningTerm | None, applied_zxid: int) -> int:
    """Transactions of the present epoch; of an earlier one a learner that serves lacks none."""
    if not isinstance(term, LearningTerm) or term.learner is None:
        return 0
    known = term.learner.leader_zxid
    if epoch(known) != epoch(applied_zxid):
        return term.learner.pending
    return max(known - applied_zxid, 0)


def _silent_ms(term: LeadingTerm | LearningTerm | None, now_ms: int) -> int:
    if not isinstance(term, LearningTerm) or term.learner is None:
        return 0
    return max(now_ms - term.learner.last_received_ms, 0)


def _session(session: Session) -> SessionStatus:
    return SessionStatus(
        session_id=session.id, timeout_ms=session.timeout_ms, deadline_ms=session.deadline_ms
    )


def _latency(summary: Summary) -> Latency:
    return Latency(
        minimum_ms=summary.minimum,
        total_ms=summary.total,
        maximum_ms=summary.maximum,
        count=summary.count,
    )


def _is_secure(conn: ClientConnection) -> bool:
    return isinstance(conn.channel, ClientSocket) and conn.channel.is_secure


def _connection(
    conn: ClientConnection, wall_offset_ms: int, sessionless_ms: int
) -> ConnectionStatus:
    """The original keeps connections in buckets as long as the time of those without a session."""
    session = conn.session
    heard_ms = max(conn.last_response_ms, conn.established_wall_ms - wall_offset_ms)
    left_ms = session.timeout_ms if session is not None else sessionless_ms
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
        deadline_ms=((heard_ms + left_ms) // sessionless_ms + 1) * sessionless_ms,
        reading=isinstance(conn.channel, ClientSocket) and conn.channel.is_reading,
    )
