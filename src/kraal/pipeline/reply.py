"""Reply frames: header and body in one piece of bytes.

Layouts: reference/client-protocol.md sections 2.3, 3.1 and 7.3.
"""

from __future__ import annotations

import struct

from kraal.model.session_id import NO_PASSWORD, PASSWORD_BYTES, password
from kraal.wire.jute.primitives import canonical, write_buffer
from kraal.wire.opcodes import OpCode

HEADER = struct.Struct(">iiqi")
"""Frame length, xid, zxid, err."""
HEADER_BYTES = 16
_pack_header = HEADER.pack
NO_REPLY = b""
"""In place of a reply: the connection is closed. Its session goes on at another server, which is
never told (reference/client-protocol.md section 2.8)."""
_RESULT = struct.Struct(">i?i")
_CODE = struct.Struct(">i")
RESULTS_END = _RESULT.pack(-1, True, -1)
_CONNECT = struct.Struct(">iiiqi")


def reply(xid: int, zxid: int, body: bytes) -> bytes:
    return _pack_header(HEADER_BYTES + len(body), xid, zxid, 0) + body


def long_reply(xid: int, zxid: int, parts: list[bytes]) -> bytes:
    """A reply of many parts, which are copied once."""
    size = HEADER_BYTES + sum(map(len, parts))
    return b"".join([_pack_header(size, xid, zxid, 0), *parts])


def refusal(xid: int, zxid: int, code: int) -> bytes:
    """A reply without a body."""
    return _pack_header(HEADER_BYTES, xid, zxid, code)


def refusal_with(xid: int, zxid: int, code: int, body: bytes) -> bytes:
    """A reply with an error and a body nonetheless: refused logins by SASL have one."""
    return _pack_header(HEADER_BYTES + len(body), xid, zxid, code) + body


def sync_reply(xid: int, zxid: int, path: bytes | None) -> bytes:
    """The answer to a sync echoes the path."""
    return reply(xid, zxid, write_buffer(None if path is None else canonical(path)))


def connect_response(
    session_id: int, timeout_ms: int, *, with_read_only: bool, read_only: bool = False
) -> bytes:
    """The answer to a ConnectRequest; the readOnly byte is there if the request had one."""
    secret = password(session_id) if session_id else NO_PASSWORD
    tail = bytes([read_only]) if with_read_only else b""
    size = _CONNECT.size - 4 + PASSWORD_BYTES + len(tail)
    return _CONNECT.pack(size, 0, timeout_ms, session_id, PASSWORD_BYTES) + secret + tail


def multi_read_result(kind: int, body: bytes) -> bytes:
    return _RESULT.pack(kind, False, 0) + body


def multi_read_refusal(code: int) -> bytes:
    return _RESULT.pack(OpCode.ERROR, False, code) + _CODE.pack(code)
