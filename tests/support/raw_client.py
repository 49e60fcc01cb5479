"""A small blocking client of the ZooKeeper client protocol, for checking servers from outside.

It shares no code with kraal: records are written and read here with `struct`, so that a
mistake in kraal's own codec cannot hide itself. Requests may be malformed on purpose: every
string may also be given as raw bytes, and bodies are plain bytes which a test can cut or extend.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

HOST = "127.0.0.1"

# A path, scheme or id: text, raw bytes (perhaps malformed UTF-8), or null.
Text = str | bytes | None
Acl = tuple[int, Text, Text]
AclList = Sequence[Acl] | None

OPCODES = {
    "notification": 0, "create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5,
    "getACL": 6, "setACL": 7, "getChildren": 8, "sync": 9, "ping": 11, "getChildren2": 12,
    "check": 13, "multi": 14, "create2": 15, "reconfig": 16, "checkWatches": 17,
    "removeWatches": 18, "createContainer": 19, "deleteContainer": 20, "createTTL": 21,
    "multiRead": 22, "auth": 100, "setWatches": 101, "sasl": 102, "getEphemerals": 103,
    "getAllChildrenNumber": 104, "setWatches2": 105, "addWatch": 106, "whoAmI": 107,
    "createSession": -10, "closeSession": -11, "error": -1,
}  # fmt: skip
EVENT_NAMES = {1: "Created", 2: "Deleted", 3: "DataChanged", 4: "ChildrenChanged"}

EVENT_XID = -1
PING_XID = -2
AUTH_XID = -4
SET_WATCHES_XID = -8
OPEN_ACL: tuple[Acl, ...] = ((31, "world", "anyone"),)
DEFAULT_TIMEOUT_MS = 40_000


class ClosedError(Exception):
    """The server has closed the connection."""


class DecodeError(Exception):
    """A reply is not what its operation promises."""


# ---- Writing ------------------------------------------------------------------------------


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def buffer(value: bytes | None) -> bytes:
    return i32(-1) if value is None else i32(len(value)) + value


def ustring(value: Text) -> bytes:
    return buffer(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def strings(values: Iterable[Text] | None) -> bytes:
    if values is None:
        return i32(-1)
    encoded = [ustring(value) for value in values]
    return i32(len(encoded)) + b"".join(encoded)


def acl_list(entries: AclList) -> bytes:
    if entries is None:
        return i32(-1)
    return i32(len(entries)) + b"".join(
        i32(perms) + ustring(scheme) + ustring(name) for perms, scheme, name in entries
    )


def create_body(path: Text, data: bytes | None, acl: AclList, flags: int) -> bytes:
    return ustring(path) + buffer(data) + acl_list(acl) + i32(flags)


def create_ttl_body(path: Text, data: bytes | None, acl: AclList, flags: int, ttl: int) -> bytes:
    return create_body(path, data, acl, flags) + i64(ttl)


def path_and_int(path: Text, value: int) -> bytes:
    return ustring(path) + i32(value)


def path_and_watch(path: Text, watch: bool) -> bytes:
    return ustring(path) + boolean(watch)


def set_data_body(path: Text, data: bytes | None, version: int) -> bytes:
    return ustring(path) + buffer(data) + i32(version)


def set_acl_body(path: Text, acl: AclList, version: int) -> bytes:
    return ustring(path) + acl_list(acl) + i32(version)


def reconfig_body(joining: Text, leaving: Text, members: Text, config_id: int) -> bytes:
    return ustring(joining) + ustring(leaving) + ustring(members) + i64(config_id)


def set_watches_body(relative_zxid: int, *lists: Sequence[Text] | None) -> bytes:
    return i64(relative_zxid) + b"".join(strings(paths) for paths in lists)


def auth_body(kind: int, scheme: Text, auth: bytes | None) -> bytes:
    return i32(kind) + ustring(scheme) + buffer(auth)


MULTI_END = i32(-1) + b"\x01" + i32(-1)


def multi_body(parts: Iterable[tuple[int, bytes]], end: bytes = MULTI_END) -> bytes:
    """A multi or multiRead from (sub-operation type, record); `end` may be left out or wrong."""
    return b"".join(i32(kind) + b"\x00" + i32(-1) + body for kind, body in parts) + end


def _nothing() -> bytes:
    return b""


BODIES: dict[str, Callable[..., bytes]] = {
    "create": create_body, "create2": create_body, "createContainer": create_body,
    "createTTL": create_ttl_body, "delete": path_and_int, "deleteContainer": ustring,
    "exists": path_and_watch, "getData": path_and_watch, "getChildren": path_and_watch,
    "getChildren2": path_and_watch, "setData": set_data_body, "getACL": ustring, "sync": ustring,
    "getAllChildrenNumber": ustring, "getEphemerals": ustring, "setACL": set_acl_body,
    "check": path_and_int, "reconfig": reconfig_body, "checkWatches": path_and_int,
    "removeWatches": path_and_int, "addWatch": path_and_int, "setWatches": set_watches_body,
    "setWatches2": set_watches_body, "auth": auth_body, "sasl": buffer, "ping": _nothing,
    "whoAmI": _nothing, "closeSession": _nothing, "createSession": i32,
}  # fmt: skip


# ---- Reading ------------------------------------------------------------------------------


class Stat(NamedTuple):
    """The 68 bytes that describe a node."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    data_length: int
    children: int
    pzxid: int


class Handshake(NamedTuple):
    """A ConnectResponse; `read_only` is None when the server left the byte out."""

    protocol: int
    timeout: int
    session: int
    password: bytes | None
    read_only: bool | None


class Event(NamedTuple):
    """One watch notification."""

    zxid: int
    err: int
    type: int
    state: int
    path: str | None


class Reply(NamedTuple):
    """One reply; `value` is the decoded record, `rest` what came after it."""

    op: str
    xid: int
    zxid: int
    err: int
    value: object
    rest: bytes


Frame = Handshake | Event | Reply


class PartResult(NamedTuple):
    """The result of one part of a multi; the terminator is the last of them."""

    type: int
    done: bool
    err: int
    value: object


class Reader:
    """Reads Jute values from one frame."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise DecodeError(f"{size} bytes wanted at {self.position} of {len(self.data)}")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def i32(self) -> int:
        value: int = struct.unpack(">i", self.take(4))[0]
        return value

    def i64(self) -> int:
        value: int = struct.unpack(">q", self.take(8))[0]
        return value

    def boolean(self) -> bool:
        return self.take(1) != b"\x00"

    def buffer(self) -> bytes | None:
        size = self.i32()
        return None if size == -1 else self.take(size)

    def ustring(self) -> str | None:
        """Text; bytes that are not UTF-8 (a server may send CESU-8) are kept as escapes."""
        data = self.buffer()
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def strings(self) -> list[str | None]:
        return [self.ustring() for _ in range(self.i32())]

    def stat(self) -> Stat:
        return Stat(*struct.unpack(">qqqqiiiqiiq", self.take(68)))

    def acl(self) -> list[tuple[int, str | None, str | None]]:
        return [(self.i32(), self.ustring(), self.ustring()) for _ in range(self.i32())]

    def clients(self) -> list[tuple[str | None, str | None]]:
        return [(self.ustring(), self.ustring()) for _ in range(self.i32())]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.position)


def _path_and_stat(reader: Reader) -> object:
    return reader.ustring(), reader.stat()


def _data_and_stat(reader: Reader) -> object:
    return reader.buffer(), reader.stat()


def _children_and_stat(reader: Reader) -> object:
    return reader.strings(), reader.stat()


def _acl_and_stat(reader: Reader) -> object:
    return reader.acl(), reader.stat()


def _empty(_: Reader) -> object:
    return None


# Reading opcodes of a part's result: those of multi and, for 4 and 8, of multiRead.
_PART_VALUES: dict[int, Callable[[Reader], object]] = {
    -1: Reader.i32, 1: Reader.ustring, 15: _path_and_stat, 2: _empty, 5: Reader.stat,
    13: _empty, 4: _data_and_stat, 8: Reader.strings,
}  # fmt: skip


def _multi(reader: Reader) -> object:
    parts: list[PartResult] = []
    while not parts or not parts[-1].done:
        kind, done, err = reader.i32(), reader.boolean(), reader.i32()
        if done:
            value: object = None
        elif kind not in _PART_VALUES:
            raise DecodeError(f"part of type {kind}")
        else:
            value = _PART_VALUES[kind](reader)
        parts.append(PartResult(kind, done, err, value))
    return parts


_VALUES: dict[str, Callable[[Reader], object]] = {
    "create": Reader.ustring, "create2": _path_and_stat, "createContainer": _path_and_stat,
    "createTTL": _path_and_stat, "exists": Reader.stat, "setData": Reader.stat,
    "setACL": Reader.stat, "getData": _data_and_stat, "reconfig": _data_and_stat,
    "getACL": _acl_and_stat, "getChildren": Reader.strings, "getChildren2": _children_and_stat,
    "getAllChildrenNumber": Reader.i32, "getEphemerals": Reader.strings, "sync": Reader.ustring,
    "sasl": Reader.buffer, "whoAmI": Reader.clients, "addWatch": Reader.i32, "multi": _multi,
    "multiRead": _multi,
}  # fmt: skip


def decode_handshake(frame: bytes) -> Handshake:
    reader = Reader(frame)
    protocol, timeout, session, password = (
        reader.i32(), reader.i32(), reader.i64(), reader.buffer(),
    )  # fmt: skip
    tail = reader.rest()
    if len(tail) > 1:
        raise DecodeError(f"{len(tail)} bytes after a ConnectResponse")
    return Handshake(protocol, timeout, session, password, bool(tail[0]) if tail else None)


def decode_reply(op: str, frame: bytes) -> Reply:
    """Decode one reply; a body that does not fit its operation is returned raw in `rest`."""
    reader = Reader(frame)
    xid, zxid, err = reader.i32(), reader.i64(), reader.i32()
    value: object = None
    if err == 0:
        start = reader.position
        try:
            value = _VALUES.get(op, _empty)(reader)
        except DecodeError:
            value, reader.position = "undecodable", start
    return Reply(op, xid, zxid, err, value, reader.rest())


def decode_event(frame: bytes) -> Event:
    reader = Reader(frame)
    reader.i32()
    event = Event(reader.i64(), reader.i32(), reader.i32(), reader.i32(), reader.ustring())
    if reader.rest():
        raise DecodeError("bytes after a WatcherEvent")
    return event


def connect_request(
    session: int = 0,
    password: bytes | None = bytes(16),
    *,
    timeout: int = DEFAULT_TIMEOUT_MS,
    last_zxid: int = 0,
    protocol: int = 0,
    read_only: bool | None = False,
) -> bytes:
    """The record of a ConnectRequest; `read_only=None` leaves the byte out, as old clients do."""
    body = i32(protocol) + i64(last_zxid) + i32(timeout) + i64(session) + buffer(password)
    return body if read_only is None else body + boolean(read_only)


def session_password(session: int) -> bytes:
    """The password that belongs to a session id (48-bit linear congruential generator)."""
    mask = (1 << 48) - 1
    state = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & mask
    password = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & mask
        password += struct.pack("<I", state >> 16)
    return password


# ---- The connection -----------------------------------------------------------------------


class RawClient:
    """One TCP connection; requests may be pipelined, frames are received in order."""

    def __init__(self, port: int, *, host: str = HOST, timeout: float = 10.0) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False
        self.events: list[Event] = []
        self.last_zxid = 0
        self.handshake: Handshake | None = None
        self._received = bytearray()
        # (xid that the reply will carry, operation), in the order sent.
        self._pending: list[tuple[int, str]] = []
        self._next_xid = 1

    # Sending.

    def send_bytes(self, data: bytes) -> None:
        """Send raw bytes; a connection that the server has closed is noticed when reading."""
        try:
            self.socket.sendall(data)
        except OSError:
            if not self._received:
                self.closed = True

    def send_frame(self, body: bytes) -> None:
        self.send_bytes(i32(len(body)) + body)

    def encode(self, op: str | int, body: bytes = b"", xid: int | None = None) -> bytes:
        """One framed request, remembered as outstanding, for the caller to send."""
        name, code = (op, OPCODES[op]) if isinstance(op, str) else (f"opcode {op}", op)
        if xid is None:
            xid, self._next_xid = self._next_xid, self._next_xid + 1
        self._pending.append((PING_XID if name == "ping" else xid, name))
        return i32(len(body) + 8) + i32(xid) + i32(code) + body

    def send(self, op: str | int, body: bytes = b"", xid: int | None = None) -> None:
        self.send_bytes(self.encode(op, body, xid))

    # Receiving.

    def receive_frame(self) -> bytes:
        """The next frame without its length; ClosedError at the end, TimeoutError when late."""
        received = self._received
        while True:
            if len(received) >= 4:
                size = struct.unpack_from(">i", received)[0]
                if size < 0:
                    raise DecodeError(f"frame of {size} bytes")
                if len(received) >= 4 + size:
                    frame = bytes(received[4 : 4 + size])
                    del received[: 4 + size]
                    return frame
            received += self._receive_some()

    def _receive_some(self) -> bytes:
        try:
            chunk = b"" if self.closed else self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            chunk = b""
        if not chunk:
            self.close()
            raise ClosedError
        return chunk

    def receive(self) -> Frame:
        """The next frame, decoded: an Event, or the Reply to one of the outstanding requests."""
        frame = self.receive_frame()
        xid = struct.unpack_from(">i", frame)[0] if len(frame) >= 4 else 0
        if self._pending and self._pending[0][1] == "createSession" and xid == 0:
            # The only reply without a ReplyHeader.
            self._pending.pop(0)
            return decode_handshake(frame)
        for index, (expected, op) in enumerate(self._pending):
            if expected == xid:
                del self._pending[index]
                reply = decode_reply(op, frame)
                self.last_zxid = max(self.last_zxid, reply.zxid)
                return reply
        if xid != EVENT_XID:
            raise DecodeError(f"reply to no request: {frame.hex()}")
        return decode_event(frame)

    def receive_until_closed(self) -> list[Frame]:
        """Everything up to the end of the stream."""
        frames: list[Frame] = []
        while True:
            try:
                frames.append(self.receive())
            except ClosedError:
                return frames

    @property
    def outstanding(self) -> int:
        return len(self._pending)

    # Whole exchanges.

    def connect(self, request: bytes | None = None) -> Handshake:
        """Send a ConnectRequest record and read the answer; ClosedError when there is none."""
        self.send_frame(connect_request() if request is None else request)
        self.handshake = decode_handshake(self.receive_frame())
        return self.handshake

    def call(self, op: str | int, body: bytes = b"", xid: int | None = None) -> Reply:
        """One request and its reply; events that come before it are added to `events`."""
        self.send(op, body, xid)
        while True:
            frame = self.receive()
            if isinstance(frame, Reply):
                return frame
            if isinstance(frame, Event):
                self.events.append(frame)

    def half_close(self) -> None:
        """Say that no more requests will come; the server is then expected to close."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self) -> None:
        self.closed = True
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
