"""Which transactions may be applied at all: looked at before one of a peer is logged.

A leader validates what it proposes, so nothing here stops a sound transaction. One that would
break the tree of every member, and their logs with it, is refused while it is only bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kraal.errors import DecodeError
from kraal.model.limits import MAX_TTL_MS
from kraal.model.path import ROOT, UNDELETABLE
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import Txn

_SLASH = ROOT[0]


def check(txn: Txn) -> None:
    """DecodeError: no server makes such a transaction."""
    rule = _RULES.get(txn.kind)
    if rule is not None:
        rule(txn.body)


def _exists(body: Any) -> None:
    if not body.path or body.path[0] != _SLASH:
        raise DecodeError(f"a transaction with the path {body.path!r}")


def _creates(body: Any) -> None:
    _exists(body)
    if len(body.path) == 1:
        raise DecodeError("a transaction that creates the root")


def _creates_for_a_time(body: Any) -> None:
    _creates(body)
    if not 0 < body.ttl_ms <= MAX_TTL_MS:
        raise DecodeError(f"a transaction with the TTL {body.ttl_ms}")


def _deletes(body: Any) -> None:
    _exists(body)
    if body.path in UNDELETABLE:
        raise DecodeError(f"a transaction that deletes {body.path!r}")


def _ends_session(body: Any) -> None:
    for path in body.paths or ():
        if path is not None and (path[:1] != ROOT or path in UNDELETABLE):
            raise DecodeError(f"the end of a session that deletes {path!r}")


def _all_parts(body: Any) -> None:
    for kind, part in body.ops:
        rule = _RULES.get(kind)
        if rule is not None:
            rule(part)


_RULES: dict[int, Callable[[Any], None]] = {
    int(OpCode.CREATE): _creates,
    int(OpCode.CREATE2): _creates,
    int(OpCode.CREATE_CONTAINER): _creates,
    int(OpCode.CREATE_TTL): _creates_for_a_time,
    int(OpCode.DELETE): _deletes,
    int(OpCode.DELETE_CONTAINER): _deletes,
    int(OpCode.SET_DATA): _exists,
    int(OpCode.RECONFIG): _exists,
    int(OpCode.SET_ACL): _exists,
    int(OpCode.CLOSE_SESSION): _ends_session,
    int(OpCode.MULTI): _all_parts,
}
