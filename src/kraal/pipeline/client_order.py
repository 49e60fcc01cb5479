"""Requests of each connection in their order, and its replies in the same.

A read is answered at once unless a write of the same connection is on its way; then it waits
behind it, and for nobody else. What a connection may not have now waits in its inbox and the
connection is not read meanwhile: when it does not take its output, and when too much is in
flight. Rules: reference/client-protocol.md sections 5.6 and 11.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from typing import Protocol

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.config import ThrottleConfig
from kraal.model.limits import (
    IDENTITIES_MAX,
    IDENTITIES_MAX_CHARACTERS,
    OUTPUT_HIGH_WATER_BYTES,
    PENDING_FRAMES_MAX,
    READS_BEFORE_WRITE_MAX,
)
from kraal.pipeline.audit import Audit
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.auth.sasl import LoginRefusedError, Mechanism, shown
from kraal.pipeline.complaints import Complaints
from kraal.pipeline.connection import WRITE_IN_FLIGHT, ClientConnection
from kraal.pipeline.counters import Counters
from kraal.pipeline.near_limit import NearLimit
from kraal.pipeline.prepare.preparer import SESSION_WRITES, ZNODE_WRITES
from kraal.pipeline.read import ReadHandler
from kraal.pipeline.reply import refusal, refusal_with, reply
from kraal.tree.data_tree import DataTree
from kraal.wire.framing import LENGTH_BYTES
from kraal.wire.jute.primitives import NULL, pack_int, write_buffer
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto

logger = logging.getLogger("kraal.sasl")
_HEADER = struct.Struct(">ii")
_unpack_header = _HEADER.unpack_from
HEADER_BYTES = 8
UNKNOWN_OP_ZXID = -1
_THROTTLED = pack_int(ErrorCode.THROTTLED_OP)
_UNTHROTTLED = (
    OpCode.PING, OpCode.CREATE_SESSION, OpCode.CLOSE_SESSION, OpCode.AUTH, OpCode.SASL,
)  # fmt: skip


class RefusedFrame(bytes):
    """The xid of a request and the error that answers it in its turn."""


class Owner(Protocol):
    """What the order of clients needs of the replica that owns it."""

    @property
    def in_flight(self) -> int:
        """Writes proposed and not yet applied."""
        ...

    def propose_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """A write of znodes. Raises DecodeError when it does not decode."""
        ...

    def propose_session_write(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> None:
        """createSession or closeSession. Raises DecodeError when it does not decode."""
        ...

    def propose_sync(self, now_ms: int, conn: ClientConnection, xid: int, frame: bytes) -> None:
        """A sync that others must answer. Raises DecodeError when it does not decode."""
        ...

    def close_local(self, conn: ClientConnection) -> None:
        """The connection's local session ends, and its client knows it."""
        ...

    def closed(self, conn: ClientConnection) -> None:
        """The connection is at its end."""
        ...


class ClientOrder:
    """Takes the frames of all connections of one server and sends what answers them."""

    def __init__(
        self,
        tree: DataTree,
        authority: Authority,
        counters: Counters,
        throttle: ThrottleConfig,
        owner: Owner,
        near_limit: NearLimit,
        audit: Audit | None = None,
    ) -> None:
        self._tree = tree
        self._authority = authority
        self._counters = counters
        self._owner = owner
        self._near_limit = near_limit
        self._near_from = near_limit.from_bytes
        self._write_from = min(OUTPUT_HIGH_WATER_BYTES, near_limit.from_bytes)
        """So much output is written before the next request: a long answer is the last in it."""
        self._audit = audit
        self._complaints = Complaints(logger)
        self.mechanism: Mechanism | None = None
        """How clients log in by SASL, as the shell says; None: they cannot."""
        self._reads: dict[int, ReadHandler] = {}
        self._dirty: list[ClientConnection] = []
        self._stalled: dict[ClientConnection, None] = {}
        self._enforces_auth = authority.enforces
        self._in_flight_max = throttle.request_max or throttle.global_outstanding_limit
        self._throttled_wait_ms = throttle.throttled_op_wait_time_ms

    def start(self, reads: dict[int, ReadHandler], *, answers_sync: bool) -> None:
        """Give the handlers of reads; they need what this object offers to watches.

        `answers_sync`: keeping the order of connections is all that a sync takes here.
        """
        self._reads = dict(reads)
        if not answers_sync:
            del self._reads[OpCode.SYNC]

    # Requests

    def take(self, now_ms: int, wall_ms: int, conn: ClientConnection, frames: list[bytes]) -> None:
        """Answer or propose each frame; what cannot be taken now waits in the inbox."""
        if conn.inbox:
            conn.inbox.extend(frames)
            return
        if conn.blocked or not conn.is_greeted:
            # Nothing may overtake the ConnectResponse, which waits for the session's transaction.
            self._stall(now_ms, conn, frames)
            return
        reads, pending, out, tree = self._reads, conn.pending, conn.out, self._tree
        plain, write_from = not self._enforces_auth, self._write_from
        size = answered = taken = xid = op = 0
        for frame in frames:
            if len(frame) < HEADER_BYTES:
                self.close(conn)
                return
            taken += 1
            xid, op = _unpack_header(frame)
            handler = reads.get(op)
            if handler is None or not plain:
                if conn.waiting_reads > READS_BEFORE_WRITE_MAX:
                    taken -= 1
                    break
                if not self._take_other(now_ms, wall_ms, conn, xid, op, frame):
                    return
                if pending and self._must_stall(conn):
                    break
                continue
            if pending:
                pending.append(frame)
                conn.waiting_reads += 1
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
            if size > write_from:
                size = 0
                self._write_out(conn, op)
                if conn.blocked:
                    break
        conn.last_op, conn.last_cxid = op, xid
        if answered:
            self._counters.read_latency.add(0, answered)
            conn.record_latency(0, answered)
            self._mark_dirty(conn)
        load = self._counters.load
        load.left -= taken
        if load.left < 0:
            load.requests(tree, conn, frames[:taken])
        if taken < len(frames):
            self._stall(now_ms, conn, frames[taken:])

    def _take_other(
        self, now_ms: int, wall_ms: int, conn: ClientConnection, xid: int, op: int, frame: bytes
    ) -> bool:
        """Writes, authentication, and what is no operation; False ends the connection."""
        if (
            self._enforces_auth
            and op not in (OpCode.AUTH, OpCode.SASL)
            and self._authority.is_enforced_and_missing(conn.auth)
        ):
            self.send(conn, refusal(xid, 0, ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH))
            self.close(conn)
            return False
        try:
            if op in ZNODE_WRITES:
                if len(frame) > self._near_from:
                    self._near_limit.wrote(conn, op, len(frame))
                if self._audit is not None:
                    self._audit.asked(conn, xid, op, frame)
                self._owner.propose_write(now_ms, wall_ms, conn, xid, op, frame)
                return True
            if op in SESSION_WRITES:
                self._owner.propose_session_write(now_ms, wall_ms, conn, xid, op, frame)
                return op != OpCode.CLOSE_SESSION
            if op == OpCode.SYNC and op not in self._reads:
                self._owner.propose_sync(now_ms, conn, xid, frame)
                return True
        except DecodeError:
            # Refused before it costs a zxid, in the order of the connection.
            if op in ZNODE_WRITES:
                self.not_proposed(conn)
            self._in_order(conn, frame)
            return True
        if op == OpCode.AUTH:
            return self._authenticate(conn, xid, frame)
        if op == OpCode.SASL:
            return self._log_in(now_ms, conn, xid, frame)
        self._in_order(conn, frame)
        return not conn.closed

    def refuse_in_order(self, conn: ClientConnection, xid: int, code: ErrorCode) -> None:
        """Answer a write with an error when everything before it on the connection is answered."""
        self.not_proposed(conn)
        self._in_order(conn, RefusedFrame(pack_int(xid) + pack_int(code)))

    def not_proposed(self, conn: ClientConnection) -> None:
        """A write of znodes is not on its way: it is refused at once."""
        if self._audit is not None:
            self._audit.withdrawn(conn)

    def close_in_order(self, conn: ClientConnection, frame: bytes) -> None:
        """Answer the closeSession of a local session in its turn; `close_local` follows."""
        self._in_order(conn, frame)

    def _in_order(self, conn: ClientConnection, frame: bytes) -> None:
        """Answer now, or when everything before it on the connection is answered."""
        if conn.pending:
            conn.pending.append(frame)
            conn.waiting_reads += 1
        else:
            self._answer(conn, frame)

    def _answer(self, conn: ClientConnection, frame: bytes) -> None:
        """The reply to a read, to a write that did not decode, or to no operation at all."""
        xid, op = _unpack_header(frame)
        zxid = self._tree.last_zxid
        handler = self._reads.get(op)
        self._counters.read_latency.add(0)
        if type(frame) is RefusedFrame:
            self.send(conn, refusal(xid, zxid, op))
        elif handler is not None:
            try:
                answer = handler(conn, xid, frame)
            except RequestError as error:
                answer = refusal(xid, zxid, error.code)
            except DecodeError:
                answer = refusal(xid, zxid, ErrorCode.MARSHALLING_ERROR)
            self.send(conn, answer)
        elif op == OpCode.CLOSE_SESSION:
            # Only that of a local session comes here; it costs no transaction.
            self.send(conn, refusal(xid, zxid, ErrorCode.OK))
            self._owner.close_local(conn)
        elif op in ZNODE_WRITES or op in SESSION_WRITES or op == OpCode.SYNC:
            self.send(conn, refusal(xid, zxid, ErrorCode.MARSHALLING_ERROR))
        else:
            self.send(conn, refusal(xid, UNKNOWN_OP_ZXID, ErrorCode.UNIMPLEMENTED))
            self.close(conn)

    def _authenticate(self, conn: ClientConnection, xid: int, frame: bytes) -> bool:
        """Done by the reader of the connection: the reply may overtake earlier ones."""
        try:
            packet = proto.AuthPacket.decode(frame, HEADER_BYTES)[0]
            host = conn.auth[0].id
            earned = self._authority.authenticate(packet.scheme, packet.auth, host, conn.auth)
            identities = (*conn.auth, *earned)
            size = sum(len(identity.id) for identity in identities)
            if len(conn.auth) >= IDENTITIES_MAX or size > IDENTITIES_MAX_CHARACTERS:
                raise RequestError(ErrorCode.AUTH_FAILED)
        except DecodeError:
            self.close(conn)
            return False
        except RequestError as error:
            self.send(conn, refusal(xid, 0, error.code))
            self.close(conn)
            return False
        for identity in earned:
            conn.add_identity(identity)
        self.send(conn, refusal(xid, 0, ErrorCode.OK))
        return True

    def _log_in(self, now_ms: int, conn: ClientConnection, xid: int, frame: bytes) -> bool:
        """One step of a login by SASL, done by the reader of the connection (section 10.7)."""
        try:
            token = proto.SaslRequest.decode(frame, HEADER_BYTES)[0].token
        except DecodeError:
            token = None
        if token is None:
            self.close(conn)
            return False
        if self.mechanism is None:
            self.send(conn, reply(xid, 0, NULL))
            return True
        exchange = conn.sasl = conn.sasl or self.mechanism()
        try:
            answer = exchange.evaluate(token)
        except LoginRefusedError as error:
            return self._refuse_login(now_ms, conn, xid, f"{exchange.mechanism}: {error}")
        if (name := exchange.authorization_id) is not None:
            for identity in self._authority.logged_in(name):
                conn.add_identity(identity)
            logger.info("%s:%d is %s by %s", conn.host, conn.port, shown(name), exchange.mechanism)
        self.send(conn, reply(xid, 0, write_buffer(answer)))
        return True

    def _refuse_login(self, now_ms: int, conn: ClientConnection, xid: int, reason: str) -> bool:
        """The client is told that it is refused, the operator why."""
        self._complaints.warn(
            now_ms, "Refused the login of %s:%d by %s", conn.host, conn.port, reason
        )
        if self._authority.keeps_refused:
            self.send(conn, reply(xid, 0, NULL))
            return True
        is_demanded = self._authority.demands_sasl
        code = ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH if is_demanded else ErrorCode.AUTH_FAILED
        self.send(conn, refusal_with(xid, 0, code, NULL))
        self.close(conn)
        return False

    # Order behind writes

    def committed(self, conn: ClientConnection, answer: bytes) -> None:
        """The oldest write of the connection is applied: its reply, and what waited for it.

        Without a reply (`NO_REPLY`) the connection is closed.
        """
        if self._audit is not None:
            self._audit.answered(conn, answer)
        if not answer:
            self.close(conn)
            return
        pending = conn.pending
        pending.popleft()
        conn.is_greeted = True
        conn.out.append(answer)
        if not conn.dirty:
            conn.dirty = True
            self._dirty.append(conn)
        if pending:
            self.drain_pending(conn)

    def drain_pending(self, conn: ClientConnection) -> None:
        """Answer what waited behind a write, up to the next one.

        With another write behind them even a peer that does not take its output gets its
        answers now: they may not show what that write does.
        """
        pending = conn.pending
        size = 0
        while pending and pending[0] is not WRITE_IN_FLIGHT:
            if conn.blocked and WRITE_IN_FLIGHT not in pending:
                return
            conn.waiting_reads -= 1
            frame = pending.popleft()
            self._answer(conn, frame)
            if conn.closed:
                return
            size += len(conn.out[-1]) if conn.out else 0
            if size > self._write_from:
                size = 0
                self._write_out(conn, _unpack_header(frame)[1])

    # Flow control

    def _must_stall(self, conn: ClientConnection) -> bool:
        return self._owner.in_flight > self._in_flight_max or len(conn.pending) > PENDING_FRAMES_MAX

    def _stall(self, now_ms: int, conn: ClientConnection, frames: list[bytes]) -> None:
        conn.inbox.extendleft(reversed(frames))
        if conn not in self._stalled:
            self._stalled[conn] = None
            conn.stalled_ms = now_ms
            self._counters.requests_stalled += 1
        self.pause(conn)

    def resume_stalled(self, now_ms: int, wall_ms: int) -> None:
        """Room came free: connections go on in the order in which they stalled."""
        for conn in list(self._stalled):
            if self._owner.in_flight > self._in_flight_max:
                return
            self.resume(now_ms, wall_ms, conn)

    def pause(self, conn: ClientConnection) -> None:
        if not conn.paused:
            conn.paused = True
            conn.channel.pause_reading()

    def resume(self, now_ms: int, wall_ms: int, conn: ClientConnection) -> None:
        """Take up what waited; read on when nothing is left of it."""
        if conn.blocked or conn.closed or len(conn.pending) > PENDING_FRAMES_MAX:
            return
        if not conn.is_greeted or (conn.session is not None and conn.session.closing):
            return
        self._stalled.pop(conn, None)
        if conn.inbox:
            frames = list(conn.inbox)
            conn.inbox.clear()
            wait_ms = self._throttled_wait_ms
            if wait_ms and now_ms - conn.stalled_ms > wait_ms:
                frames = self._throttled(frames)
            self.take(now_ms, wall_ms, conn, frames)
        if not conn.inbox and not conn.blocked and not conn.closed and conn.paused:
            conn.paused = False
            conn.channel.resume_reading()

    def _throttled(self, frames: Iterable[bytes]) -> list[bytes]:
        """Frames of which those that waited too long are refused in their turn (section 11.2)."""
        frames = list(frames)
        self._counters.requests_throttled += len(frames)
        return [
            frame
            if len(frame) < HEADER_BYTES or _unpack_header(frame)[1] in _UNTHROTTLED
            else RefusedFrame(frame[:4] + _THROTTLED)
            for frame in frames
        ]

    def forget(self, conn: ClientConnection) -> None:
        """The connection is gone."""
        self._stalled.pop(conn, None)
        conn.pending.clear()
        conn.waiting_reads = 0
        conn.inbox.clear()
        conn.out.clear()

    # Output

    def send(self, conn: ClientConnection, data: bytes) -> None:
        conn.is_greeted = True  # the first thing sent is always the ConnectResponse
        conn.out.append(data)
        self._mark_dirty(conn)

    def _mark_dirty(self, conn: ClientConnection) -> None:
        if not conn.dirty:
            conn.dirty = True
            self._dirty.append(conn)

    def flush(self, now_ms: int) -> None:
        """One write for each connection that has output."""
        zxid = self._tree.last_zxid
        for conn in self._dirty:
            conn.dirty = False
            conn.last_zxid, conn.last_response_ms = zxid, now_ms
            self._write_out(conn)
        self._dirty.clear()

    def _write_out(self, conn: ClientConnection, op: int | None = None) -> None:
        """`op`: which operation the last answer is of, if that is known."""
        out = conn.out
        if out:
            count = len(out)
            conn.sent += count
            data = out[0] if count == 1 else b"".join(out)
            counters = self._counters
            counters.sent += count
            counters.bytes_sent += len(data)
            if len(data) > self._near_from and (size := max(map(len, out))) > self._near_from:
                self._near_limit.answered(conn, conn.last_op if op is None else op, size)
            counters.response_sizes.add(len(out[-1]) - LENGTH_BYTES)
            conn.channel.write(data)
            out.clear()

    def close(self, conn: ClientConnection) -> None:
        """Send what is queued, then close; nothing further is read or answered."""
        self._write_out(conn)
        conn.channel.close()
        self._owner.closed(conn)
