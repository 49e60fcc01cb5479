"""One TCP connection to a server: frames out, replies matched in order, events handed on.

Requests of one turn of the loop leave in one write. Replies come in the order of the requests
except those of pings, auth packets and watches' re-registration, which have xids of their own
(reference/client-protocol.md sections 2, 3.1 and 11.1). Whatever a server sends that does not
follow the protocol ends the connection, and nothing else.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from kraal.client.codec import Decoder
from kraal.client.errors import (
    ConnectionLossError,
    ForkedError,
    SessionExpiredError,
    ZooKeeperError,
    error_for,
)
from kraal.client.tls_failures import SPOKEN_HERE, tls_reason
from kraal.client.watches import Registration
from kraal.errors import DecodeError, ErrorCode
from kraal.tls.alerts import is_alert
from kraal.wire.jute.primitives import unpack_int
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import ConnectRequest, ConnectResponse, WatcherEvent

T = TypeVar("T")

BUFFER_BYTES = 64 << 10
MAX_FRAME_BYTES = 256 << 20
"""Longer frames are not believed; a list of children may be long."""

NOTIFICATION_XID = -1
PING_XID = -2
AUTH_XID = -4
SET_WATCHES_XID = -8
_MAX_XID = 0x7FFF_FFFF

_REQUEST_HEADER = struct.Struct(">iii")
_REPLY_HEADER = struct.Struct(">iqi")
_REPLY_BYTES = _REPLY_HEADER.size
_BODY_AT = 4 + _REPLY_BYTES
_pack_header = _REQUEST_HEADER.pack
_unpack_header = _REPLY_HEADER.unpack_from
_PING = _pack_header(8, PING_XID, OpCode.PING)
_WRITES: dict[int, str] = {
    OpCode.CREATE: "create",
    OpCode.CREATE2: "create",
    OpCode.CREATE_CONTAINER: "create",
    OpCode.CREATE_TTL: "create",
    OpCode.SET_DATA: "set",
    OpCode.MULTI: "a transaction",
}
"""What differs from the name of the operation code."""


class Request(Generic[T]):
    """One request on its way: what to send, how to read the answer, who waits for it."""

    __slots__ = ("body", "decode", "future", "op", "path", "sent", "watch")

    def __init__(
        self,
        future: asyncio.Future[T],
        op: int,
        body: bytes,
        decode: Decoder[T],
        path: str | None,
        watch: Registration | None,
    ) -> None:
        self.future = future
        self.op = op
        self.body = body
        self.decode = decode
        self.path = path
        self.watch = watch
        self.sent = False

    def __str__(self) -> str:
        """The operation by the name that callers know it by."""
        name = _WRITES.get(self.op) or OpCode(self.op).name.lower()
        return name if self.path is None else f"{name} {self.path}"

    @property
    def is_in_doubt(self) -> bool:
        """Whether it was sent and no server is known to have refused it."""
        future = self.future
        if not self.sent or future.cancelled() or not future.done():
            return self.sent
        error = future.exception()
        return error is None or isinstance(error, ConnectionLossError)

    def fail(self, error: ZooKeeperError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


AnyRequest = Request[Any]


class Auth(NamedTuple):
    """Credentials, and who waits for the answer to them."""

    scheme: str
    auth: bytes
    future: asyncio.Future[None]


class Accepted(NamedTuple):
    """A server's answer to the handshake."""

    session_id: int
    password: bytes
    timeout_ms: int
    read_only: bool


class Owner(Protocol):
    """What a connection tells the session that it belongs to, always in the loop's thread."""

    last_zxid: int
    next_xid: int
    """Of the next request. It goes on from one connection to the next: by session and xid a
    server knows which request a committed transaction answers, and one of an earlier connection
    may be committed late."""

    def accepted(self, connection: Connection, answer: Accepted) -> None: ...
    def lost(self, connection: Connection, error: Exception | None) -> None: ...
    def faulty(self, error: Exception) -> None: ...
    def event(self, kind: int, path: bytes, zxid: int) -> None: ...
    def registered(self, watch: Registration, code: int, wanted: bool) -> None: ...
    def auth_replied(self, code: int) -> None: ...
    def watches_replied(self, code: int) -> None: ...
    def sasl_required(self) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """Requests from the session's outbox to the server, answers back to their futures.

    It has a buffer of its own because asyncio, without one, makes a new one of 256 KiB for each
    answer, which takes longer than all that is done with the answer.
    """

    def __init__(
        self,
        owner: Owner,
        outbox: deque[AnyRequest],
        hello: bytes,
        *,
        is_probe: bool = False,
        is_held: bool = False,
    ) -> None:
        """A probe closes as soon as the server has accepted the session.

        One that is held sends nothing from the outbox before `resume`.
        """
        self._owner = owner
        self._outbox = outbox
        self._hello = hello
        self._is_probe = is_probe
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pending: deque[AnyRequest] = deque()
        self._next_xid = self._expected_xid = owner.next_xid
        # Not the array itself: asyncio's TLS writes into slices of what it gets.
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._rest = bytearray()
        self._needed = 0
        self._is_open = False
        """Whether the server has accepted the session."""
        self._is_scheduled = False
        self._is_paused = False
        self._is_held = is_held
        self._was_refused = False
        self._is_faulty = False
        self._error: Exception | None = None
        self.heard = self._loop.time()
        """When the server was heard of last, on the loop's clock."""
        self.vouched = self.heard
        """When that was sent to which the server has last said that the session lives: the
        handshake or a ping. No server ends the session before its timeout has passed since then.
        """
        self._pings: deque[float] = deque()
        """When those were sent that are not answered."""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._opened: asyncio.Future[bool] = self._loop.create_future()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._error is not None:
            return
        data = bytes(self._buffer[:nbytes])
        if not self._is_open and is_alert(data):
            self.abort(ConnectionLossError(SPOKEN_HERE))
            return
        self.heard = self._loop.time()
        if self._rest:
            # Joined only when a frame is complete: small pieces must not cost a copy each.
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        try:
            at = self._read(data)
        except Exception as error:
            is_nonsense = isinstance(error, DecodeError | struct.error)
            what = "the server sent nonsense" if is_nonsense else "the client met a bug of its own"
            self._is_faulty = True
            self._owner.faulty(error)
            self.abort(ConnectionLossError(f"{what}: {error}"))
            return
        if at < len(data):
            self._rest += data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        if not self._opened.done():
            self._was_refused = self._error is None and not self._rest
            if isinstance(exc, ssl.SSLError):
                # With TLS 1.3 a certificate is refused when the handshake is over at this end.
                self._was_refused = False
                self._error = self._error or ConnectionLossError(tls_reason(exc) or str(exc))
            self._opened.set_result(False)
        self._owner.lost(self, self._error or exc)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self.flush()

    # What the session calls

    async def answered(self) -> None:
        """Ask for the session until the server has accepted it; raises why it has not."""
        if self._transport is not None:
            self._transport.write(self._hello)
        if not await asyncio.shield(self._opened):
            raise self._error or ConnectionLossError("the server closed the connection")

    async def is_accepted_within(self, seconds: float) -> bool:
        """Whether the server accepts the session, if it has been asked at all."""
        if self._transport is not None and self._error is None:
            await asyncio.wait((self._opened,), timeout=seconds)
        return self._is_open and self._transport is not None and self._error is None

    async def ask(self, op: int, body: bytes, decode: Decoder[T]) -> T:
        """A request and its answer while the outbox is held.

        Raises ConnectionLossError, and the error that the server answers with.
        """
        self.check()
        future: asyncio.Future[T] = self._loop.create_future()
        self._send((Request(future, op, body, decode, None, None),))
        return await future

    def check(self) -> None:
        """Raises why nothing can be sent any more, if so."""
        if self._error is not None or self._transport is None:
            raise self._error or ConnectionLossError("the server closed the connection")

    def wake(self) -> None:
        """There is something in the outbox: send it at the end of this turn of the loop.

        The first request after a silence is sent at once: it is likely to be the only one.
        """
        if not self._is_scheduled:
            if not self._pending:
                self.flush()
                return
            self.gather()

    def gather(self) -> None:
        """Send nothing before the end of this turn, and everything then."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self.flush)

    def write(self, xid: int, op: int, body: bytes) -> None:
        """A request with an xid of its own, whose reply is not matched with a future."""
        if self._transport is not None:
            self._transport.write(_pack_header(len(body) + 8, xid, op) + body)

    def ping(self) -> None:
        if self._transport is not None:
            self._pings.append(self._loop.time())
            self._transport.write(_PING)

    @property
    def was_refused(self) -> bool:
        """Whether the server has closed the connection without an answer to the handshake."""
        return self._was_refused

    @property
    def is_faulty(self) -> bool:
        """Whether it was closed because of what had arrived."""
        return self._is_faulty

    def resume(self) -> None:
        """Send again after all."""
        self._is_held = False
        self.flush()

    def disown(self) -> None:
        """The socket belongs to another process from now on."""
        self._error = ForkedError()
        self._transport = None

    def in_flight(self) -> Iterable[AnyRequest]:
        return self._pending

    def take_pending(self) -> list[AnyRequest]:
        """The requests that were sent and not answered; they are the caller's now."""
        taken = list(self._pending)
        self._pending.clear()
        return taken

    async def drain(self, timeout: float) -> None:
        """Send nothing more, and wait a while for the answers to what was sent."""
        self._is_held = True
        if self._pending:
            await asyncio.wait((self._pending[-1].future,), timeout=timeout)

    def abort(self, error: Exception | None = None) -> None:
        """Close at once; nothing that arrives is looked at any more."""
        self._error = self._error or error or ConnectionLossError("given up")
        if self._transport is not None:
            self._transport.abort()

    # Out

    def flush(self) -> None:
        """Send what is in the outbox now."""
        self._is_scheduled = False
        outbox = self._outbox
        if not outbox or self._transport is None or not self._is_open:
            return
        if self._is_paused or self._is_held or self._error is not None:
            return
        self._send(outbox)
        outbox.clear()

    def _send(self, requests: Iterable[AnyRequest]) -> None:
        pieces: list[bytes] = []
        xid, append = self._next_xid, self._pending.append
        for request in requests:
            if request.future.done():  # cancelled or timed out before it was sent
                continue
            request.sent = True
            body = request.body
            pieces.append(_pack_header(len(body) + 8, xid, request.op))
            pieces.append(body)
            append(request)
            xid = xid + 1 if xid < _MAX_XID else 1
        self._next_xid = self._owner.next_xid = xid
        if pieces and self._transport is not None:
            self._transport.write(b"".join(pieces))

    # In

    def _read(self, data: bytes) -> int:
        """Take all complete frames; returns where the incomplete one begins."""
        at, size = 0, len(data)
        owner, pending = self._owner, self._pending
        while at + 4 <= size:
            (length,) = unpack_int(data, at)
            if length < 0 or length > MAX_FRAME_BYTES:
                raise DecodeError(f"frame length {length}")
            end = at + 4 + length
            if end > size:
                self._needed = 4 + length
                return at
            if not self._is_open:
                self._handshake(data[at + 4 : end])
            else:
                if length < _REPLY_BYTES:
                    raise DecodeError(f"a reply of {length} bytes")
                xid, zxid, code = _unpack_header(data, at + 4)
                if xid == self._expected_xid and pending:
                    self._expected_xid = xid + 1 if xid < _MAX_XID else 1
                    owner.last_zxid = max(owner.last_zxid, zxid)
                    self._answer(pending.popleft(), code, data[at + _BODY_AT : end])
                else:
                    self._special(xid, zxid, code, data[at + _BODY_AT : end])
            if self._error is not None:
                return size
            at = end
        self._needed = 4
        return at

    def _answer(self, request: AnyRequest, code: int, body: bytes) -> None:
        future = request.future
        if request.watch is not None:
            self._owner.registered(request.watch, code, not future.done())
        if future.done():
            return  # cancelled or timed out: nobody waits for the answer
        if code:
            future.set_exception(error_for(code, request.path))
            return
        try:
            value = request.decode(body)
        except (DecodeError, struct.error):
            request.fail(ConnectionLossError("the answer cannot be decoded", path=request.path))
            raise
        future.set_result(value)

    def _special(self, xid: int, zxid: int, code: int, body: bytes) -> None:
        """A frame that answers no ordinary request."""
        if xid == NOTIFICATION_XID:
            (kind, _state, path), _ = WatcherEvent.unpack(body)
            self._owner.event(kind, path or b"", zxid)
        elif xid == PING_XID:
            if self._pings:
                self.vouched = self._pings.popleft()
            if code == ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH:
                self._owner.sasl_required()
        elif xid == AUTH_XID:
            self._owner.auth_replied(code)
        elif xid == SET_WATCHES_XID:
            self._owner.watches_replied(code)
        else:
            raise DecodeError(f"a reply with xid {xid}; {self._expected_xid} was expected")

    def _handshake(self, frame: bytes) -> None:
        answer, at = ConnectResponse.decode(frame)
        read_only = len(frame) > at and frame[at] != 0
        password = answer.password or b""
        if answer.timeout_ms <= 0:
            self.abort(SessionExpiredError())
            return
        self._is_open = True
        if self._is_probe:
            self.abort()
        else:
            self._owner.accepted(
                self, Accepted(answer.session_id, password, answer.timeout_ms, read_only)
            )
        if not self._opened.done():
            self._opened.set_result(True)


def hello_frame(
    *, last_zxid: int, timeout_ms: int, session_id: int, password: bytes, read_only: bool
) -> bytes:
    """The first frame of a connection (section 2.2)."""
    body = ConnectRequest.pack(0, last_zxid, timeout_ms, session_id, password)
    body += b"\1" if read_only else b"\0"
    return struct.pack(">i", len(body)) + body
