"""Serving as a learner: reads are answered here, writes go to the leader and come back committed.

A client's write is forwarded unchanged and waits in `_forwarded`; the leader turns every one into
exactly one transaction with the same session and cxid, in the same order, so the oldest entry is
the one that a committed transaction of ours answers (reference/quorum-protocol.md section 5.6).
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from kraal.errors import RequestError
from kraal.model.acl import Id
from kraal.model.config import ServerConfig
from kraal.model.zxid import show
from kraal.pipeline.applied_reply import applied_reply
from kraal.pipeline.client_order import HEADER_BYTES
from kraal.pipeline.connection import WRITE_IN_FLIGHT, ClientConnection
from kraal.pipeline.counters import Counters
from kraal.pipeline.load import SlowRequest
from kraal.pipeline.prepare.preparer import BODY_CHECKS
from kraal.pipeline.reply import connect_response, refusal, sync_reply
from kraal.pipeline.session_journal import What
from kraal.pipeline.session_tracker import Session, TouchTable
from kraal.replica.handshake import Decision
from kraal.replica.replica import Replica
from kraal.replica.status import Mode
from kraal.tree.apply import apply, digest_matches
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.txn import CloseSessionTxn, CreateSessionTxn, CreateTxn, SetDataTxn, Txn

logger = logging.getLogger("kraal.replica.following")
_pack_create_session = struct.Struct(">iii").pack
"""A createSession request: cxid, type, timeout."""
_CLOSE_SESSION = OpCode.CLOSE_SESSION
_CREATE_SESSION = OpCode.CREATE_SESSION


class Upstream(Protocol):
    """The way to the leader."""

    def request(self, session_id: int, frame: bytes, identities: tuple[Id, ...] | None) -> None:
        """Forward a write."""

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask whether a session lives; `Following.revalidated` is the answer."""


MIXTURE_TXNS_MAX = 1000
"""Behind so many transactions a tree that came while it changed is one state, or wrong."""

Forwarded = tuple[int, int, int, ClientConnection, int]
"""Session id, cxid, opcode, whom to answer, when it was received."""


class Following(Replica):
    """A follower's or an observer's term with one leader."""

    def __init__(
        self,
        config: ServerConfig,
        tree: DataTree,
        upstream: Upstream,
        *,
        mode: Mode,
        first_session_id: int,
        now_ms: int,
        counters: Counters | None = None,
    ) -> None:
        self.tracker: TouchTable
        super().__init__(
            config,
            tree,
            TouchTable(),
            first_session_id=first_session_id,
            now_ms=now_ms,
            counters=counters,
            answers_sync=False,
        )
        self.mode = mode
        self._upstream = upstream
        self.is_different = False
        """Whether the digest of a transaction did not match."""
        self._unmatched = 0
        self._slow_ms = config.admin.slow_request_threshold_ms
        self._forwarded: deque[Forwarded] = deque()
        self._syncs: deque[Callable[[], None]] = deque()
        """Who is told of the leader's answers, in the order of the questions."""
        self._revalidating: dict[int, deque[Callable[[int, bool], None]]] = {}
        """The same by session id."""
        self.session_returns: Callable[[int], None] | None = None
        """Called when a client goes on with a session here."""

    @property
    def in_flight(self) -> int:
        """Writes of clients here that have not come back."""
        return len(self._forwarded)

    # Towards the leader

    def propose_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """Forward a write. Raises DecodeError: a leader may not survive what does not decode."""
        BODY_CHECKS[op](frame, HEADER_BYTES)
        if self.lacks_room and self._refuses_for_room(conn, xid, op, frame):
            return
        session = conn.session
        assert session is not None
        if session.is_local and self._refuses_local(now_ms, wall_ms, conn, xid, op, frame):
            return
        self._forward(now_ms, conn, session.id, xid, op, frame)

    def _forward(
        self, now_ms: int, conn: ClientConnection, session_id: int, xid: int, op: int, frame: bytes
    ) -> None:
        conn.pending.append(WRITE_IN_FLIGHT)
        self._forwarded.append((session_id, xid, op, conn, now_ms))
        self._upstream.request(session_id, frame, conn.auth)

    def propose_session_write(
        self, now_ms: int, _wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """The end of a session, or a new timeout for it. Raises DecodeError."""
        session = conn.session
        assert session is not None
        if session.is_local and op == _CLOSE_SESSION:
            self._clients.close_in_order(conn, frame)
        elif op == _CLOSE_SESSION:
            self.tracker.mark_closing(session)
            self._forward(now_ms, conn, session.id, xid, op, frame[:HEADER_BYTES])
        else:
            request = proto.CreateSessionRequest.decode(frame, HEADER_BYTES)[0]
            self._create_session(
                now_ms, conn, session.id, self._handshake.negotiate(request.timeout_ms)
            )

    def propose_sync(self, _now_ms: int, conn: ClientConnection, xid: int, frame: bytes) -> None:
        """Answered by the leader, in order. Raises DecodeError when it does not decode."""
        session = conn.session
        assert session is not None
        path = proto.PathRequest.decode(frame, HEADER_BYTES)[0].path
        conn.pending.append(WRITE_IN_FLIGHT)
        self.sync(session.id, frame, conn.auth, partial(self._answer_sync, conn, xid, path))

    def sync(
        self,
        session_id: int,
        frame: bytes,
        identities: tuple[Id, ...],
        answered: Callable[[], None],
    ) -> None:
        """Forward a sync of a client, here or at an observer of this follower."""
        self._syncs.append(answered)
        self._upstream.request(session_id, frame, identities)

    def revalidate(
        self, session_id: int, timeout_ms: int, answered: Callable[[int, bool], None]
    ) -> None:
        """Ask whether a session lives; the answer comes with the time."""
        self._revalidating.setdefault(session_id, deque()).append(answered)
        self._upstream.revalidate(session_id, timeout_ms)

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """An observer of this follower heard of a session."""
        if session_id in self.tree.sessions:
            self.tracker.heard(session_id, timeout_ms)

    def touched(self) -> list[tuple[int, int]]:
        """Sessions heard of since the last call, with their timeouts in ms."""
        return self.tracker.take()

    # From the leader

    def committed(self, now_ms: int, wall_ms: int, txns: Sequence[Txn]) -> None:
        """Apply transactions in their order and answer those who wait for them."""
        forwarded, counters = self._forwarded, self.counters
        counters.propagation.add(wall_ms - txns[-1].time_ms, len(txns))
        for txn in txns:
            head = forwarded[0] if forwarded else None
            if head is not None and head[0] == txn.client_id and head[1] == txn.cxid:
                self._apply(now_ms, txn, forwarded.popleft())
            else:
                self._apply(now_ms, txn, None)
        body = txns[-1].body
        if isinstance(body, (CreateTxn, SetDataTxn)):
            counters.load.wrote(body.path or b"", len(body.data or b""), len(txns))
        self._clients.resume_stalled(now_ms, wall_ms)
        self._clients.flush(now_ms)

    def _apply(self, now_ms: int, txn: Txn, asked: Forwarded | None) -> None:
        tree, zxid = self.tree, txn.zxid
        error = None
        applied: bytes | list[bytes] = b""
        try:
            applied = apply(tree, txn)
        except RequestError as refused:
            error = refused.code  # the tree had the effect, or a part of it, already
        if not digest_matches(tree, txn):
            self._unmatched += tree.is_mixture
            if not tree.is_mixture or self._unmatched > MIXTURE_TXNS_MAX:
                self._differs(zxid)
        elif tree.is_mixture and txn.digest is not None:
            tree.is_mixture = False
        if tree.events:
            self._fire_events(zxid)
        body = txn.body
        if type(body) is CreateSessionTxn:
            self.tracker.heard(txn.client_id, body.timeout_ms)
        conn = None
        if asked is not None:
            _, xid, op, conn, received_ms = asked
            latency_ms = now_ms - received_ms
            self.counters.update_latency.add(latency_ms)
            if latency_ms >= self._slow_ms:
                path = getattr(body, "path", None) or b""
                self.counters.load.slow.append(
                    SlowRequest(txn.time_ms, latency_ms, op, path, txn.client_id, conn.host)
                )
            if not conn.closed:
                conn.record_latency(latency_ms, 1)
                if type(body) is CreateSessionTxn:
                    answer = self._session_answer(now_ms, conn, txn.client_id, body.timeout_ms)
                elif error is not None:
                    answer = refusal(xid, zxid, error)
                else:
                    answer = applied_reply(xid, op, txn, applied, zxid)
                self._clients.committed(conn, answer)
            elif self._audit is not None:
                answer = (
                    applied_reply(xid, op, txn, applied, zxid)
                    if error is None
                    else refusal(xid, zxid, error)
                )
                self._audit.answered(conn, answer)
        if txn.kind == _CLOSE_SESSION:
            if isinstance(body, CloseSessionTxn):
                self._ephemerals_deleted(txn.client_id, body.paths or ())
            self._session_closed(txn.client_id, conn)

    def _differs(self, zxid: int) -> None:
        """Said once for each term: one difference leads to many."""
        if not self.is_different:
            self.is_different = True
            ensemble = self.config.ensemble
            logger.error(
                "The tree differs from the leader's at %s: this server shows another state. %s",
                show(zxid),
                "It takes the leader's tree when the others are a quorum without it"
                if ensemble is not None and ensemble.tree_resync_interval_ms
                else "Stop it, move its version-2 directory away and start it again, so that the"
                " leader sends its tree (treeResyncIntervalMs=0 keeps it from doing so itself)",
            )
        self.counters.digest_mismatches += 1

    def _session_answer(
        self, now_ms: int, conn: ClientConnection, session_id: int, timeout_ms: int
    ) -> bytes:
        self.tracker.add(session_id, timeout_ms, now_ms)
        return connect_response(session_id, timeout_ms, with_read_only=conn.with_read_only)

    def synced(self, now_ms: int, wall_ms: int) -> None:
        """The leader answers the oldest sync: everything before it has been applied here."""
        if not self._syncs:
            return  # a surplus answer is nobody's
        self._syncs.popleft()()
        self._clients.resume_stalled(now_ms, wall_ms)
        self._clients.flush(now_ms)

    def _answer_sync(self, conn: ClientConnection, xid: int, path: bytes | None) -> None:
        if not conn.closed:
            self._clients.committed(conn, sync_reply(xid, self.tree.last_zxid, path))

    def revalidated(self, now_ms: int, wall_ms: int, session_id: int, valid: bool) -> None:
        """The leader says whether a session lives that a client wants to go on with."""
        waiting = self._revalidating.get(session_id)
        if not waiting:
            return
        answered = waiting.popleft()
        if not waiting:
            del self._revalidating[session_id]
        answered(now_ms, valid)
        self._clients.resume_stalled(now_ms, wall_ms)
        self._clients.flush(now_ms)

    def _revalidated(
        self, conn: ClientConnection, session_id: int, timeout_ms: int, now_ms: int, valid: bool
    ) -> None:
        if conn.closed:
            return
        if valid:
            self._move_here(now_ms, conn, session_id, timeout_ms)
        else:
            conn.session = None
            self._refuse_session(conn, session_id)

    def cut_off(self, session_id: int) -> None:
        """A session goes on in another connection: nothing more is taken from the present one.

        The leader takes what comes through this server for one and the same, so what is still on
        its way here would come behind what the client does elsewhere.
        """
        session = self.tracker.sessions.get(session_id)
        if session is not None and session.connection is not None:
            self._abort(session.connection, "the session goes on elsewhere")

    # Sessions of this server's clients

    def _greet(
        self, now_ms: int, _wall_ms: int, conn: ClientConnection, decision: Decision
    ) -> None:
        if decision.is_new:
            session_id = self._handshake.next_session_id()
            session = self.tracker.add(session_id, decision.timeout_ms, now_ms)
            self._bind(conn, session, What.CREATED)
            self._create_session(now_ms, conn, session_id, decision.timeout_ms)
        elif not decision.is_proven:
            self._refuse_session(conn, decision.session_id)
        else:
            # Not the tracked one yet; requests that come already wait for the answer.
            session_id, timeout_ms = decision.session_id, decision.timeout_ms
            self.cut_off(session_id)
            if self.session_returns is not None:
                self.session_returns(session_id)
            conn.session = Session(session_id, timeout_ms)
            answered = partial(self._revalidated, conn, session_id, timeout_ms)
            self.revalidate(session_id, timeout_ms, answered)

    def _make_global(self, _now_ms: int, _wall_ms: int, session: Session) -> None:
        frame = _pack_create_session(0, _CREATE_SESSION, session.timeout_ms)
        self._upstream.request(session.id, frame, None)

    def _create_session(
        self, now_ms: int, conn: ClientConnection, session_id: int, timeout_ms: int
    ) -> None:
        """Without identities, as the reference sends it; its cxid is 0."""
        conn.pending.append(WRITE_IN_FLIGHT)
        self._forwarded.append((session_id, 0, _CREATE_SESSION, conn, now_ms))
        frame = _pack_create_session(0, _CREATE_SESSION, timeout_ms)
        self._upstream.request(session_id, frame, None)
