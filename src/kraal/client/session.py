"""A session and its connections: found, kept alive, lost, found again, ended.

A request is sent at most once. What was not sent when a connection goes away waits for the next
one; what was sent and not answered fails as in doubt. An expired session fails everything and is
followed by a new one. Rules: reference/client-protocol.md sections 2, 5.6 and 9.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import struct
from asyncio import get_running_loop
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TypeVar

from kraal.client.codec import Decoder, decode_nothing
from kraal.client.connection import (
    AUTH_XID,
    SET_WATCHES_XID,
    Accepted,
    AnyRequest,
    Auth,
    Connection,
    Request,
    hello_frame,
)
from kraal.client.deadlines import Deadlines
from kraal.client.dialer import PAUSE_FIRST, PAUSE_MAX, REPORT_EVERY, Dialer, find_read_write
from kraal.client.errors import (
    AuthFailedError,
    ClosedError,
    ConnectionLossError,
    ForeignLoopError,
    ForkedError,
    MarshallingError,
    SessionClosedRequireSaslAuthError,
    SessionExpiredError,
    ZooKeeperError,
    reason_of,
)
from kraal.client.futures import ignore_outcome
from kraal.client.heartbeat import Heartbeat
from kraal.client.home import check_loop, settle
from kraal.client.hosts import Hosts, Server
from kraal.client.options import Options
from kraal.client.states import SessionState, StateKeeper
from kraal.client.values import Session, WatcherKind
from kraal.client.watches import Registration, WatchTable, is_registered
from kraal.errors import DecodeError
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import AuthPacket, WatchModeRequest

logger = logging.getLogger("kraal.client")
T = TypeVar("T")

NO_PASSWORD = bytes(16)
SEEK_FIRST = 0.1
SEEK_MAX = 10.0
"""Seconds between looking for a server that can write while only reading is possible."""
CLOSE_TIMEOUT = 2.0
"""How long `close` waits for the server's answer, at most."""


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
        # The other client of a session that is continued has used xids of its own.
        self.next_xid = rng.randrange(1, 1 << 30) if session else 1
        self.heard_at: float | None = None
        self.server: Server | None = None
        self.id = session.id if session else 0
        self._password = session.password if session else NO_PASSWORD
        self._timeout = session.timeout if session else options.session_timeout
        self._vouched = -math.inf
        """See `Connection.vouched`, of the last one."""
        self._first_auths = auth
        self._auths: list[Auth] = []
        self._auth_waiting: deque[Auth] = deque()
        self._outbox: deque[AnyRequest] = deque()
        self._connection: Connection | None = None
        self._heartbeat: Heartbeat | None = None
        limit = options.request_timeout
        self._deadlines = None if limit is None else Deadlines(limit)
        self._watches_unanswered = 0
        self._fault_again = -math.inf
        """When the next fault may be logged."""
        self._is_read_only = False
        self._has_written = session is not None
        """Whether the session is known to the ensemble, not to a read-only server alone."""
        self._dialer = Dialer(self, hosts, rng)
        self._background: set[asyncio.Task[None]] = set()
        self._moving: asyncio.Task[None] | None = None
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
        return Session(self.id, self._password, self._timeout)

    @property
    def deadline(self) -> float:
        """When the servers may end the session, on the loop's clock, if they hear nothing more."""
        connection = self._connection
        return (self._vouched if connection is None else connection.vouched) + self._timeout

    def check_loop(self) -> None:
        """Raises ForeignLoopError on another loop than that of `start`."""
        if self._task is not None:
            check_loop(self._loop)

    def start(self) -> None:
        """Begin to look for a server. Raises ClosedError the second time."""
        if self.states.state is SessionState.CLOSED:
            raise ClosedError()
        if self._task is not None or self._closing is not None:
            raise ClosedError("a client is started once")
        self._loop = get_running_loop()
        self._refusal = None
        for scheme, auth in self._first_auths:
            self.add_auth(scheme, auth).add_done_callback(ignore_outcome)
        settle(self)
        self._task = self._loop.create_task(self._run(), name="kraal-client")
        self._task.add_done_callback(self._ended)

    def disown(self) -> None:
        """This process is a child of the one that has the session: touch nothing of it."""
        self._refusal = ForkedError
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._connection is not None:
            self._connection.disown()
        self._fail_all(ForkedError)
        self._connection = None
        self._vouched = -math.inf
        self.states.state = SessionState.CLOSED  # nobody is called back here

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing is not None

    @property
    def is_running(self) -> bool:
        """Whether it was started and nobody has closed it, nor the end of its loop."""
        return self._task is not None and self._closing is None and not self._task.done()

    async def close(self) -> None:
        """End the session; every later call waits for the first one's end."""
        if self._refusal is ForkedError:
            return
        if self._task is None:  # never started, and never to be
            self._refusal = ClosedError
            self.states.enter(SessionState.CLOSED)
            return
        if self._closing is not None and self._closing.done():
            return
        check_loop(self._loop)
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        assert self._task is not None
        if self._background and self._connection is not None:
            await asyncio.wait(self._background, timeout=CLOSE_TIMEOUT)
        self._refusal = ClosedError
        if self._connection is None:
            for request in self._take_outbox():  # a connection of the last moment does not send it
                request.fail(ClosedError())
        left = [self._task, *self._background, *([self._moving] if self._moving else [])]
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        connection = self._connection
        if connection is not None:
            connection.resume()
            farewell = self._request(OpCode.CLOSE_SESSION, b"", decode_nothing, None, None)
            connection.flush()
            await asyncio.wait(
                (farewell.future, connection.closed), timeout=CLOSE_TIMEOUT,
                return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            if not farewell.future.cancel():
                farewell.future.exception()  # whatever it is, nobody asks for it
            connection.abort(ClosedError())
            await connection.closed
        self._fail_all(ClosedError)
        if self._deadlines is not None:
            self._deadlines.stop()
        self.watches.lose_session(for_good=True)
        self.states.enter(SessionState.CLOSED)

    # Requests

    def submit(
        self,
        op: int,
        body: bytes,
        decode: Decoder[T],
        path: str | None,
        watch: Registration | None = None,
    ) -> Request[T]:
        """Have a request sent; its future gets the answer.

        Raises ClosedError, ForkedError, ForeignLoopError or AuthFailedError, and
        ConnectionLossError (not sent) where requests do not wait for a connection.
        """
        if self._refusal is not None:
            raise self._refusal()
        if get_running_loop() is not self._loop:
            raise ForeignLoopError()
        self.options.check_size(body, path)
        connection = self._connection
        if connection is None:
            if self.options.while_disconnected == "fail":
                raise ConnectionLossError("not connected", path=path, sent=False)
            self._drop_abandoned()
        request = self._request(op, body, decode, path, watch)
        if connection is not None:
            connection.wake()
        return request

    def batch(self) -> None:
        """See `send_together`."""
        if self._connection is not None:
            self._connection.gather()

    def _request(
        self, op: int, body: bytes, decode: Decoder[T], path: str | None,
        watch: Registration | None,
    ) -> Request[T]:  # fmt: skip
        future: asyncio.Future[T] = self._loop.create_future()
        request = Request(future, op, body, decode, path, watch)
        self._outbox.append(request)
        if self._deadlines is not None:
            self._deadlines.note(request)
        return request

    def _drop_abandoned(self) -> None:
        """Requests that were given up must not pile up while there is no connection."""
        while self._outbox and self._outbox[0].future.done():
            self._outbox.popleft()

    async def wait_connected(self, *, read_write: bool = False) -> None:
        """Wait for a connection; with `read_write`, for one to a server that is not read-only."""
        if self._refusal is not None:
            raise self._refusal()
        check_loop(self._loop)

        def is_good(state: SessionState) -> bool:
            return state is SessionState.CONNECTED or (state.is_connected and not read_write)

        state = await self.states.wait_for(lambda state: is_good(state) or state.is_final)
        if self._refusal is not None:
            raise self._refusal()
        assert state.is_connected

    async def wait_authenticated(self) -> None:
        """Wait until the servers have accepted all credentials. Raises AuthFailedError."""
        for auth in list(self._auths):
            await asyncio.shield(auth.future)

    def add_auth(self, scheme: str, auth: bytes) -> asyncio.Future[None]:
        """Authenticate now and on every later connection."""
        if self._refusal is not None:
            raise self._refusal()
        check_loop(self._loop)
        entry = Auth(scheme, auth, self._loop.create_future())
        self._auths.append(entry)
        if self._connection is not None:
            self._send_auth(self._connection, entry)
        return entry.future

    def _send_auth(self, connection: Connection, auth: Auth) -> None:
        self._auth_waiting.append(auth)
        body = AuthPacket.pack(0, auth.scheme, auth.auth)
        connection.write(AUTH_XID, OpCode.AUTH, body)

    # What the connection tells

    def accepted(self, connection: Connection, answer: Accepted) -> None:
        """The server has answered the handshake; SASL, if it is used, comes first."""
        self.id, self._password = answer.session_id, answer.password
        self._timeout = answer.timeout_ms / 1000
        self._is_read_only = answer.read_only
        self._has_written = self._has_written or not answer.read_only
        if self.options.sasl is None and self._refusal is None:
            self.take_up(connection)

    def take_up(self, connection: Connection) -> None:
        """Use a connection from now on. Raises ConnectionLossError if it is closed already."""
        connection.check()
        self._connection = connection
        self._heartbeat = Heartbeat(connection, self._timeout, self._silent)
        self._auth_waiting.clear()
        for auth in self._auths:
            self._send_auth(connection, auth)
        self._watches_unanswered = 0
        for op, body in self.watches.registrations(self.last_zxid):
            self._watches_unanswered += 1
            connection.write(SET_WATCHES_XID, op, body)
        logger.info("session 0x%x on %s, timeout %g s", self.id, self.server, self._timeout)
        self.states.enter(
            SessionState.CONNECTED_READ_ONLY if self._is_read_only else SessionState.CONNECTED
        )
        connection.resume()

    def leave(self, connection: Connection) -> None:
        """The search has ended when a server had accepted the session: it ends on this one."""
        if self._closing is None:
            connection.abort()
        else:
            self._connection = connection

    def lost(self, connection: Connection, error: Exception | None) -> None:
        """A connection has ended, whether or not it had become ours."""
        for request in connection.take_pending():
            request.fail(
                self._refusal() if self._refusal else ConnectionLossError(path=request.path)
            )
        if connection is not self._connection:
            return
        self._connection = None
        self.heard_at = connection.heard
        self._vouched = connection.vouched
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        if self.options.while_disconnected == "fail":
            for request in self._take_outbox():
                request.fail(ConnectionLossError(path=request.path, sent=False))
        if self._refusal is None:
            reason = reason_of(error) if error else "closed by the server"
            logger.info("connection to %s lost: %s", self.server, reason)
            self.states.enter(SessionState.CONNECTING)

    def faulty(self, error: Exception) -> None:
        """What a connection has received could not be dealt with; it is closed."""
        now = self._loop.time()
        if now < self._fault_again:
            return
        self._fault_again = now + REPORT_EVERY
        if isinstance(error, DecodeError | struct.error):
            logger.warning("closing the connection: the server sent nonsense: %s", error)
        else:
            logger.error("closing the connection: a bug of the client's own", exc_info=error)

    def event(self, kind: int, path: bytes, zxid: int) -> None:
        """A watch has fired."""
        self.watches.fire(kind, path, zxid)

    def registered(self, watch: Registration, code: int, wanted: bool) -> None:
        """The request that asked for a watch is answered; perhaps nobody wants it any more."""
        if wanted:
            self.watches.add(watch, code)
        elif is_registered(watch, code) and not self.watches.has(watch.table.kind, watch.path):
            self._forget(watch)

    def auth_replied(self, code: int) -> None:
        auth = self._auth_waiting.popleft() if self._auth_waiting else None
        if code:
            self._authentication_failed("the server refused the credentials")
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
        self._authentication_failed(SessionClosedRequireSaslAuthError.text)

    # Watches

    def withdraw(self, watch: Registration) -> asyncio.Future[None] | None:
        """Forget a watch, here and, when it is of no use any more, on the server.

        Returns the server's answer, if it is asked. Raises ForeignLoopError.
        """
        self.check_loop()
        return self._forget(watch) if self.watches.withdraw(watch) else None

    def _forget(self, watch: Registration) -> asyncio.Future[None] | None:
        """Remove a watch on the server, if there is a connection and nobody else needs it."""
        connection = self._connection
        if connection is None or self._refusal is not None:
            return None  # watches end with their connection
        others = (*connection.in_flight(), *self._outbox)
        if any(r.watch is not None and r.watch.rivals(watch) for r in others):
            return None  # the server has one watch for all of them
        kind = watch.table.kind
        removal = self._remove_on_server(connection, watch.path, kind)
        if kind in (WatcherKind.PERSISTENT, WatcherKind.PERSISTENT_RECURSIVE):
            removal.add_done_callback(lambda answer: self._forget_in_old_way(watch.path, answer))
        return removal

    def _remove_on_server(
        self, connection: Connection, path: bytes, kind: WatcherKind
    ) -> asyncio.Future[None]:
        body = WatchModeRequest.pack(path, kind)
        request = self._request(OpCode.REMOVE_WATCHES, body, decode_nothing, None, None)
        request.future.add_done_callback(ignore_outcome)
        connection.wake()
        return request.future

    def _forget_in_old_way(self, path: bytes, answer: asyncio.Future[None]) -> None:
        """Servers before 3.9 can only remove all watches of a path."""
        if answer.cancelled() or not isinstance(answer.exception(), MarshallingError):
            return
        connection = self._connection
        if connection is not None and not self.watches.has(WatcherKind.ANY, path):
            self._remove_on_server(connection, path, WatcherKind.ANY)

    # Finding servers

    @property
    def timeout(self) -> float:
        return self._timeout

    @property
    def has_seen(self) -> bool:
        """Whether servers may refuse us because they have seen less."""
        return self.last_zxid > 0

    def new_connection(self, *, tell_zxid: bool) -> Connection:
        """A connection for an attempt; one that hides what we have seen is never kept."""
        # A session of a read-only server is known to that server alone.
        is_known = self._has_written or not self._is_read_only
        hello = hello_frame(
            last_zxid=self.last_zxid if tell_zxid else 0,
            timeout_ms=round(self.options.session_timeout * 1000),
            session_id=self.id if is_known else 0,
            password=self._password if is_known else NO_PASSWORD,
            read_only=self.options.read_only,
        )
        return Connection(
            self, self._outbox, hello, is_probe=not tell_zxid, is_held=self.options.sasl is not None
        )

    def set_hosts(self, servers: Sequence[Server]) -> None:
        """Use other servers from now on; a connection to one of them stays."""
        self.check_loop()
        self.hosts.replace(servers)
        if self._connection is not None and self.server not in servers:
            self._move(self._connection)

    def _move(self, connection: Connection) -> None:
        """Leave a server as soon as it has answered what it was asked."""

        async def leave() -> None:
            await connection.drain(self._timeout / 3)
            connection.abort(ConnectionLossError("moving to another server", sent=False))

        if self._moving is None or self._moving.done():
            self._moving = self._loop.create_task(leave())

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Have something done that nobody waits for; `close` ends it."""
        if self._refusal is not None:
            work.close()
            return
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _run(self) -> None:
        pause = PAUSE_FIRST
        while True:
            try:
                connection = await self._dialer.dial()
            except AuthFailedError as error:
                self._authentication_failed(str(error))
                return
            if self._is_read_only:
                await self._seek_read_write(connection)
            await asyncio.shield(connection.closed)
            if connection.is_faulty:  # whatever was wrong is likely to be wrong again
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MAX)
            else:
                pause = PAUSE_FIRST

    async def _seek_read_write(self, connection: Connection) -> None:
        """Look for a server that can write until there is one, and move there."""
        pause = SEEK_FIRST
        while connection is self._connection:
            await asyncio.sleep(pause)
            pause = min(2 * pause, SEEK_MAX)
            others = [server for server in self.hosts.shuffled() if server != self.server]
            tls = self.options.tls
            context = tls() if tls is not None else None
            found = await find_read_write(others, context, self._timeout / 3)
            if found is not None and connection is self._connection:
                self.hosts.prefer(found)
                self._move(connection)
                return

    # Endings

    def _silent(self, seconds: float) -> None:
        connection = self._connection
        if connection is not None:
            connection.abort(ConnectionLossError(f"nothing heard for {seconds:.3f} s"))

    def forget_seen(self) -> None:
        """The servers have lost what we have seen, and with it our session."""
        logger.error("the servers have lost what this client has seen")
        self.last_zxid = 0
        if self.id:
            self.expire()

    def expire(self) -> None:
        """The servers do not know our session any more; a new one begins with the next attempt."""
        logger.warning("session 0x%x has expired", self.id)
        self.id, self._password = 0, NO_PASSWORD
        self._vouched = -math.inf
        self._has_written = False
        self._timeout = self.options.session_timeout
        for request in self._take_outbox():
            request.fail(SessionExpiredError(path=request.path))
        self.watches.lose_session()
        self.states.enter(SessionState.EXPIRED)
        self.states.enter(SessionState.CONNECTING)

    def _authentication_failed(self, reason: str) -> None:
        if self._refusal is None:
            logger.error("authentication failed: %s", reason)
            self._give_up(lambda: AuthFailedError(reason), SessionState.AUTH_FAILED)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The search for servers never ends by itself; if it does, nobody shall wait for it."""
        error = None if task.cancelled() else task.exception()
        if error is not None and self._refusal is None:
            self._loop.call_exception_handler(
                {"message": "the client has met a bug of its own", "exception": error}
            )
            self._give_up(lambda: ClosedError(f"ended by {error!r}"), SessionState.CLOSED)

    def _give_up(self, refusal: Callable[[], ZooKeeperError], state: SessionState) -> None:
        self._refusal = refusal
        if self._task is not None:
            self._task.cancel()
        connection = self._connection
        self._fail_all(refusal)
        if connection is not None:
            connection.abort(refusal())
        self.watches.lose_session(for_good=True)
        self.states.enter(state)

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
