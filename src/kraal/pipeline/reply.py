"""Reply frames: header and body in one piece of bytes.

Layouts: reference/client-protocol.md sections 3.1, 3.4 and 7.2.
"""

from __future__ import annotations

import struct

from kraal.errors import ErrorCode
from kraal.model.session_id import NO_PASSWORD, PASSWORD_BYTES, password
from kraal.tree.apply import Applied
from kraal.wire.jute.primitives import write_buffer
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn
from kraal.wire.records.txn import Txn

HEADER = struct.Struct(">iiqi")
"""Frame length, xid, zxid, err."""
HEADER_BYTES = 16
_pack_header = HEADER.pack
_CREATED = struct.Struct(">iiqii")
"""The same and the length of a path."""
_RESULT = struct.Struct(">i?i")
_CODE = struct.Struct(">i")
RESULTS_END = _RESULT.pack(-1, True, -1)
_CONNECT = struct.Struct(">iiiqi")


def reply(xid: int, zxid: int, body: bytes) -> bytes:
    return _pack_header(HEADER_BYTES + len(body), xid, zxid, 0) + body


def refusal(xid: int, zxid: int, code: int) -> bytes:
    """A reply without a body."""
    return _pack_header(HEADER_BYTES, xid, zxid, code)


def connect_response(
    session_id: int, timeout_ms: int, *, with_read_only: bool, read_only: bool = False
) -> bytes:
    """The answer to a ConnectRequest; the readOnly byte is there if the request had one."""
    secret = password(session_id) if session_id else NO_PASSWORD
    tail = bytes([read_only]) if with_read_only else b""
    size = _CONNECT.size - 4 + PASSWORD_BYTES + len(tail)
    return _CONNECT.pack(size, 0, timeout_ms, session_id, PASSWORD_BYTES) + secret + tail


def write_reply(op: int, made: Txn, applied: Applied) -> bytes:
    """The reply to a write whose transaction was applied. `op` is what the client asked."""
    body = made.body
    match body:
        case txn.SetDataTxn() | txn.SetAclTxn():
            assert isinstance(applied, bytes)
            return reply(made.cxid, made.zxid, applied)
        case (
            txn.CreateTxn(path=path)
            | txn.CreateContainerTxn(path=path)
            | txn.CreateTtlTxn(path=path)
        ):
            assert isinstance(applied, bytes) and path is not None
            stat = b"" if op == OpCode.CREATE else applied
            size = len(path)
            return (
                _CREATED.pack(HEADER_BYTES + 4 + size + len(stat), made.cxid, made.zxid, 0, size)
                + path
                + stat
            )
        case txn.ErrorTxn(code=code):
            return refusal(made.cxid, made.zxid, code)
        case txn.MultiTxn():
            return reply(made.cxid, made.zxid, _multi_results(body, applied))
    return refusal(made.cxid, made.zxid, ErrorCode.OK)


def _multi_results(body: txn.MultiTxn, applied: Applied) -> bytes:
    parts: list[bytes] = []
    if body.failed:
        for _, part in body.ops:
            code = part.code if isinstance(part, txn.ErrorTxn) else ErrorCode.OK
            parts += (_RESULT.pack(OpCode.ERROR, False, code), _CODE.pack(code))
    else:
        assert isinstance(applied, list)
        for (kind, part), stat in zip(body.ops, applied, strict=True):
            parts += _multi_result(kind, part, stat)
    parts.append(RESULTS_END)
    return b"".join(parts)


def _multi_result(kind: int, part: object, stat: bytes) -> tuple[bytes, ...]:
    match part:
        case txn.CreateTxn(path=path) if kind == OpCode.CREATE:
            return _RESULT.pack(kind, False, 0), write_buffer(path)
        case (
            txn.CreateTxn(path=path)
            | txn.CreateContainerTxn(path=path)
            | txn.CreateTtlTxn(path=path)
        ):
            return _RESULT.pack(OpCode.CREATE2, False, 0), write_buffer(path), stat
        case txn.SetDataTxn():
            return _RESULT.pack(kind, False, 0), stat
    return (_RESULT.pack(kind, False, 0),)


def multi_read_result(kind: int, body: bytes) -> bytes:
    return _RESULT.pack(kind, False, 0) + body


def multi_read_refusal(code: int) -> bytes:
    return _RESULT.pack(OpCode.ERROR, False, code) + _CODE.pack(code)
