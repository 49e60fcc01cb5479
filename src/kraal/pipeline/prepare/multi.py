"""multi: several writes as one transaction, all or nothing.

Rules: reference/client-protocol.md section 7 and storage-formats.md section 3.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.create_mode import ALL_MODES, TTL_MODES, CreateMode
from kraal.pipeline.prepare import znodes
from kraal.pipeline.prepare.draft import Context, Draft
from kraal.pipeline.prepare.znodes import Prepared
from kraal.wire.jute.primitives import pack_int, write_buffer
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto

HEADER = struct.Struct(">i?i")
"""MultiHeader: type, done, err."""
END = HEADER.pack(-1, True, -1)
SubRequest = tuple[int, tuple[Any, ...]]

_MODES_WITHOUT_TTL = ALL_MODES - TTL_MODES
_SHAPES: dict[int, type[Record]] = {
    OpCode.CREATE: proto.CreateRequest,
    OpCode.CREATE2: proto.CreateRequest,
    OpCode.CREATE_CONTAINER: proto.CreateRequest,
    OpCode.CREATE_TTL: proto.CreateTtlRequest,
    OpCode.DELETE: proto.DeleteRequest,
    OpCode.SET_DATA: proto.SetDataRequest,
    OpCode.CHECK: proto.CheckVersionRequest,
    OpCode.GET_DATA: proto.PathWatchRequest,
    OpCode.GET_CHILDREN: proto.PathWatchRequest,
}


class NullAclError(DecodeError):
    """Stumbled over while the body is read, so that it costs no zxid."""


def decode(frame: bytes, at: int) -> list[SubRequest]:
    """The sub-requests. DecodeError for what the reference refuses as a whole.

    What it finds while reading comes before what it finds when all is read.
    """
    ops: list[SubRequest] = []
    while True:
        try:
            kind, done, _ = HEADER.unpack_from(frame, at)
        except struct.error:
            raise DecodeError("a multi without its end") from None
        at += HEADER.size
        if done:
            break
        shape = _SHAPES.get(kind)
        if shape is None:
            raise DecodeError(f"operation {kind} inside a multi")
        values, at = shape.unpack(frame, at)
        if shape is proto.CreateRequest:
            if values[3] not in ALL_MODES:
                raise DecodeError(f"create flags {values[3]} inside a multi")
            if values[2] is None:
                raise NullAclError("a null ACL vector inside a multi")
            if values[3] in TTL_MODES:
                raise DecodeError(f"create flags {values[3]} inside a multi")
        if ops and (kind in _RULES) != (ops[0][0] in _RULES):
            raise DecodeError("reads and writes in one multi")
        ops.append((kind, values))
    for kind, values in ops:
        if kind not in _RULES or values[0] is None:
            raise DecodeError(f"a read or a null path in operation {kind} of a multi")
    return ops


def prepare(context: Context, draft: Draft, ops: list[SubRequest]) -> Prepared:
    """Validate all sub-requests in order; the first that fails undoes the ones before."""
    outstanding = context.outstanding
    bodies = [pack_int(len(ops))]
    results: list[bytes] = []
    for index, (op, values) in enumerate(ops):
        try:
            kind, body, result = _RULES[op](context, draft, op, *values)
        except RequestError as error:
            outstanding.undo()
            if error.code is ErrorCode.MARSHALLING_ERROR:
                raise  # what cannot be understood fails the multi as a whole
            codes = [error.code] + [ErrorCode.RUNTIME_INCONSISTENCY] * (len(ops) - index - 1)
            bodies += [_sub_txn(OpCode.ERROR, pack_int(code)) for code in codes]
            results = [failure(code) for code in [ErrorCode.OK] * index + codes]
            break
        bodies.append(_sub_txn(kind, body))
        results.append(success(kind, result))
    return OpCode.MULTI, b"".join(bodies), b"".join([*results, END])


_WITH_STAT = (OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL)


def _sub_txn(kind: int, body: bytes) -> bytes:
    return pack_int(kind) + write_buffer(body)


def success(kind: int, result: bytes) -> bytes:
    """The result of a sub-transaction of this type, with the body of its reply."""
    shown = OpCode.CREATE2 if kind in _WITH_STAT else kind
    return HEADER.pack(shown, False, ErrorCode.OK) + result


def failure(code: int) -> bytes:
    """The result of a sub-request of a failed multi; the code is OK before the culprit."""
    return HEADER.pack(OpCode.ERROR, False, code) + pack_int(code)


def _create(context: Context, draft: Draft, op: int, *values: Any) -> Prepared:
    """Here the flags make a container, whatever the operation is called (section 7.1)."""
    if values[3] == CreateMode.CONTAINER:
        op = OpCode.CREATE_CONTAINER
    return znodes.create(context, draft, op, *values)


def _create_ttl(context: Context, draft: Draft, op: int, *values: Any) -> Prepared:
    if values[3] in _MODES_WITHOUT_TTL:
        # The TTL of a plain flag is ignored, and the plain create is what happens.
        return _create(context, draft, OpCode.CREATE, *values[:4])
    return znodes.create(context, draft, op, *values)


_RULES: dict[int, Callable[..., Prepared]] = {
    OpCode.CREATE: _create,
    OpCode.CREATE2: _create,
    OpCode.CREATE_CONTAINER: _create,
    OpCode.CREATE_TTL: _create_ttl,
    OpCode.DELETE: znodes.delete,
    OpCode.SET_DATA: znodes.set_data,
    OpCode.CHECK: znodes.check,
}
