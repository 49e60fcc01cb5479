"""One server without I/O: requests become transactions, logged ones are applied in order.

Every public method is one input and runs to its end; nothing here reads a clock, a socket or
a file. Effects leave through the connections' channels and through `LogSink`. A write takes
this way: `frames` validates it against the tree and what is in flight and hands the record to
the sink; `logged` says that it is on disk; the quorum of a server that stands alone is itself,
so it commits: the tree changes, watch events leave, then the reply, then what waited behind.

Times are milliseconds: `now_ms` monotonic, for liveness; `wall_ms` goes into transactions.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Protocol

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.acl import READ, Id
from kraal.model.config import ServerConfig
from kraal.model.limits import OUTPUT_HIGH_WATER_BYTES, PENDING_FRAMES_MAX
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.connection import WRITE_IN_FLIGHT, ClientConnection
from kraal.pipeline.container_manager import ContainerManager
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.prepare.draft import Context, Draft, Rules
from kraal.pipeline.prepare.preparer import (
    SESSION_WRITES,
    ZNODE_WRITES,
    PreparedTxn,
    Preparer,
)
from kraal.pipeline.read import Reader
from kraal.pipeline.reply import connect_response, refusal, reply
from kraal.pipeline.session_tracker import Session, SessionTracker
from kraal.pipeline.watch_table import WatchTable
from kraal.replica.counters import Counters
from kraal.replica.handshake import Handshake
from kraal.tree.acl_cache import AclList
from kraal.tree.apply import install
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.primitives import NULL
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.txn import created_session_timeout

_HEADER = struct.Struct(">ii")
_unpack_header = _HEADER.unpack_from
HEADER_BYTES = 8
UNKNOWN_OP_ZXID = -1


class LogSink(Protocol):
    """Where transactions go to become durable; `Replica.logged` is the answer."""

    def append(self, zxid: int, payload: bytes) -> None:
        """Take a record, in zxid order."""
        ...


Proposal = tuple[int, int, int, PreparedTxn, ClientConnection | None, int]
"""In flight: zxid, opcode, session id, transaction, whom to answer, when it was received."""


class Replica:
    """The state machine of one server that stands alone."""

    def __init__(
        self,
        config: ServerConfig,
        tree: DataTree,
        sink: LogSink,
        *,
        first_session_id: int,
        now_ms: int,
    ) -> None:
        self.config = config
        self.tree = tree
        self.counters = Counters(started_ms=now_ms)
        self.connections: dict[ClientConnection, None] = {}
        self.authority = Authority(config.security)
        self.watches = WatchTable(self._may_read, self._send)
        self.tracker = SessionTracker(config.tick_time_ms)
        for session_id, timeout_ms in tree.sessions.items():
            self.tracker.add(session_id, timeout_ms, now_ms)
        self.outstanding = Outstanding(tree)
        rules = Rules(
            extended_types=config.extended_types,
            enforce_quota=config.enforce_quota,
            reconfig_enabled=config.reconfig_enabled,
            close_session_txn=config.close_session_txn,
        )
        self._preparer = Preparer(Context(tree, self.outstanding, self.authority, rules))
        self._handshake = Handshake(config, tree, self.tracker, first_session_id)
        self._reaper = ContainerManager(tree, config.reaper, now_ms)
        self._reads = Reader(tree, self.watches, self.authority).handlers
        self._append = sink.append
        self._in_flight: deque[Proposal] = deque()
        self._dirty: list[ClientConnection] = []
        self._stalled: dict[ClientConnection, None] = {}
        self._last_proposed = tree.last_zxid
        self._enforces_auth = bool(config.security.enforce_auth_schemes)
        self._in_flight_max = (
            config.throttle.request_max or config.throttle.global_outstanding_limit
        )

    @property
    def in_flight(self) -> int:
        """Writes proposed and not yet applied."""
        return len(self._in_flight)

    # Inputs of a connection

    def opened(self, conn: ClientConnection) -> None:
        """A client connected; its ConnectRequest is still to come."""
        self.connections[conn] = None

    def closed(self, conn: ClientConnection) -> None:
        """The connection is gone; its watches go with it, its session stays."""
        conn.closed = True
        self.connections.pop(conn, None)
        self._stalled.pop(conn, None)
        self.watches.forget(conn)
        conn.pending.clear()
        conn.inbox.clear()
        conn.out.clear()
        if conn.session is not None and conn.session.connection is conn:
            conn.session.connection = None

    def connect(self, now_ms: int, wall_ms: int, conn: ClientConnection, frame: bytes) -> None:
        """The first frame of a connection: a new session, or one that moves here."""
        self.counters.received += 1
        conn.received += 1
        decision = self._handshake.decide(frame)
        if decision is None:
            self._close(conn)
            return
        conn.with_read_only = decision.with_read_only
        session = decision.session
        if session is not None:
            self._take_over(now_ms, conn, session, decision.timeout_ms)
        elif decision.is_new:
            self._create_session(now_ms, wall_ms, conn, decision.timeout_ms)
        else:
            self._send(conn, connect_response(0, 0, with_read_only=conn.with_read_only))
            self._close(conn)
        self._flush()

    def frames(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, frames: list[bytes]
    ) -> None:
        """All requests of one socket read, in order."""
        session = conn.session
        if session is None or session.closing or conn.closed:
            return
        count = len(frames)
        conn.received += count
        self.counters.received += count
        self.tracker.touch(session, now_ms)
        if conn.inbox:
            conn.inbox.extend(frames)
        else:
            self._take(now_ms, wall_ms, conn, frames)
        self._flush()

    def blocked(self, conn: ClientConnection) -> None:
        """The channel holds more unsent output than it should."""
        conn.blocked = True
        self._pause(conn)

    def drained(self, now_ms: int, wall_ms: int, conn: ClientConnection) -> None:
        """The channel can take output again."""
        conn.blocked = False
        self._drain_pending(conn)
        self._resume(now_ms, wall_ms, conn)
        self._flush()

    # Inputs of the disk and the clock

    def logged(self, now_ms: int, wall_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable here, and so, standing alone, committed."""
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= zxid:
            self._commit(now_ms, *in_flight.popleft())
        if self._stalled and len(in_flight) <= self._in_flight_max:
            for conn in list(self._stalled):
                self._resume(now_ms, wall_ms, conn)
        self._flush()

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """Time passed: sessions expire, containers and TTL znodes are reaped."""
        for session in self.tracker.expired(now_ms):
            self.counters.sessions_expired += 1
            draft = self._draft(session.id, 0, (), wall_ms)
            made = self._preparer.close_session(draft)
            self._propose(draft, OpCode.CLOSE_SESSION, made, None, now_ms)
        for path in self._reaper.due(now_ms, wall_ms):
            draft = self._draft(0, 0, (), wall_ms)
            made = self._preparer.delete_container(draft, path)
            self._propose(draft, OpCode.DELETE_CONTAINER, made, None, now_ms)

    # Requests

    def _take(self, now_ms: int, wall_ms: int, conn: ClientConnection, frames: list[bytes]) -> None:
        """Answer or propose each frame; what cannot be taken now waits in the inbox."""
        reads, pending, out, tree = self._reads, conn.pending, conn.out, self.tree
        plain = not self._enforces_auth
        size = answered = taken = xid = op = 0
        for frame in frames:
            if len(frame) < HEADER_BYTES:
                self._close(conn)
                return
            taken += 1
            xid, op = _unpack_header(frame)
            handler = reads.get(op)
            if handler is None or not plain:
                if op in ZNODE_WRITES and plain:
                    self._propose_write(now_ms, wall_ms, conn, xid, op, frame)
                elif not self._take_other(now_ms, wall_ms, conn, xid, op, frame):
                    return
                if pending and self._must_stall(conn):
                    break
                continue
            if pending:
                pending.append(frame)
                continue
            try:
                answer = handler(conn, xid, frame)
            except RequestError as error:
                answer = refusal(xid, tree.last_zxid, error.code)
            except DecodeError:
                answer = refusal(xid, tree.last_zxid, ErrorCode.MARSHALLING_ERROR)
            out.append(answer)
            answered += 1
            size += len(answer)
            if size > OUTPUT_HIGH_WATER_BYTES:
                size = 0
                self._write_out(conn)
                if conn.blocked:
                    break
        conn.last_op, conn.last_cxid = op, xid
        if answered:
            self.counters.latency.add(0, answered)
            conn.record_latency(0, answered)
            self._mark_dirty(conn)
        if taken < len(frames):
            conn.inbox.extendleft(reversed(frames[taken:]))
            self._stalled[conn] = None
            self._pause(conn)

    def _take_other(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> bool:
        """Sessions, authentication, and what is no operation; False ends the connection."""
        if op == OpCode.AUTH:
            return self._authenticate(conn, xid, frame)
        if op == OpCode.SASL:
            self._send(conn, reply(xid, 0, NULL))  # not configured: a null token
            return True
        if self._enforces_auth and self.authority.is_enforced_and_missing(conn.auth):
            self._send(conn, refusal(xid, 0, ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH))
            self._close(conn)
            return False
        if op in ZNODE_WRITES:
            self._propose_write(now_ms, wall_ms, conn, xid, op, frame)
        elif op in SESSION_WRITES:
            self._propose_session_write(now_ms, wall_ms, conn, xid, op, frame)
            return op != OpCode.CLOSE_SESSION
        else:
            self._in_order(conn, frame)
        return not conn.closed

    def _must_stall(self, conn: ClientConnection) -> bool:
        return len(self._in_flight) > self._in_flight_max or len(conn.pending) > PENDING_FRAMES_MAX

    def _propose_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        session = conn.session
        assert session is not None
        draft = Draft(session.id, xid, conn.auth, self._last_proposed + 1, wall_ms)
        try:
            made = self._preparer.write(draft, op, frame)
        except DecodeError:
            # Refused before it costs a zxid, in the order of the connection.
            self._in_order(conn, frame)
            return
        conn.pending.append(WRITE_IN_FLIGHT)
        self._propose(draft, op, made, conn, now_ms)

    def _propose_session_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        session = conn.session
        assert session is not None
        draft = self._draft(session.id, xid, conn.auth, wall_ms)
        if op == OpCode.CLOSE_SESSION:
            self.tracker.mark_closing(session)
            made = self._preparer.close_session(draft)
        else:
            try:
                request = proto.CreateSessionRequest.decode(frame, HEADER_BYTES)[0]
            except DecodeError:
                self._in_order(conn, frame)
                return
            timeout_ms = self._handshake.negotiate(request.timeout_ms)
            made = self._session_txn(draft, conn, timeout_ms)
        conn.pending.append(WRITE_IN_FLIGHT)
        self._propose(draft, op, made, conn, now_ms)

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

    def _in_order(self, conn: ClientConnection, frame: bytes) -> None:
        """Answer now, or when everything before it on the connection is answered."""
        if conn.pending:
            conn.pending.append(frame)
        else:
            self._answer(conn, frame)

    def _answer(self, conn: ClientConnection, frame: bytes) -> None:
        """The reply to a read, to a write that did not decode, or to no operation at all."""
        xid, op = _unpack_header(frame)
        zxid = self.tree.last_zxid
        handler = self._reads.get(op)
        if handler is not None:
            try:
                answer = handler(conn, xid, frame)
            except RequestError as error:
                answer = refusal(xid, zxid, error.code)
            except DecodeError:
                answer = refusal(xid, zxid, ErrorCode.MARSHALLING_ERROR)
            self._send(conn, answer)
        elif op in ZNODE_WRITES or op in SESSION_WRITES:
            self._send(conn, refusal(xid, zxid, ErrorCode.MARSHALLING_ERROR))
        else:
            self._send(conn, refusal(xid, UNKNOWN_OP_ZXID, ErrorCode.UNIMPLEMENTED))
            self._close(conn)
        self.counters.latency.add(0, 1)

    def _authenticate(self, conn: ClientConnection, xid: int, frame: bytes) -> bool:
        """Done by the reader of the connection: the reply may overtake earlier ones."""
        try:
            packet = proto.AuthPacket.decode(frame, HEADER_BYTES)[0]
            earned = self.authority.authenticate(packet.scheme, packet.auth, conn.auth[0].id)
        except DecodeError:
            self._close(conn)
            return False
        except RequestError as error:
            self._send(conn, refusal(xid, 0, error.code))
            self._close(conn)
            return False
        for identity in earned:
            conn.add_identity(identity)
        self._send(conn, refusal(xid, 0, ErrorCode.OK))
        return True

    # Sessions

    def _create_session(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, timeout_ms: int
    ) -> None:
        session_id = self._handshake.next_session_id()
        self._bind(conn, self.tracker.add(session_id, timeout_ms, now_ms))
        draft = self._draft(session_id, 0, (), wall_ms)
        made = self._session_txn(draft, conn, timeout_ms)
        conn.pending.append(WRITE_IN_FLIGHT)
        self._propose(draft, OpCode.CREATE_SESSION, made, conn, now_ms)

    def _session_txn(self, draft: Draft, conn: ClientConnection, timeout_ms: int) -> PreparedTxn:
        answer = connect_response(draft.session_id, timeout_ms, with_read_only=conn.with_read_only)
        draft.cxid = 0
        return self._preparer.create_session(draft, timeout_ms, answer)

    def _take_over(
        self, now_ms: int, conn: ClientConnection, session: Session, timeout_ms: int
    ) -> None:
        """A session moves to this connection; the one it had is closed silently."""
        if session.connection is not None:
            self._abort(session.connection)
        self.tracker.add(session.id, timeout_ms, now_ms)
        self._bind(conn, session)
        self.counters.connections_revalidated += 1
        answer = connect_response(session.id, timeout_ms, with_read_only=conn.with_read_only)
        self._send(conn, answer)

    def _bind(self, conn: ClientConnection, session: Session) -> None:
        conn.session = session
        session.connection = conn

    # Commit

    def _commit(
        self,
        now_ms: int,
        zxid: int,
        op: int,
        session_id: int,
        made: PreparedTxn,
        conn: ClientConnection | None,
        received_ms: int,
    ) -> None:
        tree = self.tree
        payload, changes, digest, answer = made
        if changes:
            install(tree, changes)
            self.outstanding.installed(changes)
        tree.advance(zxid, digest)
        if tree.events:
            if self.watches:
                for event in tree.events:
                    self.watches.fire(event, zxid)
            tree.events.clear()
        if op == OpCode.CREATE_SESSION:
            tree.sessions[session_id] = created_session_timeout(payload)
            self.counters.sessions_created += 1
        latency_ms = now_ms - received_ms
        self.counters.update_latency.add(latency_ms)
        if conn is not None and not conn.closed:
            conn.record_latency(latency_ms, 1)
            pending = conn.pending
            pending.popleft()
            conn.out.append(answer)
            if not conn.dirty:
                conn.dirty = True
                self._dirty.append(conn)
            if pending:
                self._drain_pending(conn)
        if op == OpCode.CLOSE_SESSION:
            self._session_closed(session_id, conn)

    def _session_closed(self, session_id: int, asked: ClientConnection | None) -> None:
        """The client that asked gets its reply first; one that expired gets no frame."""
        self.tree.sessions.pop(session_id, None)
        session = self.tracker.remove(session_id)
        conn = session.connection if session is not None else None
        if conn is not None:
            if conn is asked:
                self._close(conn)
            else:
                self._abort(conn)

    def _drain_pending(self, conn: ClientConnection) -> None:
        """Answer what waited behind a write, up to the next one."""
        pending = conn.pending
        while pending and pending[0] is not WRITE_IN_FLIGHT and not conn.blocked:
            frame = pending.popleft()
            self._answer(conn, frame)
            if conn.closed:
                return
            if sum(map(len, conn.out)) > OUTPUT_HIGH_WATER_BYTES:
                self._write_out(conn)

    # Output

    def _may_read(self, conn: ClientConnection, acl: AclList) -> bool:
        return self.authority.permits(acl, READ, conn.auth)

    def _send(self, conn: ClientConnection, data: bytes) -> None:
        conn.out.append(data)
        self._mark_dirty(conn)

    def _mark_dirty(self, conn: ClientConnection) -> None:
        if not conn.dirty:
            conn.dirty = True
            self._dirty.append(conn)

    def _flush(self) -> None:
        """One write for each connection that has output."""
        for conn in self._dirty:
            conn.dirty = False
            self._write_out(conn)
        self._dirty.clear()

    def _write_out(self, conn: ClientConnection) -> None:
        out = conn.out
        if out:
            count = len(out)
            conn.sent += count
            self.counters.sent += count
            conn.channel.write(out[0] if count == 1 else b"".join(out))
            out.clear()

    def _pause(self, conn: ClientConnection) -> None:
        if not conn.paused:
            conn.paused = True
            conn.channel.pause_reading()

    def _resume(self, now_ms: int, wall_ms: int, conn: ClientConnection) -> None:
        """Take up what waited; read on when nothing is left of it."""
        if conn.blocked or conn.closed:
            return
        self._stalled.pop(conn, None)
        if conn.inbox:
            frames = list(conn.inbox)
            conn.inbox.clear()
            self._take(now_ms, wall_ms, conn, frames)
        if not conn.inbox and not conn.blocked and conn.paused:
            conn.paused = False
            conn.channel.resume_reading()

    def _close(self, conn: ClientConnection) -> None:
        """Send what is queued, then close; nothing further is read or answered."""
        self._write_out(conn)
        conn.channel.close()
        self.closed(conn)

    def _abort(self, conn: ClientConnection) -> None:
        conn.channel.abort()
        self.closed(conn)
