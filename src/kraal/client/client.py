"""The client: `connect` makes one, its operations are in `kraal.client.operations`."""

from __future__ import annotations

import asyncio
import random
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from kraal.client import codec
from kraal.client.arguments import check_callback, checked_auth, checked_session
from kraal.client.codec import Decoder
from kraal.client.errors import NoWatcherError
from kraal.client.hosts import Hosts, Server, parse
from kraal.client.operations import Operations
from kraal.client.options import Options, WhileDisconnected
from kraal.client.persistent import STREAM_EVENTS_MAX, EventStream, Watch
from kraal.client.protected import Protected, ProtectedCreate
from kraal.client.retry import Retry, RetryingClient
from kraal.client.sasl import DigestMd5, Gssapi
from kraal.client.session import SessionKeeper
from kraal.client.states import SessionState, StateCallback
from kraal.client.tls import TlsOptions, contexts_for
from kraal.client.transaction import Transaction
from kraal.client.values import OPEN_ACL, Created, Session, WatchCallback, WatcherKind
from kraal.client.watches import Registration, Table, WatchTable
from kraal.errors import ConfigError
from kraal.model.acl import Acl
from kraal.model.create_mode import CreateMode
from kraal.model.limits import MAX_BUFFER_BYTES
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import WatchModeRequest

T = TypeVar("T")


def connect(
    hosts: str,
    *,
    session_timeout: float = 10.0,
    read_only: bool = False,
    auth: Sequence[tuple[str, bytes]] = (),
    sasl: DigestMd5 | Gssapi | None = None,
    tls: ssl.SSLContext | TlsOptions | bool | None = None,
    connect_timeout: float | None = None,
    request_timeout: float | None = None,
    while_disconnected: WhileDisconnected = "wait",
    default_acl: Sequence[Acl] = OPEN_ACL,
    session: Session | None = None,
    rng: random.Random | None = None,
    max_request_bytes: int = MAX_BUFFER_BYTES,
) -> Client:
    """A client for an ensemble; use it as `async with`, or with `start` and `close`.

    hosts: `host:port,host:port/chroot`; the port is 2181 if missing. Servers are tried in a
        random order, and names are resolved anew at each attempt.
    session_timeout: seconds that the session survives without contact; the server may bring it
        within its own limits, see `Client.session`.
    read_only: whether a server that has lost its quorum will do; the client moves on to one that
        can write as soon as there is one.
    auth: credentials, such as `("digest", b"user:password")`, for every connection.
    sasl: a mechanism and its credentials, such as `DigestMd5("user", "password")` or `Gssapi()`,
        for every connection; nothing else is sent before the server has accepted them.
    tls: True for encrypted connections to servers whose certificates the system trusts,
        `TlsOptions` for files, or a context of your own.
    connect_timeout: seconds for one attempt with one server, its TLS, session and SASL included; by
        default the session timeout divided by the number of servers.
    request_timeout: seconds within which a request must be answered; by default it waits as
        long as its connection lives.
    while_disconnected: whether a request waits for a connection or fails at once.
    default_acl: the ACL of new znodes.
    session: continue this session of another client, which must not use it any more.
    rng: decides the order of the servers and the length of pauses.
    max_request_bytes: the servers' `jute.maxbuffer`: longer requests would only close the
        connection and are refused here.

    Raises ConfigError for hosts and TLS files that cannot be read, ValueError for other values and
    TypeError for what is of another type.
    """
    if rng is not None and not isinstance(rng, random.Random):
        raise TypeError(f"rng must be a random.Random, not {type(rng).__name__}")
    servers, chroot = parse(hosts)
    options = Options(
        session_timeout=session_timeout,
        read_only=read_only,
        tls=contexts_for(tls),
        sasl=sasl,
        connect_timeout=connect_timeout,
        request_timeout=request_timeout,
        while_disconnected=while_disconnected,
        max_request_bytes=max_request_bytes,
    )
    return Client(
        servers,
        chroot,
        options,
        auth=checked_auth(auth),
        default_acl=default_acl,
        session=None if session is None else checked_session(session),
        rng=rng or random.Random(),
    )


class Client(Operations):
    """A session with an ensemble, kept alive and renewed by itself."""

    def __init__(
        self,
        servers: Sequence[Server],
        chroot: str,
        options: Options,
        *,
        auth: Sequence[tuple[str, bytes]],
        default_acl: Sequence[Acl],
        session: Session | None,
        rng: random.Random,
    ) -> None:
        self._chroot = chroot.encode()
        self._default_acl = codec.encode_acl(default_acl)
        # What outlives the client must not hold it, or nobody would see that it was dropped.
        self._watches = WatchTable(partial(codec.without_chroot, self._chroot))
        self._rng = rng
        self._session = SessionKeeper(
            Hosts(servers, rng), options, self._watches, auth=auth, session=session, rng=rng
        )

    def __repr__(self) -> str:
        server = f" on {self.server}" if self.server is not None else ""
        return f"<kraal.Client {self.state.value}, session 0x{self.session_id:x}{server}>"

    # Life

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """A client that is dropped without `close` keeps its session until the loop ends."""
        session = getattr(self, "_session", None)  # missing if __init__ has raised
        if session is not None and session.is_running:
            _warn(f"unclosed client {self!r}", ResourceWarning, source=self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client cannot be copied or pickled: a session has one client")

    async def start(self) -> None:
        """Connect; waits until a server has accepted the session and the credentials.

        Limit the time with `asyncio.timeout`. Raises AuthFailedError, ClosedError. What ends the
        wait, a timeout too, closes the client: for another attempt make another one.
        """
        self._session.start()
        try:
            await self._session.wait_connected()
            await self._session.wait_authenticated()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session and its ephemerals; what still waits fails with ClosedError.

        Waits briefly for the server's answer; without a connection the session ends by its
        timeout. Closing twice is no error. Raises ForeignLoopError on another event loop than that
        of `start`, and then the client goes on.
        """
        await self._session.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def set_hosts(self, hosts: str) -> None:
        """Use other servers from now on.

        The chroot stays: it must be missing or the same. The connection is left, once what was
        sent has been answered, if its server is not among the new ones. Raises ConfigError.
        """
        servers, chroot = parse(hosts)
        if chroot and chroot.encode() != self._chroot:
            raise ConfigError(f"hosts: the chroot is {self._chroot.decode() or '/'}, not {chroot}")
        self._session.set_hosts(servers)

    # State

    @property
    def state(self) -> SessionState:
        return self._session.states.state

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called; it may still be at work."""
        return self._session.is_closed

    @property
    def session(self) -> Session:
        """The session as the server knows it; the id is 0 before there is one."""
        return self._session.session

    @property
    def session_id(self) -> int:
        return self._session.id

    @property
    def session_deadline(self) -> float:
        """When the servers may end the session, as long as this client hears nothing more of it.

        On the loop's clock (`loop.time()`), counted from when the last ping that was answered was
        sent; in the past before there is a session. What rests on the session, such as a lock, is
        not safe after this. It rests on the clock here being no slower than the servers', and on
        the server that answered having told its leader: one that crashes before leaves up to a
        third of the timeout less.
        """
        return self._session.deadline

    @property
    def last_zxid(self) -> int:
        """The newest zxid that an answer has carried."""
        return self._session.last_zxid

    @property
    def server(self) -> Server | None:
        """The server of the connection, or of the last attempt."""
        return self._session.server

    def on_state(self, callback: StateCallback) -> Callable[[], None]:
        """Have `callback(state)` called at each change; returns what ends that."""
        check_callback(callback)
        return self._session.states.subscribe(callback)

    def states(self) -> AsyncIterator[SessionState]:
        """The state now and each later one, until CLOSED."""
        return self._session.states.changes(self._session.check_loop)

    async def wait_connected(self, *, read_write: bool = False) -> None:
        """Wait for a connection; with `read_write`, for one to a server that is not read-only.

        Raises AuthFailedError, ClosedError when there can be none.
        """
        await self._session.wait_connected(read_write=read_write)

    async def add_auth(self, scheme: str, auth: bytes) -> None:
        """Authenticate this connection and all later ones.

        Raises AuthFailedError, after which the client can only be closed.
        """
        ((scheme, auth),) = checked_auth([(scheme, auth)])
        await self._session.add_auth(scheme, auth)

    # More than one request

    def transaction(self) -> Transaction:
        """Writes that happen all or not at all::

            async with zk.transaction() as t:
                t.check("/config", version=3)
                t.set("/config", b"new")

        They are sent at the end of the block, unless it raises. See `Transaction`.
        """
        return Transaction(self, lambda body, decode: self._write(OpCode.MULTI, body, decode, None))

    async def create_protected(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.EPHEMERAL_SEQUENTIAL,
        acl: Sequence[Acl] | None = None,
        id: str | None = None,
        name: Protected = Protected.CURATOR,
    ) -> Created:
        """Create a znode under a name that says whose it is, and survive lost answers.

        After a connection loss it looks for the znode before it tries again, until the session
        ends. If this is cancelled the znode is deleted in the background. `id` is made at random
        if it is not given. Errors as for `create`; ConnectionLossError only if nothing was sent.
        """
        codec.encode_path(path, is_sequential=True)  # is a path at all
        if not isinstance(name, Protected):
            raise TypeError(f"name must be a Protected, not {name!r:.100}")
        if id is not None and not isinstance(id, str):
            raise TypeError(f"id must be a str, not {id!r:.100}")
        if id is not None and (not id or "/" in id):
            raise ValueError(f"id must be a part of a name, not {id!r:.100}")
        if id is None:
            id = name.new_id(self._rng.getrandbits(128))
        return await ProtectedCreate(self, path, data, mode, acl, id, name).run()

    def retrying(self, retry: Retry | None = None) -> RetryingClient:
        """The same operations, repeating what is safe to repeat (`kraal.client.retry`)."""
        if retry is not None and not isinstance(retry, Retry):
            raise TypeError(f"retry must be a Retry, not {retry!r:.100}")
        return RetryingClient(self, retry or Retry(), self._rng)

    # Watches

    async def add_watch(
        self, path: str, callback: WatchCallback, *, recursive: bool = False
    ) -> Watch:
        """Have `callback(event)` called for every event of a path, until `Watch.remove`.

        A recursive watch tells of the path and everything below it, but not of CHILDREN. After a
        reconnection or a new session there is a GAP event: read again. When the client is closed
        there is a last one, SESSION_LOST. The path need not exist.
        """
        check_callback(callback)
        wire = self._wire(path)
        table = Table.RECURSIVE if recursive else Table.PERSISTENT

        async def withdraw() -> None:
            removal = self._session.withdraw(registration)
            if removal is not None:
                await asyncio.wait((removal,))

        watch = Watch(path, recursive=recursive, callback=callback, withdraw=withdraw)
        registration = Registration(table, wire, watch)
        body = WatchModeRequest.pack(wire, int(recursive))
        try:
            await self._submit(OpCode.ADD_WATCH, body, codec.decode_nothing, path, registration)
        except asyncio.CancelledError:
            self._withdraw(registration)
            raise
        return watch

    def watch(
        self, path: str, *, recursive: bool = False, limit: int = STREAM_EVENTS_MAX
    ) -> EventStream:
        """The events of a path as a stream, otherwise as `add_watch`::

            async with zk.watch("/config", recursive=True) as events:
                async for event in events:
                    ...

        At most `limit` events wait to be read; more of them collapse into one GAP.
        """
        self._wire(path)  # is a path at all
        return EventStream(
            path, lambda callback: self.add_watch(path, callback, recursive=recursive), limit
        )

    async def remove_watches(
        self, path: str, kind: WatcherKind = WatcherKind.ANY, *, local: bool = False
    ) -> None:
        """Remove all watches of a kind on a path; their callbacks get a `…_REMOVED` event.

        With `local` they are removed here even if no server can be asked. Raises NoWatcherError.
        """
        wire = self._wire(path)
        if not self._watches.has(kind, wire):
            raise NoWatcherError(path=path)
        if not local or self.state.is_connected:
            body = WatchModeRequest.pack(wire, kind)
            try:
                await self._submit(OpCode.REMOVE_WATCHES, body, codec.decode_nothing, path)
            except NoWatcherError:
                if not local:
                    raise
        self._watches.remove(kind, wire)

    def forget_watch(self, path: str, callback: WatchCallback) -> None:
        """Forget a one-shot watch: `callback` is not called any more for this path.

        The server forgets it as well, unless others here wait for the same. One that has fired, or
        never was, is no error, and nothing is waited for.
        """
        wire = self._wire(path)
        for table in (Table.DATA, Table.CHILD):
            self._withdraw(Registration(table, wire, callback))

    # How operations reach the session

    def _submit(
        self,
        op: OpCode,
        body: bytes,
        decode: Decoder[T],
        path: str | None,
        watch: Registration | None = None,
    ) -> Awaitable[T]:
        return self._session.submit(op, body, decode, path, watch).future

    async def _write(self, op: OpCode, body: bytes, decode: Decoder[T], path: str | None) -> T:
        request = self._session.submit(op, body, decode, path)
        try:
            return await request.future
        except asyncio.CancelledError as error:
            if request.is_in_doubt:
                error.add_note(f"{request} was sent and may take effect")
            raise

    def _withdraw(self, watch: Registration) -> None:
        self._session.withdraw(watch)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        self._session.in_background(work)


def send_together(zk: Client) -> None:
    """Have all requests of this turn of the event loop leave in one packet.

    They do so anyway while earlier ones are not answered. After a silence, however, the first one
    leaves at once, since it is likely to be the only one. Who knows better, and asks for several
    things at the same time, spares a system call and an awakening of the server::

        reads = asyncio.gather(zk.get("/a"), zk.get("/b"))
        send_together(zk)
        a, b = await reads
    """
    zk._session.batch()


def check_creation(zk: Client, path: str, data: bytes, acl: Sequence[Acl] | None) -> None:
    """Raise BadArgumentsError for data with which an ephemeral is too long for one request."""
    _, body = zk._creation(path, data, CreateMode.EPHEMERAL, acl, None)
    zk._session.options.check_size(body, path)
