"""What every validation of a write has at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kraal.errors import ErrorCode, RequestError
from kraal.model.acl import Id
from kraal.model.ensemble import EnsembleConfig
from kraal.model.limits import MAX_BUFFER_BYTES
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.outstanding import Outstanding
from kraal.tree.data_tree import DataTree
from kraal.tree.znode import Znode

_OK = ErrorCode.OK


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that decide about writes."""

    extended_types: bool
    enforce_quota: bool
    reconfig_enabled: bool
    close_session_txn: bool
    max_record_bytes: int = 2 * MAX_BUFFER_BYTES
    """Largest transaction that a log may hold and a start will read back."""


class Membership(Protocol):
    """Whoever knows the ensemble: the part of its leader that reconfig asks."""

    def plan(
        self, joining: str | None, leaving: str | None, new_members: str | None, from_version: int
    ) -> EnsembleConfig:
        """The membership that is asked for. RequestError for all that speaks against it."""
        ...

    def proposed(self, config: EnsembleConfig) -> None:
        """The transaction that brings it is proposed next."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The state that writes are judged by."""

    tree: DataTree
    outstanding: Outstanding
    authority: Authority
    rules: Rules
    membership: Membership | None = None
    """None: this server stands alone."""


class Draft:
    """One write on its way to a transaction: who asks, and the header's zxid and time."""

    __slots__ = (
        "auth",
        "cxid",
        "ephemeral_error",
        "internal",
        "session_error",
        "session_id",
        "time_ms",
        "zxid",
    )

    def __init__(
        self, session_id: int, cxid: int, auth: tuple[Id, ...], zxid: int, time_ms: int
    ) -> None:
        self.session_id = session_id
        self.cxid = cxid
        self.auth = auth
        self.zxid = zxid
        self.time_ms = time_ms
        self.session_error: ErrorCode = _OK
        """Why the session may not write: SESSION_EXPIRED or SESSION_MOVED, else OK."""
        self.ephemeral_error: ErrorCode = _OK
        """Why the session may not own an ephemeral: it is a local one."""
        self.internal = False
        """Whether the server itself asks: the reaper needs no permission."""

    def check_session(self) -> None:
        """Raise RequestError when the session may not write."""
        if self.session_error:
            raise RequestError(self.session_error)


def require(context: Context, draft: Draft, node: Znode, perms: int) -> None:
    """Raise NO_AUTH unless the draft's identities have one of the permissions."""
    if not node.acl.world & perms and not context.authority.permits(node.acl, perms, draft.auth):
        raise RequestError(ErrorCode.NO_AUTH)


def require_node(context: Context, path: bytes) -> Znode:
    """The znode as it will be. Raises NO_NODE."""
    node = context.outstanding.node(path)
    if node is None:
        raise RequestError(ErrorCode.NO_NODE)
    return node
