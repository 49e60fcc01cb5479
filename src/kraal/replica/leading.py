"""Serving as the one who orders writes: the leader of an ensemble, or a server that stands alone.

A write takes this way: it is validated against the tree and what is in flight, its transaction
goes to the sink, and `committed` says that a quorum has it on disk: the tree changes, watch
events leave, then the reply, then what waited behind. Alone, the quorum is the server itself.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from kraal.errors import DecodeError, ErrorCode
from kraal.model.acl import Id
from kraal.model.config import ServerConfig
from kraal.model.session_id import show
from kraal.pipeline.client_order import HEADER_BYTES
from kraal.pipeline.connection import WRITE_IN_FLIGHT, ClientConnection
from kraal.pipeline.container_manager import ContainerManager
from kraal.pipeline.counters import Counters
from kraal.pipeline.load import SlowRequest
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.prepare.draft import Context, Draft, Membership, Rules
from kraal.pipeline.prepare.preparer import ZNODE_WRITES, PreparedTxn, Preparer
from kraal.pipeline.reply import NO_REPLY, connect_response, sync_reply
from kraal.pipeline.session_journal import What
from kraal.pipeline.session_tracker import Session, SessionTracker
from kraal.replica.handshake import Decision
from kraal.replica.replica import LogSink, Replica, silent
from kraal.replica.status import Mode
from kraal.tree.apply import Change, install
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.txn import created_session_timeout

logger = logging.getLogger("kraal.replica.leading")
_unpack_xid_op = struct.Struct(">ii").unpack_from
_CREATE_SESSION = OpCode.CREATE_SESSION
_CLOSE_SESSION = OpCode.CLOSE_SESSION

Proposal = tuple[int, int, int, PreparedTxn, ClientConnection | None, int]
"""In flight: zxid, opcode, session id, transaction, whom to answer, when it was received."""


class Ensemble(Membership, Protocol):
    """What a leader knows of its ensemble and its replica does not."""

    def sync(self, handler: None, released: Callable[[], None]) -> bool:
        """True: it is already; else `released` is called when it is."""
        ...

    def has_quorum(self, now_ms: int) -> bool:
        """Whether a quorum was heard of within syncLimit."""
        ...


class Leading(Replica):
    """Validates, proposes and commits; owns the expiry of all sessions."""

    def __init__(
        self,
        config: ServerConfig,
        tree: DataTree,
        sink: LogSink,
        *,
        first_session_id: int,
        now_ms: int,
        counters: Counters | None = None,
        ensemble: Ensemble | None = None,
    ) -> None:
        self.tracker: SessionTracker
        tracker = SessionTracker(config.tick_time_ms)
        super().__init__(
            config,
            tree,
            tracker,
            first_session_id=first_session_id,
            now_ms=now_ms,
            counters=counters,
            answers_sync=False,
        )
        self.mode = Mode.STANDALONE if ensemble is None else Mode.LEADER
        self._ensemble = ensemble
        for session_id, timeout_ms in tree.sessions.items():
            tracker.add(session_id, timeout_ms, now_ms)
        self.outstanding = Outstanding(tree)
        rules = Rules(
            extended_types=config.extended_types,
            enforce_quota=config.enforce_quota,
            reconfig_enabled=config.reconfig_enabled,
            close_session_txn=config.close_session_txn,
            max_record_bytes=config.storage.max_record_bytes,
        )
        self._preparer = preparer = Preparer(
            Context(tree, self.outstanding, self.authority, rules, ensemble)
        )
        self._reaper = ContainerManager(tree, config.reaper, now_ms)
        self._write = preparer.write
        self._append = sink.append
        self._in_flight: deque[Proposal] = deque()
        self._syncs: deque[tuple[int, Callable[[], None]]] = deque()
        """Syncs of a server that is alone, and up to which zxid they wait."""
        self._last_proposed = tree.last_zxid
        self._slow_ms = config.admin.slow_request_threshold_ms
        self._large_bytes = 0
        self._large_from = config.throttle.large_request_threshold_bytes

    @property
    def in_flight(self) -> int:
        """Writes proposed and not yet applied."""
        return len(self._in_flight)

    def proposed_ms(self, zxid: int) -> int | None:
        """When a write that is not applied yet was proposed; None: it is."""
        return next((proposal[5] for proposal in self._in_flight if proposal[0] == zxid), None)

    def committed(self, now_ms: int, wall_ms: int, zxid: int) -> None:
        """A quorum has everything up to zxid on disk."""
        in_flight = self._in_flight
        count, last = 0, None
        if in_flight and now_ms - in_flight[0][5] >= self._slow_ms:
            self._note_slow(now_ms, wall_ms, zxid)
        while in_flight and in_flight[0][0] <= zxid:
            count, last = count + 1, in_flight.popleft()
            self._commit(now_ms, last)
            # At once: replies leave in the order of the requests.
            while self._syncs and self._syncs[0][0] <= last[0]:
                self._syncs.popleft()[1]()
        self._clients.resume_stalled(now_ms, wall_ms)
        self._clients.flush(now_ms)
        if last is not None:
            self._count(now_ms, last, count)  # while the clients have their answers already

    def _count(self, now_ms: int, last: Proposal, count: int) -> None:
        """So many were committed in one run, of which the last stands for all."""
        counters = self.counters
        latency_ms = now_ms - last[5]
        counters.quorum_latency.add(latency_ms, count)
        counters.propagation.add(latency_ms, count)
        counters.changes_installed += self.outstanding.installed_count
        self.outstanding.installed_count = 0
        if changes := last[3][1]:
            path, image, _ = max(changes, key=_length_of_path)  # beside it, parents
            if image is not None:
                counters.load.wrote(path, len(image.data or b""), count)

    def _note_slow(self, now_ms: int, wall_ms: int, zxid: int) -> None:
        for last, op, session_id, made, conn, received_ms in self._in_flight:
            latency_ms = now_ms - received_ms
            if last > zxid or latency_ms < self._slow_ms:
                return
            path = max(made[1], key=_length_of_path)[0] if made[1] else b""
            host = conn.host if conn is not None else ""
            self.counters.load.slow.append(
                SlowRequest(wall_ms, latency_ms, op, path, session_id, host)
            )

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """Time passed: sessions expire, containers and TTL znodes are reaped."""
        super().tick(now_ms, wall_ms)
        for session in self.tracker.expired(now_ms) if self._may_expire(now_ms) else ():
            logger.info(
                "Expiring session %s: nothing was heard of it for its timeout of %d ms",
                show(session.id), session.timeout_ms,
            )  # fmt: skip
            self._expire(now_ms, wall_ms, session, silent(session))
        for path in self._reaper.due(now_ms, wall_ms):
            draft = self._draft(0, 0, (), wall_ms)
            made = self._preparer.delete_container(draft, path)
            self._propose(draft, OpCode.DELETE_CONTAINER, made, None, now_ms)

    def expire(self, now_ms: int, wall_ms: int, session_id: int) -> bool:
        """End a session as if its time were over; False: there is none that is not ending."""
        session = self.tracker.sessions.get(session_id)
        if session is None or session.closing:
            return False
        self.tracker.mark_closing(session)
        logger.info("Expiring session %s on request", show(session_id))
        self._expire(now_ms, wall_ms, session, "on request")
        return True

    def _expire(self, now_ms: int, wall_ms: int, session: Session, why: str) -> None:
        self._note_expired(session, why)
        self._close_session(now_ms, wall_ms, session.id)

    def close_orphans(self, now_ms: int, wall_ms: int) -> None:
        """End sessions that own ephemerals and are known to nobody (storage-formats.md 5.5)."""
        tree = self.tree
        for owner in [owner for owner in tree.ephemerals if owner not in tree.sessions]:
            self._close_session(now_ms, wall_ms, owner)

    def _close_session(self, now_ms: int, wall_ms: int, session_id: int) -> None:
        draft = self._draft(session_id, 0, (), wall_ms)
        made = self._preparer.close_session(draft)
        self._propose(draft, _CLOSE_SESSION, made, None, now_ms)

    # Writes of this server's clients

    def _admits(self, frames: list[bytes]) -> bool:
        """Whether large requests in flight leave room for these (section 11.2)."""
        if self._large_from < 0:
            return True
        size = sum(len(frame) for frame in frames if len(frame) > self._large_from)
        return self._large_bytes + size <= self.config.throttle.large_request_max_bytes

    def _count_large(self, payload: bytes, sign: int) -> None:
        """A write comes into flight (+1) or leaves it (-1)."""
        if len(payload) > self._large_from:
            self._large_bytes += sign * len(payload)

    def propose_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """Validate a write and hand its transaction to the log. Raises DecodeError."""
        if self.lacks_room and self._refuses_for_room(conn, xid, op, frame):
            return
        session = conn.session
        assert session is not None
        if session.is_local and self._refuses_local(now_ms, wall_ms, conn, xid, op, frame):
            return
        zxid, session_id = self._last_proposed + 1, session.id
        draft = Draft(session_id, xid, conn.auth, zxid, wall_ms)
        if session.owner not in (None, self):
            draft.session_error = ErrorCode.SESSION_MOVED
        if session.is_local:
            draft.ephemeral_error = ErrorCode.EPHEMERAL_ON_LOCAL_SESSION
        made = self._write(draft, op, frame)
        if draft.session_error:
            made = (*made[:3], NO_REPLY)
        self._last_proposed = zxid
        conn.pending.append(WRITE_IN_FLIGHT)
        self._in_flight.append((zxid, op, session_id, made, conn, now_ms))
        if self._large_from >= 0:
            self._count_large(made[0], 1)
        self._append(zxid, made[0])

    def propose_session_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """The end of a session, or a new timeout for it. Raises DecodeError."""
        session = conn.session
        assert session is not None
        if session.is_local and op == _CLOSE_SESSION:
            self._clients.close_in_order(conn, frame)
            return
        draft = self._draft(session.id, xid, conn.auth, wall_ms)
        if op == _CLOSE_SESSION:
            self.tracker.mark_closing(session)
            made = self._preparer.close_session(draft)
        else:
            request = proto.CreateSessionRequest.decode(frame, HEADER_BYTES)[0]
            timeout_ms = self._handshake.negotiate(request.timeout_ms)
            made = self._session_txn(draft, conn, timeout_ms)
        conn.pending.append(WRITE_IN_FLIGHT)
        self._propose(draft, op, made, conn, now_ms)

    def propose_sync(self, _now_ms: int, conn: ClientConnection, xid: int, frame: bytes) -> None:
        """Answered when everything proposed so far is committed. Raises DecodeError.

        By then everything that its session has sent over a former connection has happened.
        """
        path = proto.PathRequest.decode(frame, HEADER_BYTES)[0].path
        conn.pending.append(WRITE_IN_FLIGHT)
        released = partial(self._synced, conn, xid, path)
        if self._ensemble is None and self._in_flight:
            self._syncs.append((self._last_proposed, released))
        elif self._ensemble is None or self._ensemble.sync(None, released):
            released()

    def _synced(self, conn: ClientConnection, xid: int, path: bytes | None) -> None:
        if not conn.closed:
            self._clients.committed(conn, sync_reply(xid, self.tree.last_zxid, path))

    def _draft(self, session_id: int, cxid: int, auth: tuple[Id, ...], wall_ms: int) -> Draft:
        return Draft(session_id, cxid, auth, self._last_proposed + 1, wall_ms)

    def _propose(
        self,
        draft: Draft,
        op: int,
        made: PreparedTxn,
        conn: ClientConnection | None,
        now_ms: int,
    ) -> None:
        zxid = self._last_proposed = draft.zxid
        self._in_flight.append((zxid, op, draft.session_id, made, conn, now_ms))
        self._append(zxid, made[0])

    # Writes of learners' clients

    def request(
        self,
        now_ms: int,
        wall_ms: int,
        owner: object,
        session_id: int,
        frame: bytes,
        identities: tuple[Id, ...],
    ) -> None:
        """A write that a learner forwards; whatever it is, one transaction answers it.

        `owner` is the learner's connection, which its sessions belong to
        (reference/quorum-protocol.md sections 5.6 and 5.7).
        """
        cxid, op = _unpack_xid_op(frame)
        draft = self._draft(session_id, cxid, identities, wall_ms)
        session = self.tracker.sessions.get(session_id)
        if op == _CREATE_SESSION:
            made = self._learner_session(now_ms, draft, frame, owner)
        elif op == _CLOSE_SESSION:
            if session is not None:
                self.tracker.mark_closing(session)
            made = self._preparer.close_session(draft)
        elif op in ZNODE_WRITES:
            if session is None and self._is_others_local(session_id):
                draft.ephemeral_error = ErrorCode.SESSION_EXPIRED
            else:
                draft.session_error = self._session_error(session, owner)
            made = self._learner_write(draft, op, frame)
            if self._large_from >= 0:
                self._count_large(made[0], 1)
        elif op == OpCode.CHECK:
            # Outside a multi nobody serves it, but the reference's followers wait for an answer.
            made = self._preparer.refused(draft, ErrorCode.UNIMPLEMENTED)
        else:
            return  # what is no write gets no answer
        self._propose(draft, op, made, None, now_ms)

    def _learner_write(self, draft: Draft, op: int, frame: bytes) -> PreparedTxn:
        if self.lacks_room and not draft.session_error and self._is_too_much(op, frame):
            return self._preparer.refused(draft, ErrorCode.THROTTLED_OP)
        try:
            return self._write(draft, op, frame)
        except DecodeError:
            return self._preparer.refused(draft, ErrorCode.MARSHALLING_ERROR)

    def _is_others_local(self, session_id: int) -> bool:
        """Whether an unknown session may be a local one of another server."""
        own = self.config.server_id & 0xFF == session_id >> 56 & 0xFF
        return self._local is not None and not own

    def _session_error(self, session: Session | None, owner: object) -> ErrorCode:
        """Why the session may not write through this learner, if it may not."""
        if session is None or session.closing:
            return ErrorCode.SESSION_EXPIRED
        if session.owner is None and session.connection is None:
            session.owner = owner  # nobody spoke for it since this term began
        return ErrorCode.OK if session.owner is owner else ErrorCode.SESSION_MOVED

    def _learner_session(
        self, now_ms: int, draft: Draft, frame: bytes, owner: object
    ) -> PreparedTxn:
        try:
            request = proto.CreateSessionRequest.decode(frame, HEADER_BYTES)[0]
        except DecodeError:
            return self._preparer.refused(draft, ErrorCode.MARSHALLING_ERROR)
        self.tracker.add(draft.session_id, request.timeout_ms, now_ms).owner = owner
        return self._preparer.create_session(draft, request.timeout_ms, b"")

    def revalidate(self, now_ms: int, session_id: int, owner: object) -> bool:
        """Whether a session lives; its owner is that learner's connection, or this replica."""
        session = self.tracker.sessions.get(session_id)
        if session is None or session.closing:
            return False
        session.owner = owner
        self.tracker.touch(session, now_ms)
        return True

    def touch(self, now_ms: int, session_id: int, timeout_ms: int) -> None:
        """A learner heard of a session."""
        session = self.tracker.sessions.get(session_id)
        if session is not None and not session.closing:
            session.timeout_ms = timeout_ms
            self.tracker.touch(session, now_ms)

    # Sessions of this server's clients

    def _greet(self, now_ms: int, wall_ms: int, conn: ClientConnection, decision: Decision) -> None:
        if decision.is_new:
            self._create_session(now_ms, wall_ms, conn, decision.timeout_ms)
        elif decision.is_proven and self.revalidate(now_ms, decision.session_id, self):
            self._move_here(now_ms, conn, decision.session_id, decision.timeout_ms)
        elif self._ensemble is None or self._ensemble.has_quorum(now_ms):
            self._refuse_session(conn, decision.session_id)
        else:
            self._clients.close(conn)  # another server may lead, which knows the session

    def _create_session(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, timeout_ms: int
    ) -> None:
        session_id = self._handshake.next_session_id()
        self._bind(conn, self.tracker.add(session_id, timeout_ms, now_ms), What.CREATED)
        self.tracker.sessions[session_id].owner = self
        draft = self._draft(session_id, 0, (), wall_ms)
        made = self._session_txn(draft, conn, timeout_ms)
        conn.pending.append(WRITE_IN_FLIGHT)
        self._propose(draft, _CREATE_SESSION, made, conn, now_ms)

    def _make_global(self, now_ms: int, wall_ms: int, session: Session) -> None:
        draft = self._draft(session.id, 0, (), wall_ms)
        made = self._preparer.create_session(draft, session.timeout_ms, b"")
        self._propose(draft, _CREATE_SESSION, made, None, now_ms)

    def _session_txn(self, draft: Draft, conn: ClientConnection, timeout_ms: int) -> PreparedTxn:
        answer = connect_response(draft.session_id, timeout_ms, with_read_only=conn.with_read_only)
        draft.cxid = 0
        return self._preparer.create_session(draft, timeout_ms, answer)

    # Commit

    def _commit(self, now_ms: int, proposal: Proposal) -> None:
        zxid, op, session_id, (payload, changes, digest, answer), conn, received_ms = proposal
        tree = self.tree
        if self._large_from >= 0 and op in ZNODE_WRITES:
            self._count_large(payload, -1)
        if changes:
            install(tree, changes)
            self.outstanding.installed(changes)
        tree.advance(zxid, digest)
        if tree.events:
            self._fire_events(zxid)
        if op == _CREATE_SESSION:
            timeout_ms = created_session_timeout(payload)
            tree.sessions[session_id] = timeout_ms
            self.tracker.add(session_id, timeout_ms, now_ms)  # re-armed, if it was there
        if conn is not None:
            latency_ms = now_ms - received_ms
            self.counters.update_latency.add(latency_ms)
            if not conn.closed:
                conn.record_latency(latency_ms, 1)
                self._clients.committed(conn, answer)
            elif self._audit is not None:
                self._audit.answered(conn, answer)
        if op == _CLOSE_SESSION:
            self._ephemerals_deleted(session_id, (path for path, gone, _ in changes if not gone))
            self._session_closed(session_id, conn)


def _length_of_path(change: Change) -> int:
    return len(change[0])
