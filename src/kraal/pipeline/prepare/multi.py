"""multi: several writes as one transaction, all or nothing.

Rules: reference/client-protocol.md section 7 and storage-formats.md section 3.3.
"""

from __future__ import annotations

import struct

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.create_mode import ALL_MODES, EPHEMERAL_MODES, TTL_MODES, CreateMode
from kraal.pipeline.prepare import znodes
from kraal.pipeline.prepare.draft import Context, Draft
from kraal.pipeline.prepare.znodes import Prepared
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto, txn

MULTI_HEADER = struct.Struct(">i?i")
"""type, done, err."""

_MODES_WITHOUT_TTL = ALL_MODES - TTL_MODES
_REQUESTS: dict[int, type[Record]] = {
    OpCode.CREATE: proto.CreateRequest,
    OpCode.CREATE2: proto.CreateRequest,
    OpCode.CREATE_CONTAINER: proto.CreateRequest,
    OpCode.CREATE_TTL: proto.CreateTtlRequest,
    OpCode.DELETE: proto.DeleteRequest,
    OpCode.SET_DATA: proto.SetDataRequest,
    OpCode.CHECK: proto.CheckVersionRequest,
}


def decode(frame: bytes, at: int) -> list[tuple[int, Record]]:
    """The sub-requests. DecodeError for what the reference refuses as a whole."""
    ops: list[tuple[int, Record]] = []
    while True:
        try:
            kind, done, _ = MULTI_HEADER.unpack_from(frame, at)
        except struct.error:
            raise DecodeError("a multi without its end") from None
        at += MULTI_HEADER.size
        if done:
            return ops
        shape = _REQUESTS.get(kind)
        if shape is None:
            raise DecodeError(f"operation {kind} inside a multi")
        request, at = shape.decode(frame, at)
        _check_shape(kind, request)
        ops.append((kind, request))


def _check_shape(kind: int, request: Record) -> None:
    if isinstance(request, proto.CreateRequest):
        if request.flags not in _MODES_WITHOUT_TTL:
            raise DecodeError(f"create flags {request.flags} inside a multi")
        if request.acl is None:
            raise DecodeError("a null ACL vector inside a multi")
    if isinstance(request, proto.CreateTtlRequest) and request.acl is None:
        raise DecodeError("a null ACL vector inside a multi")
    if getattr(request, "path", b"") is None:
        raise DecodeError(f"a null path in operation {kind} of a multi")


def prepare(context: Context, draft: Draft, ops: list[tuple[int, Record]]) -> Prepared:
    """Validate all sub-requests in order; the first that fails undoes the ones before."""
    outstanding = context.outstanding
    before = outstanding.mark()
    done: list[tuple[int, Record]] = []
    for index, (kind, request) in enumerate(ops):
        try:
            done.append(_prepare_one(context, draft, kind, request))
        except RequestError as error:
            outstanding.undo(before)
            later = len(ops) - index - 1
            done.append((OpCode.ERROR, txn.ErrorTxn(error.code)))
            skipped = txn.ErrorTxn(ErrorCode.RUNTIME_INCONSISTENCY)
            done += [(OpCode.ERROR, skipped)] * later
            break
    return OpCode.MULTI, txn.MultiTxn(done)


def _prepare_one(context: Context, draft: Draft, kind: int, request: Record) -> Prepared:
    match request:
        case proto.CreateRequest():
            return _prepare_create(context, draft, kind, request)
        case proto.CreateTtlRequest(flags=flags) if flags in _MODES_WITHOUT_TTL:
            # The TTL of a plain flag is ignored, and the plain create is what happens.
            plain = proto.CreateRequest(request.path, request.data, request.acl, flags)
            return _prepare_create(context, draft, OpCode.CREATE, plain)
        case proto.CreateTtlRequest():
            return znodes.create(context, draft, kind, request)
        case proto.DeleteRequest():
            return znodes.delete(context, draft, kind, request)
        case proto.SetDataRequest():
            return znodes.set_data(context, draft, kind, request)
        case proto.CheckVersionRequest():
            return znodes.check(context, draft, kind, request)
    raise AssertionError(f"no rule for {kind} inside a multi")


def _prepare_create(
    context: Context, draft: Draft, kind: int, request: proto.CreateRequest
) -> Prepared:
    if request.flags == CreateMode.CONTAINER:
        kind = OpCode.CREATE_CONTAINER
    elif kind == OpCode.CREATE_CONTAINER and request.flags not in EPHEMERAL_MODES:
        kind = OpCode.CREATE2
    return znodes.create(context, draft, kind, request)
