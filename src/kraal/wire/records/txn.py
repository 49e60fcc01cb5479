"""The reference's record group `txn`: what is replicated, logged and applied.

Layouts: reference/storage-formats.md sections 2.2 and 3.1. ACLs and paths stay bytes.
"""

from __future__ import annotations

import struct

from kraal.errors import DecodeError
from kraal.wire.jute.primitives import pack_int, read_buffer, read_count, unpack_int, write_buffer
from kraal.wire.jute.schema import (
    AclVector,
    Bool,
    Buffer,
    Int,
    Long,
    Record,
    UString,
    UStrings,
    record,
)
from kraal.wire.opcodes import OpCode

HEADER = struct.Struct(">qiqqi")
"""TxnHeader: clientId, cxid, zxid, time, type."""
DIGEST = struct.Struct(">iq")
"""TxnDigest: version, tree digest."""
DIGEST_VERSION = 2
_HEADER_BYTES, _DIGEST_BYTES = HEADER.size, DIGEST.size
_unpack_header, _unpack_digest = HEADER.unpack_from, DIGEST.unpack_from
_ERROR = OpCode.ERROR


@record
class CreateTxn(Record):
    path: UString
    data: Buffer
    acl: AclVector
    ephemeral: Bool
    parent_cversion: Int


@record
class CreateTxnV0(Record):
    """The form before 3.3.3, without the parent's counter."""

    path: UString
    data: Buffer
    acl: AclVector
    ephemeral: Bool


@record
class CreateContainerTxn(Record):
    path: UString
    data: Buffer
    acl: AclVector
    parent_cversion: Int


@record
class CreateTtlTxn(Record):
    path: UString
    data: Buffer
    acl: AclVector
    parent_cversion: Int
    ttl_ms: Long


@record
class DeleteTxn(Record):
    path: UString


@record
class SetDataTxn(Record):
    path: UString
    data: Buffer
    version: Int


@record
class SetAclTxn(Record):
    path: UString
    acl: AclVector
    version: Int


@record
class CheckVersionTxn(Record):
    path: UString
    version: Int


@record
class CreateSessionTxn(Record):
    timeout_ms: Int


@record
class CloseSessionTxn(Record):
    paths: UStrings


@record
class ErrorTxn(Record):
    code: Int


class MultiTxn(Record):
    """Sub-transactions as (type, record); the type of a failed one is `OpCode.ERROR`."""

    __slots__ = ("ops",)

    def __init__(self, ops: list[tuple[int, Record]]) -> None:
        self.ops = ops

    @property
    def failed(self) -> bool:
        return any(kind == OpCode.ERROR for kind, _ in self.ops)

    @classmethod
    def decode(cls, buf: bytes, at: int = 0) -> tuple[MultiTxn, int]:
        count, at = read_count(buf, at)
        ops: list[tuple[int, Record]] = []
        for _ in range(count):
            if at + 4 > len(buf):
                raise DecodeError("a multi is cut off")
            (kind,) = unpack_int(buf, at)
            body, at = read_buffer(buf, at + 4)
            if kind not in MULTI_BODIES:
                # The reference stops silently here (section 3.3): nothing later applies.
                break
            ops.append((kind, decode_body(kind, body or b"")[0]))
        return cls(ops), at

    def encode(self) -> bytes:
        parts = [pack_int(len(self.ops))]
        for kind, body in self.ops:
            parts += (pack_int(kind), write_buffer(body.encode()))
        return b"".join(parts)


BODIES: dict[int, type[Record]] = {
    OpCode.CREATE_SESSION: CreateSessionTxn,
    OpCode.CLOSE_SESSION: CloseSessionTxn,
    OpCode.CREATE: CreateTxn,
    OpCode.CREATE2: CreateTxn,
    OpCode.CREATE_CONTAINER: CreateContainerTxn,
    OpCode.CREATE_TTL: CreateTtlTxn,
    OpCode.DELETE: DeleteTxn,
    OpCode.DELETE_CONTAINER: DeleteTxn,
    OpCode.SET_DATA: SetDataTxn,
    OpCode.RECONFIG: SetDataTxn,
    OpCode.SET_ACL: SetAclTxn,
    OpCode.ERROR: ErrorTxn,
    OpCode.MULTI: MultiTxn,
}
MULTI_BODIES: dict[int, type[Record]] = {
    OpCode.CHECK: CheckVersionTxn,
    **{
        kind: BODIES[kind]
        for kind in (
            OpCode.CREATE,
            OpCode.CREATE2,
            OpCode.CREATE_CONTAINER,
            OpCode.CREATE_TTL,
            OpCode.DELETE,
            OpCode.DELETE_CONTAINER,
            OpCode.SET_DATA,
            OpCode.ERROR,
        )
    },
}


_SHAPES = {int(kind): shape for kind, shape in (*BODIES.items(), *MULTI_BODIES.items())}
"""By plain ints, which are compared faster than members of an enumeration."""


def decode_body(kind: int, buf: bytes, at: int = 0) -> tuple[Record, int]:
    """The body of a transaction or sub-transaction. DecodeError for unknown types."""
    shape = _SHAPES.get(kind)
    if shape is None:
        raise DecodeError(f"unsupported transaction type {kind}")
    if shape is CreateTxn:
        try:
            return CreateTxn.decode(buf, at)
        except DecodeError:
            old, end = CreateTxnV0.decode(buf, at)
            if end != len(buf):
                raise
            return CreateTxn(old.path, old.data, old.acl, old.ephemeral, -1), end
    if shape is CloseSessionTxn and at == len(buf):
        return CloseSessionTxn([]), at
    return shape.decode(buf, at)


def created_session_timeout(payload: bytes) -> int:
    """The timeout in ms of an encoded createSession transaction."""
    return CreateSessionTxn.decode(payload, HEADER.size)[0].timeout_ms


class Txn:
    """A transaction: header, decoded body and the digest of the tree behind it.

    `payload` is what the log record, the proposal and a follower share: encoded once.
    `digest` is None where the writer recorded none.
    """

    __slots__ = ("body", "client_id", "cxid", "digest", "kind", "payload", "time_ms", "zxid")

    def __init__(
        self,
        client_id: int,
        cxid: int,
        zxid: int,
        time_ms: int,
        kind: int,
        body: Record,
        digest: int | None,
        payload: bytes = b"",
    ) -> None:
        self.client_id = client_id
        self.cxid = cxid
        self.zxid = zxid
        self.time_ms = time_ms
        self.kind = kind
        self.body = body
        self.digest = digest
        self.payload = payload

    @classmethod
    def decode(cls, payload: bytes) -> Txn:
        """A transaction from a log record or a proposal. DecodeError when malformed."""
        size = len(payload)
        if size < _HEADER_BYTES:
            raise DecodeError("a transaction header is cut off")
        client_id, cxid, zxid, time_ms, kind = _unpack_header(payload)
        body, at = decode_body(kind, payload, _HEADER_BYTES)
        digest = None
        if kind != _ERROR and size - at >= _DIGEST_BYTES:
            version, value = _unpack_digest(payload, at)
            digest = value if version == DIGEST_VERSION else None
        return cls(client_id, cxid, zxid, time_ms, kind, body, digest, payload)

    def encode(self) -> bytes:
        """Header, body and digest; kept in `payload`."""
        head = HEADER.pack(self.client_id, self.cxid, self.zxid, self.time_ms, self.kind)
        if self.digest is None:
            self.payload = head + self.body.encode()
        else:
            self.payload = head + self.body.encode() + DIGEST.pack(DIGEST_VERSION, self.digest)
        return self.payload
