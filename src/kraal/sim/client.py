"""A simulated client: one session at a time, pipelined requests, a new server when one is lost.

It behaves as the reference's clients do: it pings, gives a silent server up, goes on with its
session elsewhere and restores its watches there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kraal.sim import protocol
from kraal.sim.checks.watches import ClientWatches
from kraal.sim.network import Endpoint
from kraal.sim.protocol import EVENT_XID, PING_XID, SET_WATCHES_XID, Event, Reply
from kraal.sim.scheduler import MS, Action, Host
from kraal.wire.framing import FrameReader
from kraal.wire.opcodes import OpCode

if TYPE_CHECKING:
    from kraal.sim.server import SimServer
    from kraal.sim.world import World

FRAME_MAX = 1 << 20
CONNECT_TIMEOUT_US = 1000 * MS
EVENTS_KEPT = 100
READ_ONLY_US = 1000 * MS
"""How long a client is content with a server without a leader."""


@dataclass(slots=True)
class Request:
    """One request and what its answer will be judged by."""

    op: int
    path: bytes = b""
    data: bytes = b""
    version: int = -1
    flags: int = 0
    watch: bool = False
    parts: list[Request] = field(default_factory=list)
    """Of a multi."""
    lists: list[list[bytes]] = field(default_factory=list)
    """Of setWatches."""
    change: tuple[str | None, str | None, str | None] = (None, None, None)
    """Of the membership: who joins, who leaves, or all members."""
    xid: int = 0
    sent_us: int = 0
    tip: int = 0
    """Last zxid that was committed anywhere when it was sent."""
    epoch_tip: int = 0
    """The same among the epochs up to that of the server asked."""
    then: object = None
    """What a scenario waits for: called with the reply, or None when it is lost."""

    def body(self) -> bytes:
        """What follows xid and type."""
        op = self.op
        if op in (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER):
            return protocol.create(self.path, self.data, self.flags)
        if op == OpCode.DELETE:
            return protocol.delete(self.path, self.version)
        if op == OpCode.CHECK:
            return protocol.delete(self.path, self.version)
        if op == OpCode.SET_DATA:
            return protocol.set_data(self.path, self.data, self.version)
        if op == OpCode.MULTI:
            return protocol.multi([(part.op, part.body()) for part in self.parts])
        if op == OpCode.SYNC:
            return protocol.buffer(self.path)
        if op == OpCode.ADD_WATCH:
            return protocol.add_watch(self.path, recursive=bool(self.flags))
        if op == OpCode.RECONFIG:
            return protocol.reconfig(*self.change)
        if op == OpCode.SET_WATCHES2:
            return protocol.set_watches(self.tip, self.lists)
        if op in (OpCode.PING, OpCode.CLOSE_SESSION):
            return b""
        return protocol.path_watch(self.path, self.watch)

    def __str__(self) -> str:
        text = f"{OpCode(self.op).name} {self.path.decode()}"
        if self.parts:
            text += f" [{', '.join(map(str, self.parts))}]"
        if any(self.change):
            text += f"{self.change}"
        if self.version != -1:
            text += f" version {self.version}"
        return f"#{self.xid} {text}"


UNJUDGED = frozenset((OpCode.CLOSE_SESSION, OpCode.RECONFIG))
"""Writes whose outcome is no matter of znodes."""
WRITES = frozenset(
    (
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.CREATE_CONTAINER,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.MULTI,
    )
)


class Session:
    """A session as its client knows it."""

    def __init__(self) -> None:
        self.id = 0
        self.password = bytes(16)
        self.timeout_ms = 0
        self.last_zxid = 0
        """The newest state that it has seen."""
        self.watches = ClientWatches()
        self.is_read_only = False
        """Of a server without a leader."""
        self.is_over = False
        """Closed by its client, or reported to be over."""


class Connection:
    """One connection of a client."""

    def __init__(self, server: SimServer, link: Endpoint) -> None:
        self.server = server
        self.link = link
        self.frames = FrameReader(FRAME_MAX)
        self.is_established = False
        self.is_closing = False
        """Its session's end was asked for: nothing else is."""
        self.is_read_only = False
        self.epoch = -1
        """Of the term in which the server accepted it."""
        self.outstanding: deque[Request] = deque()
        self.writes: list[int] = []
        """Xids of the writes sent, in order."""


class SimClient(Host):
    """One client process."""

    def __init__(self, world: World, number: int, *, timeout_ms: int, read_only: bool) -> None:
        super().__init__(world.scheduler, f"client {number}")
        self.world = world
        self.number = number
        self.timeout_ms = timeout_ms
        self.read_only = read_only
        self.session = Session()
        self.connection: Connection | None = None
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        """The last ones that came."""
        self.server_ids: list[int] | None = None
        """Whom it may connect to; None: everybody."""
        self._xid = 0
        self._attempt = 0
        self._last_heard_us = 0
        self._last_sent_us = 0

    # Life

    def start(self) -> None:
        """Connect, and keep connected."""
        self.after(0, self._connect)
        self.after(0, self._tick)

    def kill(self) -> None:
        """The process is gone; its session will expire."""
        self.world.trace(self, "dies")
        self.die()
        if self.connection is not None:
            self.connection.link.close()
            self._forget_connection()

    def hang_up(self) -> None:
        """Lose the connection, and connect to somebody else."""
        if self.connection is not None:
            self.connection.link.close()
            self._lost()

    def close_session(self) -> None:
        """End the session, and begin another one."""
        connection = self.connection
        if self.request(Request(OpCode.CLOSE_SESSION)) and connection is not None:
            connection.is_closing = True

    @property
    def is_connected(self) -> bool:
        return self.connection is not None and self.connection.is_established

    def turn(self, action: Action) -> None:
        """A mistake in what the server sent ends the run."""
        try:
            action()
        except Exception as error:
            self.world.failed(self, error)

    # Connecting

    def _connect(self) -> None:
        if self.connection is not None:
            return
        world, network = self.world, self.world.network
        self._attempt += 1
        attempt = self._attempt
        server = world.servers[world.random.choice(self.server_ids or world.server_ids)]
        if server.is_up and network.reaches(self, server) and network.reaches(server, self):
            near, far = network.connect(self, server, f"{self.name}-{server.id}")
            far.pause_reading()
            server.after(network.delay(), lambda: self._accept(server, far, connection))
            connection = self.connection = Connection(server, near)
            near.received = self._received
            near.lost = self._lost
            session = self.session
            near.send(
                protocol.connect(
                    session.last_zxid,
                    self.timeout_ms,
                    session.id,
                    session.password,
                    read_only=self.read_only,
                )
            )
            self._last_heard_us = self._last_sent_us = self.scheduler.now_us

            def give_up() -> None:
                if self.connection is connection and not connection.is_established:
                    near.close()
                    self._lost()

            self.after(CONNECT_TIMEOUT_US, give_up)
        elif attempt == self._attempt:
            self._connect_later()

    def _accept(self, server: SimServer, far: Endpoint, connection: Connection) -> None:
        server.port.accept(far)
        connection.epoch = server.peer.current_epoch

    def _connect_later(self) -> None:
        self.after(self.world.random.randint(1 * MS, 100 * MS), self._connect)

    def _forget_connection(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self.world.checks.disconnected(self, connection)
            for request in connection.outstanding:
                if callable(request.then):
                    request.then(None)

    def _lost(self) -> None:
        self._forget_connection()
        self._connect_later()

    def _tick(self) -> None:
        """Ping when there was nothing to say; give up a server that is silent."""
        connection, now = self.connection, self.scheduler.now_us
        timeout_us = (self.session.timeout_ms or self.timeout_ms) * MS
        if connection is not None and connection.is_established:
            if now - self._last_heard_us > timeout_us * 2 // 3:
                self.world.trace(self, "hears nothing of server %d", connection.server.id)
                self.hang_up()
            elif now - self._last_sent_us > timeout_us // 3:
                self.request(Request(OpCode.PING))
        self.after(timeout_us // 10, self._tick)

    # Requests

    def request(self, request: Request) -> bool:
        """Send a request, if there is a connection."""
        connection = self.connection
        if connection is None or not connection.is_established or connection.is_closing:
            return False
        if request.op == OpCode.PING:
            request.xid = PING_XID
        elif request.op == OpCode.SET_WATCHES2:
            request.xid = SET_WATCHES_XID
        else:
            self._xid += 1
            request.xid = self._xid
        body = request.body()
        request.sent_us = self._last_sent_us = self.scheduler.now_us
        self.world.checks.sent(self, connection, request)
        connection.outstanding.append(request)
        connection.link.send(protocol.frame(request.xid, request.op, body))
        return True

    # Replies

    def _received(self, data: bytes) -> None:
        connection = self.connection
        if connection is None:
            return
        self._last_heard_us = self.scheduler.now_us
        frames, error = connection.frames.feed(data)
        assert error is None, f"the server sent {error}"
        for frame in frames:
            if not connection.is_established:
                self._established(connection, frame)
                if not connection.is_established:
                    return
                continue
            reply = protocol.read_reply(frame)
            if reply.xid == EVENT_XID:
                event = protocol.read_event(frame)
                self.events.append(event)
                self.world.checks.event(self, connection, event)
                continue
            self._answered(connection, reply)

    def _established(self, connection: Connection, frame: bytes) -> None:
        world, session = self.world, self.session
        answer = protocol.read_connected(frame)
        if not answer.session_id:
            world.trace(self, "is told that session 0x%x is over", session.id)
            world.checks.session_over(self)
            session.is_over = True
            self.session = Session()
            connection.link.close()
            self._lost()
            return
        connection.is_established = True
        connection.is_read_only = answer.is_read_only
        session.is_read_only = answer.is_read_only
        session.id, session.password = answer.session_id, answer.password
        session.timeout_ms = answer.timeout_ms
        world.trace(self, "has session 0x%x on server %d", session.id, connection.server.id)
        world.checks.established(self, connection)
        if answer.is_read_only:
            self.after(READ_ONLY_US, lambda: self._look_further(connection))
        elif session.watches:
            self.request(
                Request(OpCode.SET_WATCHES2, tip=session.last_zxid, lists=session.watches.lists())
            )

    def _look_further(self, connection: Connection) -> None:
        """Somebody else may have a leader."""
        if self.connection is connection:
            self.hang_up()

    def _answered(self, connection: Connection, reply: Reply) -> None:
        assert connection.outstanding, f"a reply to nothing: {reply}"
        request = connection.outstanding.popleft()
        assert request.xid == reply.xid, f"a reply to {reply.xid} where {request} is due"
        self.world.checks.replied(self, connection, request, reply)
        if request.op != OpCode.PING:  # as the reference's clients
            self.session.last_zxid = max(self.session.last_zxid, reply.zxid)
        if request.op == OpCode.CLOSE_SESSION:
            self.session.is_over = True
            self.session = Session()
            connection.link.close()
            self._lost()
        if callable(request.then):
            request.then(reply)
