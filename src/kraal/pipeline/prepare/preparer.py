"""From a write request to a transaction, and to the reply that its commit releases.

A body that does not decode is refused before it costs a zxid; every other refusal becomes an
error transaction with a zxid of its own (reference/client-protocol.md section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.acl import WRITE
from kraal.model.path import CONFIG
from kraal.pipeline.prepare import multi, znodes
from kraal.pipeline.prepare.draft import Context, Draft, require, require_node
from kraal.pipeline.prepare.znodes import Prepared
from kraal.pipeline.reply import HEADER as REPLY_HEADER
from kraal.pipeline.reply import HEADER_BYTES as REPLY_HEADER_BYTES
from kraal.pipeline.reply import refusal
from kraal.tree.apply import Change
from kraal.wire.jute.primitives import pack_int, write_buffer, write_vector
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.txn import DIGEST, DIGEST_VERSION, HEADER

BODY = 8
"""Offset of the request's body behind xid and type."""
_pack_header = HEADER.pack
_pack_digest = DIGEST.pack
_pack_reply = REPLY_HEADER.pack


PreparedTxn = tuple[bytes, list[Change], int, bytes]
"""A transaction ready to be logged, and what its commit does here: the payload, the changes,
the running digest behind them, and the reply."""


def _reconfig(
    context: Context,
    draft: Draft,
    kind: int,
    joining: str | None,
    leaving: str | None,
    new_members: str | None,
    from_version: int,
) -> Prepared:
    """A new membership (reference/quorum-protocol.md section 6.4); none for who stands alone."""
    if not context.rules.reconfig_enabled:
        raise RequestError(ErrorCode.RECONFIG_DISABLED)
    draft.check_session()
    membership = context.membership
    if membership is None:
        raise RequestError(ErrorCode.UNIMPLEMENTED)
    config = membership.plan(joining, leaving, new_members, from_version).with_version(draft.zxid)
    require(context, draft, require_node(context, CONFIG), WRITE)
    prepared = znodes.set_config(context, draft, kind, config.text().encode())
    membership.proposed(config)
    return prepared


_Unpack = Callable[[bytes, int], tuple[tuple[Any, ...], int]]
_RULES: dict[OpCode, tuple[_Unpack, Callable[..., Prepared]]] = {
    OpCode.CREATE: (proto.CreateRequest.unpack, znodes.create),
    OpCode.CREATE2: (proto.CreateRequest.unpack, znodes.create),
    OpCode.CREATE_CONTAINER: (proto.CreateRequest.unpack, znodes.create),
    OpCode.CREATE_TTL: (proto.CreateTtlRequest.unpack, znodes.create),
    OpCode.DELETE: (proto.DeleteRequest.unpack, znodes.delete),
    OpCode.DELETE_CONTAINER: (proto.DeleteContainerRequest.unpack, znodes.delete_container),
    OpCode.SET_DATA: (proto.SetDataRequest.unpack, znodes.set_data),
    OpCode.SET_ACL: (proto.SetAclRequest.unpack, znodes.set_acl),
    OpCode.RECONFIG: (proto.ReconfigRequest.unpack, _reconfig),
}
# By plain ints, which are compared faster than members of an enumeration.
_RULE_OF = {int(op): rule for op, rule in _RULES.items()}
ZNODE_WRITES = frozenset((*_RULE_OF, int(OpCode.MULTI)))
SESSION_WRITES = frozenset((OpCode.CREATE_SESSION, OpCode.CLOSE_SESSION))


def _check_multi(frame: bytes, at: int) -> None:
    try:
        multi.decode(frame, at)
    except multi.NullAclError:
        raise
    except DecodeError:
        return  # it costs a zxid, so it is the leader that refuses it


BODY_CHECKS: dict[int, Callable[[bytes, int], object]] = {
    **{op: unpack for op, (unpack, _) in _RULE_OF.items()},
    int(OpCode.MULTI): _check_multi,
}
"""For each write, what raises DecodeError where `Preparer.write` does: such a request must not get
to an original leader, which would never commit anything again (reference/client-protocol.md
section 13)."""


class Preparer:
    """Drafts transactions against the tree and what is in flight."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._outstanding = context.outstanding
        self._digests = context.tree.digests
        self._max_body = context.rules.max_record_bytes - HEADER.size - DIGEST.size

    def write(self, draft: Draft, op: int, frame: bytes) -> PreparedTxn:
        """A write of znodes. DecodeError when the body of a single one does not decode."""
        outstanding = self._outstanding
        found = _RULE_OF.get(op)
        try:
            if found is not None:
                unpack, rule = found
                values, _ = unpack(frame, BODY)
                outstanding.begin()
                kind, body, answer = rule(self._context, draft, op, *values)
            else:
                outstanding.begin()
                kind, body, answer = self._multi(draft, frame)
        except RequestError as error:
            return self.refused(draft, error.code)
        cxid, zxid = draft.cxid, draft.zxid
        payload = _pack_header(draft.session_id, cxid, zxid, draft.time_ms, kind) + body
        if len(body) > self._max_body:
            # No start would read it back.
            outstanding.undo()
            return self.refused(draft, ErrorCode.MARSHALLING_ERROR)
        digest = outstanding.digest
        if self._digests:
            payload += _pack_digest(DIGEST_VERSION, digest)
        reply = _pack_reply(REPLY_HEADER_BYTES + len(answer), cxid, zxid, 0) + answer
        return payload, outstanding.changes, digest, reply

    def _multi(self, draft: Draft, frame: bytes) -> Prepared:
        try:
            ops = multi.decode(frame, BODY)
        except multi.NullAclError:
            raise
        except DecodeError:
            # Unlike a single write's, its body is only read when it has its zxid.
            raise RequestError(ErrorCode.MARSHALLING_ERROR) from None
        return multi.prepare(self._context, draft, ops)

    def delete_container(self, draft: Draft, path: bytes) -> PreparedTxn:
        """The reaper's deletion; in vain when the znode is in use again."""
        self._outstanding.begin()
        draft.internal = True
        try:
            kind, body, _ = znodes.delete_container(
                self._context, draft, OpCode.DELETE_CONTAINER, path
            )
        except RequestError as error:
            return self.refused(draft, error.code)
        return self._seal(draft, kind, body, b"")

    def create_session(self, draft: Draft, timeout_ms: int, answer: bytes) -> PreparedTxn:
        self._outstanding.begin()
        return self._seal(draft, OpCode.CREATE_SESSION, pack_int(timeout_ms), answer)

    def close_session(self, draft: Draft) -> PreparedTxn:
        """Deletes what the session owns, writes in flight included."""
        outstanding = self._outstanding
        outstanding.begin()
        paths = outstanding.ephemerals(draft.session_id)
        for path in paths:
            znodes.delete_ephemeral(self._context, draft, path)
        listed = paths if self._context.rules.close_session_txn else []
        body = write_vector(write_buffer, listed)
        if len(body) > self._max_body:
            body = write_vector(write_buffer, [])  # what the session owns goes anyway
        answer = refusal(draft.cxid, draft.zxid, ErrorCode.OK)
        return self._seal(draft, OpCode.CLOSE_SESSION, body, answer)

    def refused(self, draft: Draft, code: ErrorCode) -> PreparedTxn:
        """A refused write is logged, so that zxids have no gap; it has no digest."""
        head = _pack_header(draft.session_id, draft.cxid, draft.zxid, draft.time_ms, OpCode.ERROR)
        answer = refusal(draft.cxid, draft.zxid, code)
        return head + pack_int(code), [], self._outstanding.digest, answer

    def _seal(self, draft: Draft, kind: int, body: bytes, answer: bytes) -> PreparedTxn:
        outstanding = self._outstanding
        payload = _pack_header(draft.session_id, draft.cxid, draft.zxid, draft.time_ms, kind) + body
        if self._digests:
            payload += _pack_digest(DIGEST_VERSION, outstanding.digest)
        return payload, outstanding.changes, outstanding.digest, answer
