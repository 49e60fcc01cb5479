"""Clients that keep their session over the deaths of servers and write at a steady pace.

Each has one connection and at most one request under way, as a lock or a configuration has. When
its connection ends it dials the next of its servers, a hundredth of a second after an attempt
that failed, and goes on with its session. What counts is when its writes were acknowledged.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from tests.support.servers import HOST

SESSION_TIMEOUT_MS = 10_000
DIAL_S = 1.0
GREETING_S = 2.0
REPLY_S = SESSION_TIMEOUT_MS * 2 / 3 / 1000  # as other clients
RETRY_S = 0.01
FRAME_MAX = 1 << 20
JOIN_S = 10.0
CREATE, SET_DATA, CLOSE_SESSION = 1, 5, -11
NODE_EXISTS, SESSION_EXPIRED = -110, -112
OPEN_ACL = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"

_CONNECT = struct.Struct(">iqiqi16s?")
_CONNECTED = struct.Struct(">iiqi16s")
_REPLY = struct.Struct(">iqi")
_ENDS = (OSError, EOFError)


class ClientsError(Exception):
    """A client was answered what a write cannot be answered; the text says what."""


@dataclass(frozen=True)
class Request:
    """What a client sends again and again; a retry may find it done already (`tolerated`)."""

    op: int
    body: bytes
    tolerated: int = 0


def _buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def set_data(path: str, size: int = 100) -> Request:
    return Request(SET_DATA, _buffer(path.encode()) + _buffer(b"x" * size) + b"\xff" * 4)


def create(path: str) -> Request:
    body = _buffer(path.encode()) + _buffer(b"") + OPEN_ACL + bytes(4)
    return Request(CREATE, body, NODE_EXISTS)


class Client:
    """One session; methods are called by its `Clients` only. Raises `_ENDS` when it is cut off."""

    def __init__(self, ports: Sequence[int], request: Request, pace_s: float) -> None:
        self.acked: list[float] = []
        self.attempts = 0
        self.expired = 0
        self.socket: socket.socket | None = None
        self.alarm = 0.0
        """When something is to be done next: dial, send, or give up waiting."""
        self._ports = list(ports)
        self._request = request
        self._pace_s = pace_s
        self._session = (0, bytes(16))
        self._zxid = 0
        self._xid = 0
        self._is_greeted = False
        self._is_waiting = False
        self._due = 0.0
        self._input = b""

    def act(self, now: float) -> None:
        """The alarm has come."""
        if self.socket is None:
            self._dial(now)
        elif self._is_waiting or not self._is_greeted:
            raise EOFError("no answer")
        else:
            self._xid += 1
            frame = struct.pack(">ii", self._xid, self._request.op) + self._request.body
            self.socket.sendall(_buffer(frame))
            self._is_waiting = True
            self._due = now + self._pace_s
            self.alarm = now + REPLY_S

    def _dial(self, now: float) -> None:
        self.attempts += 1
        self._ports.append(self._ports.pop(0))
        self.socket = socket.create_connection((HOST, self._ports[-1]), DIAL_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session, password = self._session
        hello = _CONNECT.pack(0, self._zxid, SESSION_TIMEOUT_MS, session, 16, password, False)
        self.socket.sendall(_buffer(hello))
        self._is_greeted = self._is_waiting = False
        self._input = b""
        self.alarm = now + GREETING_S

    def take(self) -> None:
        """The socket is readable."""
        assert self.socket is not None
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        now = time.monotonic()
        self._input += data
        while len(self._input) >= 4:
            end = 4 + int.from_bytes(self._input[:4])
            if end > FRAME_MAX:
                raise ClientsError(f"a frame of {end - 4} bytes")
            if len(self._input) < end:
                return
            frame, self._input = self._input[4:end], self._input[end:]
            if self._is_greeted:
                self._replied(now, frame)
            else:
                self._greeted(now, frame)

    def _greeted(self, now: float, frame: bytes) -> None:
        _, _, session, _, password = _CONNECTED.unpack_from(frame)
        if not session:
            self._lost_session()
            raise EOFError("the session has expired")
        self._session = session, password
        self._is_greeted = True
        self.alarm = now

    def _replied(self, now: float, frame: bytes) -> None:
        xid, zxid, error = _REPLY.unpack_from(frame)
        if xid != self._xid or not self._is_waiting:
            raise ClientsError(f"a reply with xid {xid}, {self._xid} was asked")
        if error == SESSION_EXPIRED:
            self._lost_session()
            raise EOFError("the session has expired")
        if error not in (0, self._request.tolerated):
            raise ClientsError(f"operation {self._request.op} got error {error}")
        self._zxid = max(self._zxid, zxid)
        self._is_waiting = False
        self.acked.append(now)
        self.alarm = self._due

    def _lost_session(self) -> None:
        self.expired += 1
        self._session = (0, bytes(16))

    def drop(self, now: float) -> None:
        """The connection is over."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.alarm = now + RETRY_S


class Clients(threading.Thread):
    """Clients in a thread of their own, from `start` until `finish`."""

    def __init__(self, clients: Sequence[Client]) -> None:
        super().__init__(name="clients", daemon=True)
        self.clients = list(clients)
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._problem: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:  # told by whoever waits
            self._problem = error
        finally:
            for client in self.clients:
                if client.socket is not None:
                    with suppress(*_ENDS):
                        # A closed session leaves nothing to expire in the next measurement.
                        client.socket.sendall(_buffer(struct.pack(">ii", 0, CLOSE_SESSION)))
                    client.socket.close()
            self._selector.close()

    def _turn(self) -> None:
        now = time.monotonic()
        for client in self.clients:
            if client.alarm <= now:
                had = client.socket
                self._guarded(client, partial(client.act, now))
                if client.socket is not None and client.socket is not had:
                    self._selector.register(client.socket, selectors.EVENT_READ, client)
        patience = min(client.alarm for client in self.clients) - time.monotonic()
        for key, _ in self._selector.select(min(max(patience, 0), 0.1)):
            self._guarded(key.data, key.data.take)

    def _guarded(self, client: Client, step: Callable[[], None]) -> None:
        """One step of a client, which may find that its connection is over."""
        try:
            step()
        except _ENDS:
            if client.socket is not None:
                with suppress(KeyError):
                    self._selector.unregister(client.socket)
            client.drop(time.monotonic())

    def wait(self, since: float, timeout_s: float) -> bool:
        """Wait until every client has had a write acknowledged after `since`; False: too late."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._problem is not None:
                raise self._problem
            if all(client.acked and client.acked[-1] > since for client in self.clients):
                return True
            time.sleep(0.005)
        return False

    def finish(self) -> None:
        """End the thread. Raises what went wrong in it."""
        self._stopping.set()
        self.join(JOIN_S)
        if self._problem is not None:
            raise self._problem


def longest_pause(acked: Sequence[float], since: float) -> float:
    """The longest time between two acknowledgements of which the later one is after `since`."""
    pairs = pairwise(acked)
    return max((later - earlier for earlier, later in pairs if later > since), default=0.0)
