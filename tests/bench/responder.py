"""A server that answers the load generator by the book, or with one scripted fault."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CLOSE_SESSION = -11
BODIES = {1: 30, 4: 172, 5: 68, 3: 68, 8: 40}


@dataclass
class Responder:
    """`fault` hits the reply number `at` of every connection: error, xid, close or mute."""

    fault: str = ""
    at: int = 50
    chunk: int = 0  # send replies in pieces of this many bytes
    stall_s: float = 0.0  # before the reply number `at`
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    operations: Counter[int] = field(default_factory=Counter)
    paths: list[str] = field(default_factory=list)
    hellos: list[int] = field(default_factory=list)
    """Session ids that clients came with."""
    session: int = 1
    """What they are given; 0 refuses the session that they came with."""

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError, EOFError):
                self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        stream = sock.makefile("rb")
        (came_with,) = struct.unpack_from(">q", read_frame(stream.read), 16)
        self.hellos.append(came_with)
        session = self.session if came_with else 1
        sock.sendall(struct.pack(">iiiqi16s?", 37, 0, 40000, session, 16, bytes(16), False))
        number = 0
        while True:
            frame = read_frame(stream.read)
            xid, operation = struct.unpack_from(">ii", frame)
            self.operations[operation] += 1
            number += 1
            if operation in (1, 4, 5):
                length = int.from_bytes(frame[8:12])
                self.paths.append(frame[12 : 12 + length].decode())
            error = 0
            if number == self.at:
                time.sleep(self.stall_s)
            if number == self.at and operation != CLOSE_SESSION:
                if self.fault == "close":
                    return
                error = -101 if self.fault == "error" else 0
                xid += 1 if self.fault == "xid" else 0
            body = bytes(BODIES.get(operation, 0))
            reply = struct.pack(">iiqi", 16 + len(body), xid, 7, error) + body
            step = self.chunk or len(reply)
            for start in range(0, len(reply), step):
                sock.sendall(reply[start : start + step])
            if operation == CLOSE_SESSION:
                return


def read_frame(read: object) -> bytes:
    assert callable(read)
    head: bytes = read(4)
    if len(head) < 4:
        raise EOFError
    frame: bytes = read(int.from_bytes(head))
    return frame


@contextmanager
def responder(
    fault: str = "", *, at: int = 50, chunk: int = 0, stall_s: float = 0.0
) -> Iterator[Responder]:
    server = Responder(fault, at, chunk, stall_s)
    threading.Thread(target=server.accept, daemon=True).start()
    try:
        yield server
    finally:
        server.listener.close()
