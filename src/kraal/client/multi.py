"""Several operations in one request: what multi and multiRead look like on the wire.

Rules: reference/client-protocol.md section 7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TypeAlias

from kraal.client.codec import decode_names_at, decode_node_at
from kraal.client.errors import ZooKeeperError, error_for
from kraal.client.values import Created, Get, Node, Read
from kraal.errors import DecodeError
from kraal.wire.jute.primitives import read_text, unpack_int
from kraal.wire.opcodes import OpCode
from kraal.wire.records.data import STAT, STAT_BYTES, Stat
from kraal.wire.records.proto import PathWatchRequest

_HEADER = struct.Struct(">i?i")
_END = _HEADER.pack(-1, True, -1)

WriteResult: TypeAlias = str | Created | Stat | None
"""The path of a create, with its stat where the server sends one; the stat of a set."""
ReadResult: TypeAlias = Node | list[str]


def encode(operations: Iterable[tuple[OpCode, bytes]]) -> bytes:
    """The body of a multi with these operations."""
    pieces: list[bytes] = []
    for op, request in operations:
        pieces += (_HEADER.pack(op, False, -1), request)
    pieces.append(_END)
    return b"".join(pieces)


def encode_reads(reads: Iterable[tuple[Read, bytes]]) -> bytes:
    """The body of a multiRead of these paths."""
    return encode(
        (
            OpCode.GET_DATA if isinstance(read, Get) else OpCode.GET_CHILDREN,
            PathWatchRequest.pack(path, False),
        )
        for read, path in reads
    )


def decode_writes(body: bytes) -> list[WriteResult | int]:
    """A result for each operation, or its error code; the code of success is 0."""
    results: list[WriteResult | int] = []
    at = 0
    while True:
        kind, done, code = _HEADER.unpack_from(body, at)
        at += _HEADER.size
        if done:
            return results
        if kind == OpCode.ERROR:
            results.append(code)
            at += 4
        elif kind in (OpCode.CREATE, OpCode.CREATE2):
            path, at = read_text(body, at)
            if kind == OpCode.CREATE:
                results.append(path or "")
            else:
                results.append(Created(path or "", Stat._make(STAT.unpack_from(body, at))))
                at += STAT_BYTES
        elif kind == OpCode.SET_DATA:
            results.append(Stat._make(STAT.unpack_from(body, at)))
            at += STAT_BYTES
        elif kind in (OpCode.DELETE, OpCode.CHECK):
            results.append(None)
        else:
            raise DecodeError(f"a result of type {kind} in the answer to a multi")


def decode_reads(body: bytes) -> list[ReadResult | ZooKeeperError]:
    """A result or an error for each read."""
    results: list[ReadResult | ZooKeeperError] = []
    at = 0
    while True:
        kind, done, _ = _HEADER.unpack_from(body, at)
        at += _HEADER.size
        if done:
            return results
        if kind == OpCode.ERROR:
            (code,) = unpack_int(body, at)
            results.append(error_for(code))
            at += 4
        elif kind == OpCode.GET_DATA:
            node, at = decode_node_at(body, at)
            results.append(node)
        elif kind == OpCode.GET_CHILDREN:
            names, at = decode_names_at(body, at)
            results.append(names)
        else:
            raise DecodeError(f"a result of type {kind} in the answer to a multiRead")
