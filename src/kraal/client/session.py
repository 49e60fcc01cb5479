"""A session and its connections: found, kept alive, lost, found again, ended.

A request is sent at most once. What was not sent when a connection goes away waits for the next
one; what was sent and not answered fails as in doubt. An expired session fails everything and is
followed by a new one. Rules: reference/client-protocol.md sections 2, 5.6 and 9.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from kraal.client.codec import Decoder, decode_nothing
from kraal.client.connection import (
    AUTH_XID,
    SET_WATCHES_XID,
    Accepted,
    AnyRequest,
    Connection,
    Request,
    hello_frame,
)
from kraal.client.errors import (
    AuthFailedError,
    BadArgumentsError,
    ClosedError,
    ConnectionLossError,
    ForkedError,
    RequestTimeoutError,
    SessionExpiredError,
    ZooKeeperError,
)
from kraal.client.heartbeat import Heartbeat
from kraal.client.hosts import Hosts, Server
from kraal.client.options import Options
from kraal.client.states import SessionState, StateKeeper
from kraal.client.values import EventType, Session
from kraal.client.watches import Registration, WatchTable, is_registered
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import AuthPacket, WatchModeRequest

logger = logging.getLogger("kraal.client")
T = TypeVar("T")

NO_PASSWORD = bytes(16)
BACKOFF_FIRST = 0.05
BACKOFF_MAX = 1.0
CLOSE_TIMEOUT = 2.0
"""How long `close` waits for the server's answer, at most."""
_EVENT_TYPES = {kind.value: kind for kind in EventType if kind > 0}

_sessions: weakref.WeakSet[SessionKeeper] = weakref.WeakSet()


def _disown_all() -> None:
    for session in list(_sessions):
        session.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


class SessionKeeper:
    """Owns the connection, the outbox and the watches of one client."""

    def __init__(
        self,
        hosts: Hosts,
        options: Options,
        watches: WatchTable,
        *,
        auth: Sequence[tuple[str, bytes]],
        session: Session | None,
        rng: random.Random,
    ) -> None:
        self.hosts = hosts
        self.options = options
        self.states = StateKeeper()
        self.watches = watches
        self.last_zxid = 0
        self.next_xid = 1
        self.server: Server | None = None
        self._rng = rng
        self._id = session.id if session else 0
        self._password = session.password if session else NO_PASSWORD
        self._timeout = session.timeout if session else options.session_timeout
        self._first_auths = auth
        self._auths: list[_Auth] = []
        self._auth_waiting: deque[_Auth] = deque()
        self._outbox: deque[AnyRequest] = deque()
        self._connection: Connection | None = None
        self._heartbeat: Heartbeat | None = None
        self._deadlines: deque[tuple[float, AnyRequest]] = deque()
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._watches_unanswered = 0
        self._refusal: Callable[[], ZooKeeperError] | None = lambda: ClosedError(
            "the client was not started"
        )
        """Why nothing can be asked now, if so."""
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    # Life

    @property
    def session(self) -> Session:
        return Session(self._id, self._password, self._timeout)

    def start(self) -> None:
        """Begin to look for a server. Raises ClosedError the second time."""
        if self._task is not None or self._closing is not None:
            raise ClosedError("a client is started once")
        self._loop = asyncio.get_running_loop()
        self._refusal = None
        for scheme, auth in self._first_auths:
            self.add_auth(scheme, auth).add_done_callback(_ignore_outcome)
        _sessions.add(self)
        self._task = self._loop.create_task(self._run(), name="kraal-client")

    def disown(self) -> None:
        """This process is a child of the one that has the session: touch nothing."""
        self._refusal = ForkedError
        self._connection = None

    async def close(self) -> None:
        """End the session; every later call waits for the first one's end."""
        if self._refusal is ForkedError or self._task is None:
            return
        if self._closing is None:
            self._refusal = ClosedError
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))
        connection = self._connection
        if connection is not None:
            connection.flush()
            farewell = self._request(OpCode.CLOSE_SESSION, b"", decode_nothing, None, None)
            connection.flush()
            await asyncio.wait(
                (farewell.future, connection.closed), timeout=CLOSE_TIMEOUT,
                return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            if farewell.future.done():
                farewell.future.exception()
            connection.abort(ClosedError())
            await connection.closed
        self._fail_all(ClosedError)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self.watches.lose_session()
        self.states.enter(SessionState.CLOSED)

    # Requests

    def submit(
        self,
        op: int,
        body: bytes,
        decode: Decoder[T],
        path: str | None,
        watch: Registration | None = None,
    ) -> asyncio.Future[T]:
        """Have a request sent; the future gets its answer.

        Raises ClosedError, ForkedError or AuthFailedError, and ConnectionLossError (not sent)
        where requests do not wait for a connection.
        """
        if self._refusal is not None:
            raise self._refusal()
        if len(body) > self.options.max_request_bytes - 8:
            raise BadArgumentsError(
                f"a request of {len(body) + 8} bytes is longer than the servers take "
                f"({self.options.max_request_bytes}, jute.maxbuffer)",
                path=path,
            )
        connection = self._connection
        if connection is not None:
            connection.wake()
        elif self.options.while_disconnected == "fail":
            raise ConnectionLossError("not connected", path=path, sent=False)
        return self._request(op, body, decode, path, watch).future

    def _request(
        self, op: int, body: bytes, decode: Decoder[T], path: str | None,
        watch: Registration | None,
    ) -> Request[T]:  # fmt: skip
        future: asyncio.Future[T] = self._loop.create_future()
        request = Request(future, op, body, decode, path, watch)
        self._outbox.append(request)
        if self.options.request_timeout is not None:
            self._note_deadline(request, self.options.request_timeout)
        return request

    def _note_deadline(self, request: AnyRequest, seconds: float) -> None:
        # All requests have the same time, so the oldest is always the next one due.
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].future.done():
            deadlines.popleft()
        deadlines.append((self._loop.time() + seconds, request))
        if self._deadline_timer is None:
            self._deadline_timer = self._loop.call_later(seconds, self._check_deadlines, seconds)

    def _check_deadlines(self, seconds: float) -> None:
        now, deadlines = self._loop.time(), self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1].future.done()):
            _, request = deadlines.popleft()
            if request.sent:
                request.fail(RequestTimeoutError(path=request.path))
            else:
                request.fail(
                    ConnectionLossError(
                        f"no connection within {seconds:g} s", path=request.path, sent=False
                    )
                )
        self._deadline_timer = None
        if deadlines:
            self._deadline_timer = self._loop.call_at(
                deadlines[0][0], self._check_deadlines, seconds
            )

    def add_auth(self, scheme: str, auth: bytes) -> asyncio.Future[None]:
        """Authenticate now and on every later connection."""
        if self._refusal is not None:
            raise self._refusal()
        entry = _Auth(scheme, auth, self._loop.create_future())
        self._auths.append(entry)
        if self._connection is not None:
            self._send_auth(self._connection, entry)
        return entry.future

    def _send_auth(self, connection: Connection, auth: _Auth) -> None:
        self._auth_waiting.append(auth)
        body = AuthPacket.pack(0, auth.scheme, auth.auth)
        connection.write(AUTH_XID, OpCode.AUTH, body)

    # What the connection tells

    def accepted(self, connection: Connection, answer: Accepted) -> None:
        """The server has answered the handshake."""
        if answer.timeout_ms <= 0:
            connection.abort(SessionExpiredError())
            return
        self._id, self._password = answer.session_id, answer.password
        self._timeout = answer.timeout_ms / 1000
        self._connection = connection
        self._heartbeat = Heartbeat(connection, self._timeout, self._silent)
        self._auth_waiting.clear()
        for auth in self._auths:
            self._send_auth(connection, auth)
        self._watches_unanswered = 0
        for op, body in self.watches.registrations(self.last_zxid):
            self._watches_unanswered += 1
            connection.write(SET_WATCHES_XID, op, body)
        logger.info("session 0x%x on %s, timeout %g s", self._id, self.server, self._timeout)
        self.states.enter(
            SessionState.CONNECTED_READ_ONLY if answer.read_only else SessionState.CONNECTED
        )
        connection.wake()

    def lost(self, connection: Connection, error: Exception | None) -> None:
        """A connection has ended, whether or not it had become ours."""
        if connection is not self._connection:
            return
        self._connection = None
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        for request in connection.take_pending():
            if self._refusal is not None:
                request.fail(self._refusal())
            else:
                request.fail(ConnectionLossError(path=request.path))
        if self.options.while_disconnected == "fail":
            for request in self._take_outbox():
                request.fail(ConnectionLossError(path=request.path, sent=False))
        if self._refusal is None:
            logger.info("connection to %s lost: %s", self.server, error or "closed by the server")
            self.states.enter(SessionState.CONNECTING)

    def event(self, kind: int, path: bytes, zxid: int) -> None:
        """A watch has fired."""
        event_type = _EVENT_TYPES.get(kind)
        if event_type is None:
            logger.warning("an event of unknown type %d for %r", kind, path)
            return
        self.watches.fire(event_type, path, zxid)

    def registered(self, watch: Registration, code: int, wanted: bool) -> None:
        """The request that asked for a watch is answered; perhaps nobody wants it any more."""
        if wanted:
            self.watches.add(watch, code)
        elif is_registered(watch, code) and not self.watches.has(watch.table.kind, watch.path):
            self._forget(watch)

    def auth_replied(self, code: int) -> None:
        auth = self._auth_waiting.popleft() if self._auth_waiting else None
        if code:
            self._authentication_failed()
        elif auth is not None and not auth.future.done():
            auth.future.set_result(None)

    def watches_replied(self, code: int) -> None:
        """Watches are registered anew: now is the time to read what they may have missed."""
        self._watches_unanswered -= 1
        if code:
            logger.error("the server did not register the watches anew: code %d", code)
        if self._watches_unanswered == 0:
            self.watches.gap(self.last_zxid)

    def sasl_required(self) -> None:
        self._authentication_failed()

    # Watches

    def withdraw(self, watch: Registration) -> None:
        """Forget a watch, here and, when it is of no use any more, on the server."""
        if self.watches.withdraw(watch):
            self._forget(watch)

    def _forget(self, watch: Registration) -> None:
        connection = self._connection
        if connection is None or self._refusal is not None:
            return  # watches end with their connection
        others = (*connection.in_flight(), *self._outbox)
        if any(r.watch is not None and r.watch.rivals(watch) for r in others):
            return  # the server has one watch for all of them
        body = WatchModeRequest.pack(watch.path, watch.table.kind)
        removal = self._request(OpCode.REMOVE_WATCHES, body, decode_nothing, None, None)
        removal.future.add_done_callback(_ignore_outcome)
        connection.wake()

    # Finding servers

    async def _run(self) -> None:
        while True:
            connection = await self._dial()
            await asyncio.shield(connection.closed)

    async def _dial(self) -> Connection:
        """Try servers until one has our session."""
        delay = BACKOFF_FIRST
        while True:
            problems: list[str] = []
            for server in self.hosts.turn():
                for address in await self._addresses(server, problems):
                    connection = await self._attempt(server, address, problems)
                    if connection is not None:
                        return connection
            logger.warning("no server could be reached: %s", "; ".join(problems))
            await asyncio.sleep(delay * self._rng.uniform(0.5, 1.0))
            delay = min(2 * delay, BACKOFF_MAX)

    @property
    def _attempt_timeout(self) -> float:
        """The time for one server, such that all can be tried before the session ends."""
        if self.options.connect_timeout is not None:
            return self.options.connect_timeout
        return self._timeout / self.hosts.count

    async def _addresses(self, server: Server, problems: list[str]) -> list[str]:
        """The addresses that a host stands for now, in a random order."""
        if server.is_address:
            return [server.host]
        try:
            async with asyncio.timeout(self._attempt_timeout):
                found = await self._loop.getaddrinfo(server.host, server.port, type=_STREAM)
        except (OSError, TimeoutError, UnicodeError) as error:
            problems.append(f"{server}: {_reason(error)}")
            return []
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        self._rng.shuffle(addresses)
        self.hosts.resolved(server, len(addresses))
        return addresses

    async def _attempt(
        self, server: Server, address: str, problems: list[str]
    ) -> Connection | None:
        """One attempt with one server, which may find that the session has expired."""
        hello = hello_frame(
            last_zxid=self.last_zxid,
            timeout_ms=round(self.options.session_timeout * 1000),
            session_id=self._id,
            password=self._password,
            read_only=self.options.read_only,
        )
        context = self.options.ssl
        self.server = server
        connection = Connection(self, self._outbox, hello)
        try:
            async with asyncio.timeout(self._attempt_timeout):
                await self._loop.create_connection(
                    lambda: connection, address, server.port,
                    ssl=context, server_hostname=server.host if context else None,
                )  # fmt: skip
                await connection.answered()
        except SessionExpiredError:
            self._expire()
            return None
        except (OSError, TimeoutError, ZooKeeperError) as error:
            problems.append(f"{server}: {_reason(error)}")
            connection.abort()
            return None
        except BaseException:
            connection.abort()
            raise
        return connection

    # Endings

    def _silent(self, seconds: float) -> None:
        connection = self._connection
        if connection is not None:
            connection.abort(ConnectionLossError(f"nothing heard for {seconds:.3f} s"))

    def _expire(self) -> None:
        """The server does not know our session any more."""
        logger.warning("session 0x%x has expired", self._id)
        self._id, self._password = 0, NO_PASSWORD
        self._timeout = self.options.session_timeout
        for request in self._take_outbox():
            request.fail(SessionExpiredError(path=request.path))
        self.watches.lose_session()
        self.states.enter(SessionState.EXPIRED)
        if self._refusal is None:
            self.states.enter(SessionState.CONNECTING)

    def _authentication_failed(self) -> None:
        if self._refusal is not None:
            return
        logger.error("the server refused the credentials")
        self._refusal = AuthFailedError
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.abort(AuthFailedError())
        self._fail_all(AuthFailedError)
        self.watches.lose_session()
        self.states.enter(SessionState.AUTH_FAILED)

    def _fail_all(self, error: Callable[[], ZooKeeperError]) -> None:
        if self._connection is not None:
            for request in self._connection.take_pending():
                request.fail(error())
        for request in self._take_outbox():
            request.fail(error())
        for auth in self._auths:
            if not auth.future.done():
                auth.future.set_exception(error())

    def _take_outbox(self) -> Iterator[AnyRequest]:
        while self._outbox:
            yield self._outbox.popleft()


class _Auth(NamedTuple):
    """Credentials, and who waits for the answer to them."""

    scheme: str
    auth: bytes
    future: asyncio.Future[None]


_STREAM = 1  # socket.SOCK_STREAM, which is the same number everywhere


def _ignore_outcome(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
