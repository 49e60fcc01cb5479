"""What an operation of the client can raise: one class per code of the protocol.

ZooKeeperError
├── NoNodeError, NodeExistsError, …      one class per code that a server sends
├── UnknownCodeError                     a code that this version does not know
├── ConnectionLossError                  the connection went away; `sent` says whether in doubt
│   └── RequestTimeoutError              no answer within `request_timeout`
├── SessionExpiredError                  the session is over, and its ephemerals with it
├── TransactionError                     a transaction was refused as a whole
├── ClosedError                          used before `start` or after `close` (a RuntimeError, too)
├── ForkedError                          used in a process forked from the client's own
└── ForeignLoopError                     used on another event loop (a RuntimeError, too)

Codes: reference/client-protocol.md section 5.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kraal.errors import ErrorCode, KraalError
from kraal.model import path as paths


class ZooKeeperError(KraalError):
    """Base of everything that an operation raises; `code` is the protocol's number."""

    code: int = ErrorCode.SYSTEM_ERROR
    text: ClassVar[str] = "the operation failed"

    def __init__(self, message: str | None = None, *, path: str | None = None) -> None:
        self.path = path
        """The path of the request, as it was given to the operation."""
        shown = message or self.text
        super().__init__(shown if path is None else f"{shown}: {path}")


class RuntimeInconsistencyError(ZooKeeperError):
    """An operation of a transaction that was not tried because an earlier one was refused."""

    code = ErrorCode.RUNTIME_INCONSISTENCY
    text = "not tried: another operation of the transaction was refused"


class DataInconsistencyError(ZooKeeperError):
    code = ErrorCode.DATA_INCONSISTENCY
    text = "the server found its data inconsistent"


class ConnectionLossError(ZooKeeperError):
    """The connection went away before the answer came.

    `sent` false: the server has never seen the request. `sent` true: it is in doubt whether the
    request had its effect; the client never sends it again by itself.
    """

    code: int = ErrorCode.CONNECTION_LOSS
    text = "connection lost"

    def __init__(
        self, message: str | None = None, *, path: str | None = None, sent: bool = True
    ) -> None:
        doubt = "in doubt: the request was sent" if sent else "the request was not sent"
        super().__init__(f"{message or self.text} ({doubt})", path=path)
        self.sent = sent
        self._reason = message or self.text


class RequestTimeoutError(ConnectionLossError):
    """No answer within `request_timeout`; the request was sent, and its effect is in doubt."""

    code = ErrorCode.REQUEST_TIMEOUT
    text = "no answer in time"


class MarshallingError(ZooKeeperError):
    code = ErrorCode.MARSHALLING_ERROR
    text = "the server could not decode the request"


class UnimplementedError(ZooKeeperError):
    code = ErrorCode.UNIMPLEMENTED
    text = "the server has not got this, or it is off (TTL znodes need extendedTypesEnabled=true)"


class OperationTimeoutError(ZooKeeperError):
    code = ErrorCode.OPERATION_TIMEOUT
    text = "operation timed out"


class BadArgumentsError(ZooKeeperError):
    code = ErrorCode.BAD_ARGUMENTS
    text = "bad arguments"


class UnknownSessionError(ZooKeeperError):
    code = ErrorCode.UNKNOWN_SESSION
    text = "unknown session"


class NewConfigNoQuorumError(ZooKeeperError):
    code = ErrorCode.NEW_CONFIG_NO_QUORUM
    text = "no quorum of the new configuration is in step with the leader"


class ReconfigInProgressError(ZooKeeperError):
    code = ErrorCode.RECONFIG_IN_PROGRESS
    text = "another reconfiguration is in progress"


class ApiError(ZooKeeperError):
    code = ErrorCode.API_ERROR
    text = "API error"


class NoNodeError(ZooKeeperError):
    code = ErrorCode.NO_NODE
    text = "no such znode, or its parent is missing"


class NoAuthError(ZooKeeperError):
    code = ErrorCode.NO_AUTH
    text = "the ACL does not permit this"


class BadVersionError(ZooKeeperError):
    code = ErrorCode.BAD_VERSION
    text = "the znode has another version"


class NoChildrenForEphemeralsError(ZooKeeperError):
    code = ErrorCode.NO_CHILDREN_FOR_EPHEMERALS
    text = "ephemeral znodes cannot have children"


class NodeExistsError(ZooKeeperError):
    code = ErrorCode.NODE_EXISTS
    text = "the znode exists"


class NotEmptyError(ZooKeeperError):
    code = ErrorCode.NOT_EMPTY
    text = "the znode has children"


class SessionExpiredError(ZooKeeperError):
    """The session is over; its ephemerals and one-shot watches are gone."""

    code = ErrorCode.SESSION_EXPIRED
    text = "session expired"


class InvalidCallbackError(ZooKeeperError):
    code = ErrorCode.INVALID_CALLBACK
    text = "invalid callback"


class InvalidAclError(ZooKeeperError):
    code = ErrorCode.INVALID_ACL
    text = "the ACL is empty or has an invalid entry"


class AuthFailedError(ZooKeeperError):
    """The server refused credentials; the client stays in AUTH_FAILED until it is closed."""

    code = ErrorCode.AUTH_FAILED
    text = "authentication failed"


class SessionMovedError(ZooKeeperError):
    code = ErrorCode.SESSION_MOVED
    text = "the session has moved to another server"


class NotReadOnlyError(ZooKeeperError):
    code = ErrorCode.NOT_READ_ONLY
    text = "the server is read-only"


class EphemeralOnLocalSessionError(ZooKeeperError):
    code = ErrorCode.EPHEMERAL_ON_LOCAL_SESSION
    text = "a local session cannot own ephemerals"


class NoWatcherError(ZooKeeperError):
    code = ErrorCode.NO_WATCHER
    text = "no such watch"


class ReconfigDisabledError(ZooKeeperError):
    code = ErrorCode.RECONFIG_DISABLED
    text = "reconfiguration is disabled"


class SessionClosedRequireSaslAuthError(ZooKeeperError):
    code = ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH
    text = "the server requires authentication"


class QuotaExceededError(ZooKeeperError):
    code = ErrorCode.QUOTA_EXCEEDED
    text = "quota exceeded"


class ThrottledError(ZooKeeperError):
    """The server was too busy and did not execute the request."""

    code = ErrorCode.THROTTLED_OP
    text = "throttled by the server"


class UnknownCodeError(ZooKeeperError):
    """A server sent a code that this version does not know."""

    def __init__(self, code: int, *, path: str | None = None) -> None:
        super().__init__(f"unknown error code {code}", path=path)
        self.code = code


class TransactionError(ZooKeeperError):
    """A transaction was refused: nothing of it has happened.

    `index` is the position of the operation that was refused and `error` its reason; `results`
    has an exception for each operation, or None for those that would have succeeded.
    """

    def __init__(
        self, index: int, error: ZooKeeperError, results: Sequence[ZooKeeperError | None]
    ) -> None:
        super().__init__(f"operation {index} of the transaction was refused: {error}")
        self.code = error.code
        self.path = error.path
        self.index = index
        self.error = error
        self.results = list(results)


class ClosedError(ZooKeeperError, RuntimeError):
    """The client, stream or transaction was not started yet, or is over."""

    text = "the client is closed"


class ForkedError(ZooKeeperError):
    """The client belongs to the parent process: a session cannot be shared by two processes."""

    text = "this client was made before a fork; connect anew in the child process"


class ForeignLoopError(ZooKeeperError, RuntimeError):
    """The client was started on another event loop; nothing was sent."""

    text = "this client was started on another event loop; kraal.sync is the one for threads"


_BY_CODE: dict[int, type[ZooKeeperError]] = {
    kind.code: kind
    for kind in (
        RuntimeInconsistencyError, DataInconsistencyError, MarshallingError, UnimplementedError,
        OperationTimeoutError, BadArgumentsError, UnknownSessionError, NewConfigNoQuorumError,
        ReconfigInProgressError, ApiError, NoNodeError, NoAuthError, BadVersionError,
        NoChildrenForEphemeralsError, NodeExistsError, NotEmptyError, SessionExpiredError,
        InvalidCallbackError, InvalidAclError, AuthFailedError, SessionMovedError,
        NotReadOnlyError, EphemeralOnLocalSessionError, NoWatcherError, ReconfigDisabledError,
        SessionClosedRequireSaslAuthError, QuotaExceededError, ThrottledError,
        ConnectionLossError, RequestTimeoutError,
    )
}  # fmt: skip


def error_for(code: int, path: str | None = None) -> ZooKeeperError:
    """The exception for a code of a reply header or a transaction's result."""
    kind = _BY_CODE.get(code)
    if kind is None:
        return UnknownCodeError(code, path=path)
    if kind is BadArgumentsError and path is not None and (problem := _problem_of(path)):
        return kind(problem, path=path)
    return kind(path=path)


def reason_of(error: BaseException) -> str:
    """Why a connection or an attempt has failed: for logs, where no request is meant."""
    if isinstance(error, ConnectionLossError):
        return error._reason
    return str(error) or type(error).__name__


def _problem_of(path: str) -> str | None:
    """Why no server takes a path (section 5.4), if that is so."""
    if paths.is_valid(path.encode("utf-8", "replace")):
        return None
    for each in path:
        if each not in "/." and not paths.is_valid(b"/" + each.encode("utf-8", "replace")):
            return f"ZooKeeper permits no U+{ord(each):04X} in a path"
    return 'a path has no "." and "..", no empty names and no slash at its end'
