"""What every serving server has, whatever its role: connections, their order, reads, watches.

Every public method is one input and runs to its end; nothing here reads a clock, a socket or
a file. Effects leave through the connections' channels. How a write becomes a committed
transaction is the role's part: `Leading` validates and proposes, `Following` asks its leader,
`ReadOnly` refuses.

Times are milliseconds: `now_ms` monotonic, for liveness; `wall_ms` goes into transactions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from kraal.errors import ErrorCode
from kraal.model.acl import READ
from kraal.model.config import ServerConfig
from kraal.pipeline.audit import Audit, session_over
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.auth.sasl import Mechanism
from kraal.pipeline.client_order import ClientOrder
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counters
from kraal.pipeline.near_limit import NearLimit
from kraal.pipeline.read import Reader
from kraal.pipeline.reply import connect_response
from kraal.pipeline.room import grows
from kraal.pipeline.session_journal import What
from kraal.pipeline.session_tracker import Session, Sessions
from kraal.pipeline.watch_limit import WatchLimit
from kraal.pipeline.watch_table import WatchTable
from kraal.replica.handshake import Decision, Handshake
from kraal.replica.local_sessions import LocalSessions, creates_ephemeral
from kraal.replica.status import Mode
from kraal.tree.acl_cache import AclList
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode

MOVED = "the session goes on in another connection"
EXPIRED = "the session is over"


def silent(session: Session) -> str:
    """Why a session expired."""
    return f"nothing was heard of it for its timeout of {session.timeout_ms} ms"


class LogSink(Protocol):
    """Where transactions go to become durable."""

    def append(self, zxid: int, payload: bytes) -> None:
        """Take a record, in zxid order."""
        ...


class Replica:
    """One term of serving clients; a server that changes its role begins a new one."""

    mode = Mode.STANDALONE
    lacks_room = False
    """Whether the disk has no room, as the shell says: writes that make data grow are refused."""
    has_lost_log = False
    """Whether the next start would not find what is logged: `lacks_room`, and for every write."""
    _expire_from_ms = 0

    def __init__(
        self,
        config: ServerConfig,
        tree: DataTree,
        tracker: Sessions,
        *,
        first_session_id: int,
        now_ms: int,
        counters: Counters | None = None,
        answers_sync: bool = True,
    ) -> None:
        self.config = config
        self.tree = tree
        self.counters = counters or Counters(started_ms=now_ms)
        self.counters.begin_term(now_ms)
        self.connections: dict[ClientConnection, None] = {}
        self.authority = Authority(config.security)
        self.tracker = tracker
        self._audit = Audit(self.authority) if config.audit_user is not None else None
        self._clients = ClientOrder(
            tree,
            self.authority,
            self.counters,
            config.throttle,
            self,
            NearLimit(config.max_buffer_bytes, self.counters),
            self._audit,
        )
        self.watches = WatchTable(self._may_read, self._clients.send, self.counters)
        watch_limit = WatchLimit(config.throttle.watches_of_session, self.counters)
        reader = Reader(tree, self.watches, self.authority, watch_limit)
        self._clients.start(reader.handlers, answers_sync=answers_sync)
        ensemble = config.ensemble
        self._local = (
            LocalSessions(config.tick_time_ms, may_upgrade=ensemble.local_sessions_upgrading)
            if ensemble is not None and ensemble.local_sessions
            else None
        )
        self._handshake = Handshake(config, tree, tracker, first_session_id)

    @property
    def in_flight(self) -> int:
        """Writes on their way and not yet applied here."""
        raise NotImplementedError

    @property
    def local_sessions(self) -> Collection[Session] | None:
        """Sessions that this server keeps for itself; None: it keeps none."""
        return self._local.sessions if self._local is not None else None

    @property
    def next_session_id(self) -> int:
        """Where the ids of this server go on in its next term."""
        return self._handshake.next_id

    def log_in_by(self, mechanism: Mechanism | None) -> None:
        """How clients log in by SASL from now on; None: they cannot."""
        self._clients.mechanism = mechanism

    # Inputs of a connection

    def opened(self, conn: ClientConnection) -> None:
        """A client connected; its ConnectRequest is still to come."""
        self.connections[conn] = None

    def closed(self, conn: ClientConnection, why: str = "the client closed it") -> None:
        """The connection is gone; its watches go with it, its session stays."""
        session = conn.session
        if session is not None and session.connection is conn:
            if not session.closing:
                self.counters.connections_dropped += 1
            self.counters.journal.note(
                session.id, What.DISCONNECTED, f"{conn.host}:{conn.port}: {why}"
            )
        conn.closed = True
        self.connections.pop(conn, None)
        self.watches.forget(conn)
        self._clients.forget(conn)
        if session is not None and session.connection is conn:
            session.connection = None

    def connect(self, now_ms: int, wall_ms: int, conn: ClientConnection, frame: bytes) -> None:
        """The first frame of a connection: a new session, or one that moves here."""
        self.counters.received += 1
        self.counters.connect_requests += 1
        self.counters.journal.wall_ms = wall_ms
        conn.received += 1
        decision = self._handshake.decide(frame)
        if decision is None:
            self._clients.close(conn)
            return
        conn.with_read_only = decision.with_read_only
        if self._local is None or not self._greet_local(now_ms, conn, decision):
            self._greet(now_ms, wall_ms, conn, decision)
        self._clients.flush(now_ms)

    def _greet(self, now_ms: int, wall_ms: int, conn: ClientConnection, decision: Decision) -> None:
        """Create the session, take it over, or refuse it."""
        raise NotImplementedError

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
        if session.is_local:
            assert self._local is not None
            self._local.touch(session, now_ms)
        else:
            self.tracker.touch(session, now_ms)
        if not self._admits(frames):
            self.counters.large_requests_rejected += 1
            self._abort(conn, "too much is in flight for its large request")
            return
        self._clients.take(now_ms, wall_ms, conn, frames)
        self._clients.flush(now_ms)

    def _admits(self, _frames: list[bytes]) -> bool:
        """Whether there is room for these requests."""
        return True

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

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """Time passed."""
        self.counters.load.tick(now_ms)
        self.counters.journal.wall_ms = wall_ms
        if self._local is not None and self._may_expire(now_ms):
            for session in self._local.expired(now_ms):
                self._note_expired(session, silent(session))
                if session.connection is not None:
                    self._abort(session.connection, EXPIRED)

    def stood_still(self, now_ms: int) -> None:
        """The server did nothing for a tick or more: what clients sent meanwhile comes first.

        For one tick no session expires.
        """
        self._expire_from_ms = now_ms + self.config.tick_time_ms

    def _may_expire(self, now_ms: int) -> bool:
        return now_ms >= self._expire_from_ms

    def _note_expired(self, session: Session, why: str) -> None:
        self.counters.sessions_expired += 1
        self.counters.journal.note(session.id, What.EXPIRED, why)

    def close(self) -> None:
        """The term is over: every client has to find another server, or this one again."""
        self.counters.closed_without_server += len(self.connections)
        for conn in list(self.connections):
            self._abort(conn, "this server's role is over")

    # Writes: what `ClientOrder` asks of its owner

    def propose_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """A write of znodes. Raises DecodeError when it does not decode."""
        raise NotImplementedError

    def _refuses_for_room(self, conn: ClientConnection, xid: int, op: int, frame: bytes) -> bool:
        """Whether a write is refused for the disk's sake; it costs no transaction.

        "Not executed at all, please retry with back off", says the reference of the code.
        """
        if not self._is_too_much(op, frame):
            return False
        self._clients.refuse_in_order(conn, xid, ErrorCode.THROTTLED_OP)
        return True

    def _is_too_much(self, op: int, frame: bytes) -> bool:
        """Whether a disk that lacks room takes this write no more."""
        return self.has_lost_log or grows(op, frame)

    def propose_session_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """createSession or closeSession. Raises DecodeError when it does not decode."""
        raise NotImplementedError

    def propose_sync(self, now_ms: int, conn: ClientConnection, xid: int, frame: bytes) -> None:
        """A sync that others must answer. Raises DecodeError when it does not decode."""
        raise NotImplementedError

    # Local sessions (reference/client-protocol.md section 9.4)

    def _greet_local(self, now_ms: int, conn: ClientConnection, decision: Decision) -> bool:
        """Whether the client's session is a local one, new or back."""
        assert self._local is not None
        if decision.is_new:
            session_id = self._handshake.next_session_id()
        elif decision.is_proven and self._local.get(decision.session_id) is not None:
            session_id = decision.session_id
        else:
            return False
        session = self._local.open(session_id, decision.timeout_ms, now_ms)
        if session.connection is not None:
            self._abort(session.connection, MOVED)
        self._bind(conn, session, What.CREATED if decision.is_new else What.CONNECTED)
        answer = connect_response(
            session_id, decision.timeout_ms, with_read_only=conn.with_read_only
        )
        self._clients.send(conn, answer)
        return True

    def _refuses_local(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> bool:
        """Whether a write of a local session is refused; an ephemeral may make it global."""
        session, local = conn.session, self._local
        assert session is not None and local is not None
        if not creates_ephemeral(op, frame):
            return False
        if local.may_upgrade:
            local.remove(session)
            self.tracker.adopt(session, now_ms)
            self._make_global(now_ms, wall_ms, session)
            return False
        if op == OpCode.MULTI:
            return False  # refused where it is validated, by its sub-operation
        self._clients.refuse_in_order(conn, xid, ErrorCode.EPHEMERAL_ON_LOCAL_SESSION)
        return True

    def _make_global(self, now_ms: int, wall_ms: int, session: Session) -> None:
        """Create the session for the whole ensemble; nobody waits for it."""
        raise NotImplementedError

    def close_local(self, conn: ClientConnection) -> None:
        """The connection's local session ends, and its client knows it."""
        if conn.session is not None and self._local is not None:
            self._local.remove(conn.session)
        self._clients.close(conn)

    # Sessions

    def _bind(self, conn: ClientConnection, session: Session, what: What = What.CONNECTED) -> None:
        self.counters.journal.note(
            session.id, what, f"{conn.host}:{conn.port}, timeout {session.timeout_ms} ms"
        )
        conn.session = session
        session.connection = conn

    def _move_here(
        self, now_ms: int, conn: ClientConnection, session_id: int, timeout_ms: int
    ) -> None:
        """A session moves to this connection; the one it had here is closed silently."""
        known = self.tracker.sessions.get(session_id)
        if known is not None and known.connection not in (None, conn):
            assert known.connection is not None
            self._abort(known.connection, MOVED)
        self._bind(conn, self.tracker.add(session_id, timeout_ms, now_ms))
        self.counters.connections_revalidated += 1
        answer = connect_response(session_id, timeout_ms, with_read_only=conn.with_read_only)
        self._clients.send(conn, answer)

    def _refuse_session(self, conn: ClientConnection, session_id: int) -> None:
        """Tell the client that its session is over."""
        self.counters.journal.note(
            session_id, What.REFUSED, f"{conn.host}:{conn.port}: it is over, or the password wrong"
        )
        self._clients.send(conn, connect_response(0, 0, with_read_only=conn.with_read_only))
        self._clients.close(conn)

    def _ephemerals_deleted(self, session_id: int, paths: Iterable[bytes | None]) -> None:
        user = self.config.audit_user
        if user is not None:
            session_over(user, session_id, paths)

    def _session_closed(self, session_id: int, asked: ClientConnection | None) -> None:
        """The client that asked gets its reply first; one that expired gets no frame."""
        self.tree.sessions.pop(session_id, None)
        self.counters.journal.note(
            session_id, What.CLOSED, "by its client" if asked is not None else ""
        )
        session = self.tracker.remove(session_id)
        conn = session.connection if session is not None else None
        if conn is not None:
            if conn is asked:
                self._clients.close(conn)
            else:
                self._abort(conn, EXPIRED)

    # Watches

    def _fire_events(self, zxid: int) -> None:
        """Tell watchers what the transaction changed, before anyone gets a reply that shows it."""
        events = self.tree.events
        if self.watches:
            for event in events:
                self.watches.fire(event, zxid)
        events.clear()

    def _may_read(self, conn: ClientConnection, acl: AclList) -> bool:
        return self.authority.permits(acl, READ, conn.auth)

    def _abort(self, conn: ClientConnection, why: str) -> None:
        conn.channel.abort()
        self.closed(conn, why)
