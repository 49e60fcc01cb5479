"""One server without I/O: requests become transactions, logged ones are applied in order.

Every public method is one input and runs to its end; nothing here reads a clock, a socket or
a file. Effects leave through the connections' channels and through `LogSink`. A write takes
this way: `frames` validates it against the tree and what is in flight and hands the record to
the sink; `logged` says that it is on disk; the quorum of a server that stands alone is itself,
so it commits: the tree changes, watch events leave, then the reply, then what waited behind.

Times are milliseconds: `now_ms` monotonic, for liveness; `wall_ms` goes into transactions.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kraal.model.acl import READ, Id
from kraal.model.config import ServerConfig
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.client_order import HEADER_BYTES, ClientOrder
from kraal.pipeline.connection import WRITE_IN_FLIGHT, ClientConnection
from kraal.pipeline.container_manager import ContainerManager
from kraal.pipeline.counters import Counters
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.prepare.draft import Context, Draft, Rules
from kraal.pipeline.prepare.preparer import ZNODE_WRITES, PreparedTxn, Preparer
from kraal.pipeline.read import Reader
from kraal.pipeline.reply import connect_response
from kraal.pipeline.session_tracker import Session, SessionTracker
from kraal.pipeline.watch_table import WatchTable
from kraal.replica.handshake import Handshake
from kraal.tree.acl_cache import AclList
from kraal.tree.apply import install
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.txn import created_session_timeout


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
        self._clients = ClientOrder(tree, self.authority, self.counters, config.throttle, self)
        self.watches = WatchTable(self._may_read, self._clients.send)
        self._clients.start(Reader(tree, self.watches, self.authority).handlers)
        self.tracker = SessionTracker(config.tick_time_ms)
        for session_id, timeout_ms in tree.sessions.items():
            self.tracker.add(session_id, timeout_ms, now_ms)
        self.outstanding = Outstanding(tree)
        rules = Rules(
            extended_types=config.extended_types,
            enforce_quota=config.enforce_quota,
            reconfig_enabled=config.reconfig_enabled,
            close_session_txn=config.close_session_txn,
            max_record_bytes=config.storage.max_record_bytes,
        )
        self._preparer = preparer = Preparer(Context(tree, self.outstanding, self.authority, rules))
        self._handshake = Handshake(config, tree, self.tracker, first_session_id)
        self._reaper = ContainerManager(tree, config.reaper, now_ms)
        self._write = preparer.write
        self._append = sink.append
        self._in_flight: deque[Proposal] = deque()
        self._last_proposed = tree.last_zxid
        self._large_bytes = 0
        self._large_from = config.throttle.large_request_threshold_bytes

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
        self.watches.forget(conn)
        self._clients.forget(conn)
        if conn.session is not None and conn.session.connection is conn:
            conn.session.connection = None

    def connect(self, now_ms: int, wall_ms: int, conn: ClientConnection, frame: bytes) -> None:
        """The first frame of a connection: a new session, or one that moves here."""
        self.counters.received += 1
        conn.received += 1
        decision = self._handshake.decide(frame)
        if decision is None:
            self._clients.close(conn)
            return
        conn.with_read_only = decision.with_read_only
        session = decision.session
        if session is not None:
            self._take_over(now_ms, conn, session, decision.timeout_ms)
        elif decision.is_new:
            self._create_session(now_ms, wall_ms, conn, decision.timeout_ms)
        else:
            self._clients.send(conn, connect_response(0, 0, with_read_only=conn.with_read_only))
            self._clients.close(conn)
        self._clients.flush(now_ms)

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
        if self._large_from >= 0 and not self._admits_large(frames):
            self._abort(conn)
            return
        self._clients.take(now_ms, wall_ms, conn, frames)
        self._clients.flush(now_ms)

    def blocked(self, conn: ClientConnection) -> None:
        """The channel holds more unsent output than it should."""
        conn.blocked = True
        self._clients.pause(conn)

    def drained(self, now_ms: int, wall_ms: int, conn: ClientConnection) -> None:
        """The channel can take output again."""
        conn.blocked = False
        self._clients.drain_pending(conn)
        self._clients.resume(now_ms, wall_ms, conn)
        self._clients.flush(now_ms)

    # Inputs of the disk and the clock

    def logged(self, now_ms: int, wall_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable here, and so, standing alone, committed."""
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= zxid:
            self._commit(now_ms, in_flight.popleft())
        self._clients.resume_stalled(now_ms, wall_ms)
        self._clients.flush(now_ms)

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

    # Writes

    def _admits_large(self, frames: list[bytes]) -> bool:
        """Whether large requests in flight leave room for these (section 11.2)."""
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
        session = conn.session
        assert session is not None
        zxid, session_id = self._last_proposed + 1, session.id
        draft = Draft(session_id, xid, conn.auth, zxid, wall_ms)
        made = self._write(draft, op, frame)
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
        draft = self._draft(session.id, xid, conn.auth, wall_ms)
        if op == OpCode.CLOSE_SESSION:
            self.tracker.mark_closing(session)
            made = self._preparer.close_session(draft)
        else:
            request = proto.CreateSessionRequest.decode(frame, HEADER_BYTES)[0]
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
        self._clients.send(conn, answer)

    def _bind(self, conn: ClientConnection, session: Session) -> None:
        conn.session = session
        session.connection = conn

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
            if self.watches:
                for event in tree.events:
                    self.watches.fire(event, zxid)
            tree.events.clear()
        if op == OpCode.CREATE_SESSION:
            timeout_ms = created_session_timeout(payload)
            tree.sessions[session_id] = timeout_ms
            self.tracker.add(session_id, timeout_ms, now_ms)  # re-armed, if it was there
        latency_ms = now_ms - received_ms
        self.counters.update_latency.add(latency_ms)
        if conn is not None and not conn.closed:
            conn.record_latency(latency_ms, 1)
            self._clients.committed(conn, answer)
        if op == OpCode.CLOSE_SESSION:
            self._session_closed(session_id, conn)

    def _session_closed(self, session_id: int, asked: ClientConnection | None) -> None:
        """The client that asked gets its reply first; one that expired gets no frame."""
        self.tree.sessions.pop(session_id, None)
        session = self.tracker.remove(session_id)
        conn = session.connection if session is not None else None
        if conn is not None:
            if conn is asked:
                self._clients.close(conn)
            else:
                self._abort(conn)

    def _may_read(self, conn: ClientConnection, acl: AclList) -> bool:
        return self.authority.permits(acl, READ, conn.auth)

    def _abort(self, conn: ClientConnection) -> None:
        conn.channel.abort()
        self.closed(conn)
