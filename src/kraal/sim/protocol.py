"""The client's side of the client protocol: requests as bytes, replies taken apart.

Written from reference/client-protocol.md, apart from the server's readers and writers.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kraal.wire.opcodes import OpCode

OPEN_ACL = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
STAT_BYTES = 68
EVENT_XID = -1
PING_XID = -2
SET_WATCHES_XID = -8
_INT = struct.Struct(">i")
_REPLY = struct.Struct(">iqi")
_EVENT = struct.Struct(">iqiiii")
_CONNECTED = struct.Struct(">iiqi")
_OP_HEADER = struct.Struct(">i?i")
_CONNECT = struct.Struct(">iqiqi")


def buffer(data: bytes | None) -> bytes:
    """A jute buffer or string."""
    return _INT.pack(-1) if data is None else _INT.pack(len(data)) + data


def frame(xid: int, op: int, body: bytes) -> bytes:
    """One request with its length."""
    return struct.pack(">iii", 8 + len(body), xid, op) + body


def connect(
    last_zxid: int, timeout_ms: int, session_id: int, password: bytes, *, read_only: bool
) -> bytes:
    """A ConnectRequest with its length."""
    record = _CONNECT.pack(0, last_zxid, timeout_ms, session_id, len(password))
    record += password + bytes([read_only])
    return _INT.pack(len(record)) + record


def create(path: bytes, data: bytes, flags: int) -> bytes:
    return buffer(path) + buffer(data) + OPEN_ACL + _INT.pack(flags)


def delete(path: bytes, version: int) -> bytes:
    return buffer(path) + _INT.pack(version)


def set_data(path: bytes, data: bytes, version: int) -> bytes:
    return buffer(path) + buffer(data) + _INT.pack(version)


def reconfig(joining: str | None, leaving: str | None, members: str | None) -> bytes:
    texts = [None if text is None else text.encode() for text in (joining, leaving, members)]
    return b"".join(map(buffer, texts)) + struct.pack(">q", -1)


def path_watch(path: bytes, watch: bool) -> bytes:
    return buffer(path) + bytes([watch])


def add_watch(path: bytes, *, recursive: bool) -> bytes:
    return buffer(path) + _INT.pack(int(recursive))


def multi(ops: list[tuple[int, bytes]]) -> bytes:
    parts = [_OP_HEADER.pack(op, False, -1) + body for op, body in ops]
    return b"".join([*parts, _OP_HEADER.pack(-1, True, -1)])


def set_watches(zxid: int, lists: list[list[bytes]]) -> bytes:
    """setWatches2: data, exist, child, persistent and recursive watches."""
    parts = [struct.pack(">q", zxid)]
    for paths in lists:
        parts += (_INT.pack(len(paths)), *map(buffer, paths))
    return b"".join(parts)


class Connected(NamedTuple):
    """A ConnectResponse; a session id of 0 says that the session is over."""

    timeout_ms: int
    session_id: int
    password: bytes
    is_read_only: bool


class Event(NamedTuple):
    """A watch event; its zxid is -1 when setWatches catches up."""

    zxid: int
    kind: int
    path: bytes


class Reply(NamedTuple):
    xid: int
    zxid: int
    err: int
    body: bytes


def read_connected(data: bytes) -> Connected:
    _, timeout_ms, session_id, size = _CONNECTED.unpack_from(data)
    at = _CONNECTED.size
    return Connected(timeout_ms, session_id, data[at : at + size], data[at + size :] == b"\1")


def read_reply(data: bytes) -> Reply:
    xid, zxid, err = _REPLY.unpack_from(data)
    return Reply(xid, zxid, err, data[_REPLY.size :])


def read_event(data: bytes) -> Event:
    _, zxid, _, kind, _, size = _EVENT.unpack_from(data)
    path = data[_EVENT.size :]
    assert len(path) == size, "an event with something behind its path"
    return Event(zxid, kind, path)


def read_buffer(data: bytes, at: int = 0) -> tuple[bytes | None, int]:
    (size,) = _INT.unpack_from(data, at)
    at += 4
    return (None, at) if size < 0 else (data[at : at + size], at + size)


def read_strings(data: bytes, at: int = 0) -> tuple[list[bytes], int]:
    (count,) = _INT.unpack_from(data, at)
    at += 4
    found = []
    for _ in range(count):
        text, at = read_buffer(data, at)
        found.append(text or b"")
    return found, at


class Result(NamedTuple):
    """Of one operation of a multi."""

    op: int
    err: int
    path: bytes | None
    stat: bytes


def read_results(data: bytes) -> list[Result]:
    """The body of a multi's reply."""
    results: list[Result] = []
    at = 0
    while True:
        op, done, _ = _OP_HEADER.unpack_from(data, at)
        at += _OP_HEADER.size
        if done:
            assert at == len(data), "something follows a multi's results"
            return results
        err, path, stat = 0, None, b""
        if op == OpCode.ERROR:
            (err,) = _INT.unpack_from(data, at)
            at += 4
        elif op in (OpCode.CREATE, OpCode.CREATE2):
            path, at = read_buffer(data, at)
        if op in (OpCode.CREATE2, OpCode.SET_DATA):
            stat = data[at : at + STAT_BYTES]
            at += STAT_BYTES
        results.append(Result(op, err, path, stat))
