"""From a write request to a transaction.

A body that does not decode is refused before it costs a zxid; every other refusal becomes an
error transaction with a zxid of its own (reference/client-protocol.md section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.pipeline.prepare import multi, znodes
from kraal.pipeline.prepare.draft import Context, Draft
from kraal.pipeline.prepare.znodes import Prepared
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto, txn
from kraal.wire.records.txn import Txn

Rule = Callable[[Context, Draft, int, Any], Prepared]
BODY = 8
"""Offset of the request's body behind xid and type."""


def _reconfig(context: Context, draft: Draft, _kind: int, _request: Record) -> Prepared:
    """Refused on a server that stands alone (section 5.2)."""
    if not context.rules.reconfig_enabled:
        raise RequestError(ErrorCode.RECONFIG_DISABLED)
    draft.check_session()
    raise RequestError(ErrorCode.UNIMPLEMENTED)


_RULES: dict[int, tuple[type[Record], Rule]] = {
    OpCode.CREATE: (proto.CreateRequest, znodes.create),
    OpCode.CREATE2: (proto.CreateRequest, znodes.create),
    OpCode.CREATE_CONTAINER: (proto.CreateRequest, znodes.create),
    OpCode.CREATE_TTL: (proto.CreateTtlRequest, znodes.create),
    OpCode.DELETE: (proto.DeleteRequest, znodes.delete),
    OpCode.DELETE_CONTAINER: (proto.DeleteContainerRequest, znodes.delete_container),
    OpCode.SET_DATA: (proto.SetDataRequest, znodes.set_data),
    OpCode.SET_ACL: (proto.SetAclRequest, znodes.set_acl),
    OpCode.RECONFIG: (proto.ReconfigRequest, _reconfig),
}
WRITES = frozenset((*_RULES, OpCode.MULTI, OpCode.CREATE_SESSION, OpCode.CLOSE_SESSION))


def decode_request(op: int, frame: bytes) -> Record:
    """The body of a write of a single znode. DecodeError when it does not follow the format."""
    return _RULES[op][0].decode(frame, BODY)[0]


class Preparer:
    """Drafts transactions against the tree and what is in flight."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._outstanding = context.outstanding

    def single(self, draft: Draft, cxid: int, op: int, request: Record) -> Txn:
        """A write of one znode; a refused one is an error transaction."""
        self._outstanding.begin()
        try:
            kind, body = _RULES[op][1](self._context, draft, op, request)
        except RequestError as error:
            return self.error(draft, cxid, error.code)
        return self._seal(draft, cxid, kind, body)

    def multi(self, draft: Draft, cxid: int, frame: bytes) -> Txn:
        self._outstanding.begin()
        try:
            ops = multi.decode(frame, BODY)
        except DecodeError:
            return self.error(draft, cxid, ErrorCode.MARSHALLING_ERROR)
        return self._seal(draft, cxid, *multi.prepare(self._context, draft, ops))

    def create_session(self, draft: Draft, timeout_ms: int) -> Txn:
        self._outstanding.begin()
        return self._seal(draft, 0, OpCode.CREATE_SESSION, txn.CreateSessionTxn(timeout_ms))

    def close_session(self, draft: Draft, cxid: int) -> Txn:
        """Deletes what the session owns, writes in flight included."""
        outstanding = self._outstanding
        outstanding.begin()
        paths: list[bytes | None] = []
        for path in outstanding.ephemerals(draft.session_id):
            znodes.delete_ephemeral(self._context, draft, path)
            paths.append(path)
        listed = paths if self._context.rules.close_session_txn else []
        return self._seal(draft, cxid, OpCode.CLOSE_SESSION, txn.CloseSessionTxn(listed))

    def error(self, draft: Draft, cxid: int, code: ErrorCode) -> Txn:
        """A refused write: logged, so that zxids have no gap."""
        made = Txn(
            draft.session_id, cxid, draft.zxid, draft.time_ms, OpCode.ERROR,
            txn.ErrorTxn(code), None,
        )  # fmt: skip
        made.encode()
        return made

    def _seal(self, draft: Draft, cxid: int, kind: int, body: Record) -> Txn:
        made = Txn(
            draft.session_id, cxid, draft.zxid, draft.time_ms, kind, body,
            self._outstanding.digest(),
        )  # fmt: skip
        made.encode()
        return made
