"""Serving without a leader: reads of what was known last, for clients that asked for that.

Rules: reference/quorum-protocol.md section 7.1. Sessions are this server's own and end with the
term; the ensemble never hears of them.
"""

from __future__ import annotations

from collections.abc import Collection

from kraal.errors import ErrorCode
from kraal.model.config import ServerConfig
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counters
from kraal.pipeline.reply import connect_response, refusal
from kraal.pipeline.session_tracker import Session, SessionTracker
from kraal.replica.handshake import Decision
from kraal.replica.replica import MOVED, Replica, silent
from kraal.replica.status import Mode
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode


class ReadOnly(Replica):
    """A term without a leader."""

    mode = Mode.READ_ONLY

    def __init__(
        self,
        config: ServerConfig,
        tree: DataTree,
        *,
        first_session_id: int,
        now_ms: int,
        counters: Counters | None = None,
    ) -> None:
        self.tracker: SessionTracker
        super().__init__(
            config,
            tree,
            SessionTracker(config.tick_time_ms),
            first_session_id=first_session_id,
            now_ms=now_ms,
            counters=counters,
            answers_sync=False,
        )
        self._local = None  # all sessions are local here

    @property
    def local_sessions(self) -> Collection[Session] | None:
        """All sessions here are this server's own."""
        mine, ensemble = self.tracker.sessions.values(), self.config.ensemble
        return mine if mine or (ensemble is not None and ensemble.local_sessions) else None

    @property
    def in_flight(self) -> int:
        """There are no writes."""
        return 0

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """Time passed: sessions expire."""
        super().tick(now_ms, wall_ms)
        for session in self.tracker.expired(now_ms):
            self._note_expired(session, silent(session))
            self._session_closed(session.id, None)

    def propose_write(
        self, _now_ms: int, _wall_ms: int, conn: ClientConnection, xid: int, _op: int, _frame: bytes
    ) -> None:
        """Refused."""
        self._clients.not_proposed(conn)
        self._refuse(conn, xid)

    def propose_session_write(
        self, _now_ms: int, _wall_ms: int, conn: ClientConnection, xid: int, op: int, _frame: bytes
    ) -> None:
        """A session may end; a new timeout for one is refused."""
        session = conn.session
        assert session is not None
        if op == OpCode.CLOSE_SESSION:
            self.tracker.mark_closing(session)
            self._clients.send(conn, refusal(xid, self.tree.last_zxid, ErrorCode.OK))
            self._session_closed(session.id, conn)
        else:
            self._refuse(conn, xid)

    def propose_sync(self, _now_ms: int, conn: ClientConnection, xid: int, _frame: bytes) -> None:
        """Refused."""
        self._refuse(conn, xid)

    def _refuse(self, conn: ClientConnection, xid: int) -> None:
        self._clients.send(conn, refusal(xid, self.tree.last_zxid, ErrorCode.NOT_READ_ONLY))

    def _greet(
        self, now_ms: int, _wall_ms: int, conn: ClientConnection, decision: Decision
    ) -> None:
        session_id = decision.session_id
        if not decision.wants_read_only or session_id in self.tree.sessions:
            # It is to look for a server with a leader; its session may live there.
            self._clients.close(conn)
            return
        if decision.is_new:
            session_id = self._handshake.next_session_id()
        elif not decision.is_proven or self._is_over(session_id):
            self._send_greeting(conn, 0, 0)
            self._clients.close(conn)
            return
        known = self.tracker.sessions.get(session_id)
        if known is not None and known.connection is not None:
            self._abort(known.connection, MOVED)
        self._bind(conn, self.tracker.add(session_id, decision.timeout_ms, now_ms))
        self._send_greeting(conn, session_id, decision.timeout_ms)

    def _is_over(self, session_id: int) -> bool:
        """Whether a session that the tree does not know is told so.

        Without local sessions it may be one of the ensemble that is newer than the tree here: to
        end it is not for this server, so its client is taken in, as by the reference
        (reference/client-protocol.md section 9.5).
        """
        ensemble = self.config.ensemble
        may_be_local = ensemble is not None and ensemble.local_sessions
        return may_be_local and session_id not in self.tracker.sessions

    def _send_greeting(self, conn: ClientConnection, session_id: int, timeout_ms: int) -> None:
        answer = connect_response(
            session_id, timeout_ms, with_read_only=conn.with_read_only, read_only=True
        )
        self._clients.send(conn, answer)
