"""What the server itself takes: requests that were built before, over sockets that block.

No client can be faster by much. How far one is from here is its own share; the rest is the
server's, its disk's and the system's.
"""

from __future__ import annotations

import selectors
import socket
import struct
from collections.abc import Generator

from bench.clients.cases import LOCK, VALUE, WATCHED, WINDOW, ZNODE, Case, watched
from bench.clients.meter import Figures, Meter
from kraal.client import multi
from kraal.client.codec import decode_names, decode_path
from kraal.client.connection import NOTIFICATION_XID, hello_frame
from kraal.model.acl import OPEN_UNSAFE
from kraal.model.create_mode import CreateMode
from kraal.wire.opcodes import OpCode
from kraal.wire.records.data import encode_acls
from kraal.wire.records.proto import (
    CreateRequest,
    DeleteRequest,
    PathWatchRequest,
    SetDataRequest,
)
from tests.support.servers import HOST

TIMEOUT_S = 30.0
XID = 1
"""Of every request: the server answers in order and does not look at it."""
_ACL = encode_acls(OPEN_UNSAFE)
_REPLY_HEADER = struct.Struct(">iqi")


def request(op: int, body: bytes) -> bytes:
    return struct.pack(">iii", len(body) + 8, XID, op) + body


def creation(path: str, mode: CreateMode = CreateMode.PERSISTENT) -> bytes:
    body = CreateRequest.pack(path.encode(), VALUE, _ACL, mode)
    return request(OpCode.CREATE, body)


def deletion(path: str) -> bytes:
    return request(OpCode.DELETE, DeleteRequest.pack(path.encode(), -1))


def read(path: str, *, watch: bool = False) -> bytes:
    return request(OpCode.GET_DATA, PathWatchRequest.pack(path.encode(), watch))


def listing(path: str) -> bytes:
    return request(OpCode.GET_CHILDREN, PathWatchRequest.pack(path.encode(), False))


class Session:
    """One session over a blocking socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self.socket.sendall
        self._rest = b""
        hello = hello_frame(
            last_zxid=0, timeout_ms=10_000, session_id=0, password=bytes(16), read_only=False
        )
        self.exchange(hello, 1)

    def arrived(self) -> list[bytes]:
        """The frames that were received whole; waits for bytes."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise OSError("the server has closed the connection")
        data = self._rest + data
        frames, at, size = [], 0, len(data)
        while at + 4 <= size:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > size:
                break
            frames.append(data[at + 4 : end])
            at = end
        self._rest = data[at:]
        return frames

    def exchange(self, requests: bytes, frames: int) -> None:
        """Send, and receive so many frames."""
        self.send(requests)
        while frames > 0:
            frames -= len(self.arrived())

    def close(self) -> None:
        self.exchange(request(OpCode.CLOSE_SESSION, b""), 1)
        self.socket.close()


def floor(case: Case, port: int, seconds: float) -> Figures:
    """The figures of one case."""
    if case is Case.LOCKS:
        return locks(port, seconds)
    paths = [watched(number) for number in range(WATCHED)]
    change = SetDataRequest.pack(ZNODE.encode(), VALUE, -1)
    changes = [(OpCode.SET_DATA, SetDataRequest.pack(path.encode(), VALUE, -1)) for path in paths]
    reading, writing = read(ZNODE), request(OpCode.SET_DATA, change)
    watching = b"".join(read(path, watch=True) for path in paths)
    # What is sent, how many frames answer it, and how many operations that is.
    steps, done = {
        Case.READ_ONE: ([(reading, 1)], 1),
        Case.READ_MANY: ([(reading * WINDOW, WINDOW)], WINDOW),
        Case.WRITE_ONE: ([(writing, 1)], 1),
        Case.WRITE_MANY: ([(writing * WINDOW, WINDOW)], WINDOW),
        Case.EVENTS: (
            [
                (watching, WATCHED),
                (request(OpCode.MULTI, multi.encode(changes)), WATCHED + 1),
            ],
            WATCHED,
        ),
    }[case]
    session = Session(port)
    for path in (*paths, ZNODE):  # the ones of the measurement before; errors are answers
        session.exchange(deletion(path), 1)
    for path in (ZNODE, *paths):
        session.exchange(creation(path), 1)
    meter = Meter(seconds)
    while meter.goes_on(done):
        for requests, frames in steps:
            session.exchange(requests, frames)
    figures = meter.figures
    session.close()
    return figures


def locks(port: int, seconds: float) -> Figures:
    """Two sessions that hand a lock over, with as few and as small requests as are possible."""
    sessions = [Session(port) for _ in range(2)]
    sessions[0].exchange(creation(LOCK), 1)
    meter = Meter(seconds)
    with selectors.DefaultSelector() as selector:
        for session in sessions:
            contender = hold(session, meter)
            next(contender)
            selector.register(session.socket, selectors.EVENT_READ, (session, contender))
        is_over = False
        while not is_over:
            for key, _ in selector.select(TIMEOUT_S):
                session, contender = key.data
                for frame in session.arrived():
                    is_over |= not contender.send(frame)
    figures = meter.figures
    for session in sessions:
        session.close()
    return figures


def hold(session: Session, meter: Meter) -> Generator[bool, bytes, None]:
    """Take and release the lock for ever: is sent frames, says whether there is still time."""
    creating = creation(f"{LOCK}/n-", CreateMode.EPHEMERAL_SEQUENTIAL) + listing(LOCK)
    goes_on = True
    while True:
        session.send(creating)
        path = decode_path((yield goes_on)[_REPLY_HEADER.size :])
        name = path.rpartition("/")[2]
        names = decode_names((yield goes_on)[_REPLY_HEADER.size :])
        before = max((other for other in names if other < name and other[:2] == "n-"), default="")
        if before:
            session.send(read(f"{LOCK}/{before}", watch=True))
            _xid, _zxid, code = _REPLY_HEADER.unpack_from((yield goes_on))
            if not code:
                xid, _zxid, _code = _REPLY_HEADER.unpack_from((yield goes_on))
                assert xid == NOTIFICATION_XID
        session.send(deletion(path))
        yield goes_on
        goes_on = meter.goes_on(1)
