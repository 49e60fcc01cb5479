"""The reply to a write whose transaction another server made: read from the transaction itself.

The server that validates a write knows its reply at once (`kraal.pipeline.prepare`). A follower
or observer that forwarded its client's write sees the committed transaction instead, applies it,
and answers with the same bytes. Forms: reference/client-protocol.md sections 3.2, 3.5 and 7.2.
"""

from __future__ import annotations

from typing import Any

from kraal.errors import ErrorCode
from kraal.pipeline.prepare import multi
from kraal.pipeline.reply import NO_REPLY, long_reply, refusal, reply
from kraal.tree.apply import Applied
from kraal.wire.jute.primitives import write_buffer
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import ErrorTxn, MultiTxn, Txn

# Plain ints, which are compared faster than members of an enumeration.
_CREATE, _RECONFIG = int(OpCode.CREATE), int(OpCode.RECONFIG)
_MOVED = int(ErrorCode.SESSION_MOVED)
_CREATES = frozenset(
    map(int, (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL))
)


def applied_reply(cxid: int, op: int, txn: Txn, applied: Applied, zxid: int) -> bytes:
    """The frame that answers a write of znodes, or closeSession, once it is applied here.

    `cxid` and `op` are those of the client's request, `applied` is what `kraal.tree.apply.apply`
    returned for `txn`, and `zxid` goes into the header. createSession has no reply of this form;
    where `apply` raised RequestError, `refusal` is the reply. Whose session goes on at another
    server gets `NO_REPLY`.
    """
    body = txn.body
    if isinstance(body, ErrorTxn):
        return NO_REPLY if body.code == _MOVED else refusal(cxid, zxid, body.code)
    if isinstance(body, MultiTxn):
        if body.failed and any(_is_moved(part) for _, part in body.ops):
            return NO_REPLY
        assert isinstance(applied, list)
        return long_reply(cxid, zxid, [*_results(body, applied), multi.END])
    assert isinstance(applied, bytes)
    return reply(cxid, zxid, _answer(txn.kind, body, applied, with_stat=op != _CREATE))


def _is_moved(part: Record) -> bool:
    return isinstance(part, ErrorTxn) and part.code == _MOVED


def _results(body: MultiTxn, stats: list[bytes]) -> list[bytes]:
    if body.failed:
        return [
            multi.failure(part.code if isinstance(part, ErrorTxn) else ErrorCode.OK)
            for _, part in body.ops
        ]
    return [
        multi.success(kind, _answer(kind, part, stat, with_stat=kind != _CREATE))
        for (kind, part), stat in zip(body.ops, stats, strict=True)
    ]


def _answer(kind: int, body: Any, stat: bytes, *, with_stat: bool) -> bytes:
    """The reply's body; `stat` is empty for what leaves no znode to show."""
    if kind in _CREATES:
        path = write_buffer(body.path)
        return path + stat if with_stat else path
    if kind == _RECONFIG:
        return write_buffer(body.data) + stat
    return stat
