"""The client for threads: the asyncio API without `await`.

    with kraal.sync.connect("127.0.0.1:2181") as zk:
        zk.create("/greeting", b"hello")

Promises and errors are those of `kraal.client`; what it promises to a task holds for a
thread. `kraal.sync.timeout` limits how long calls may wait.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kraal.client import (
    CREATOR_ALL_ACL,
    NULL,
    OPEN_ACL,
    READ_ACL,
    Acl,
    AclNode,
    ApiError,
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    Children,
    ClosedError,
    ConnectionLossError,
    Created,
    CreateMode,
    DataInconsistencyError,
    DigestMd5,
    EphemeralOnLocalSessionError,
    EventType,
    ForeignLoopError,
    ForkedError,
    Get,
    GetChildren,
    Gssapi,
    Id,
    InvalidAclError,
    InvalidCallbackError,
    MarshallingError,
    NewConfigNoQuorumError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    Node,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NotReadOnlyError,
    NoWatcherError,
    OperationTimeoutError,
    Perms,
    Protected,
    QuotaExceededError,
    ReconfigDisabledError,
    ReconfigInProgressError,
    RequestTimeoutError,
    Retry,
    RuntimeInconsistencyError,
    Server,
    Session,
    SessionClosedRequireSaslAuthError,
    SessionExpiredError,
    SessionMovedError,
    SessionState,
    Stat,
    ThrottledError,
    TlsOptions,
    TransactionError,
    UnimplementedError,
    UnknownCodeError,
    UnknownSessionError,
    WatchCallback,
    WatcherKind,
    WatchEvent,
    ZooKeeperError,
    digest_acl,
)
from kraal.sync.client import Client, EventStream, RetryingClient, Transaction, Watch, connect
from kraal.sync.deadline import timeout
from kraal.sync.portal import Event

if TYPE_CHECKING:
    from kraal.sync import recipes as recipes


__all__ = [
    "CREATOR_ALL_ACL",
    "NULL",
    "OPEN_ACL",
    "READ_ACL",
    "Acl",
    "AclNode",
    "ApiError",
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "Children",
    "Client",
    "ClosedError",
    "ConnectionLossError",
    "CreateMode",
    "Created",
    "DataInconsistencyError",
    "DigestMd5",
    "EphemeralOnLocalSessionError",
    "Event",
    "EventStream",
    "EventType",
    "ForeignLoopError",
    "ForkedError",
    "Get",
    "GetChildren",
    "Gssapi",
    "Id",
    "InvalidAclError",
    "InvalidCallbackError",
    "MarshallingError",
    "NewConfigNoQuorumError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NoWatcherError",
    "Node",
    "NodeExistsError",
    "NotEmptyError",
    "NotReadOnlyError",
    "OperationTimeoutError",
    "Perms",
    "Protected",
    "QuotaExceededError",
    "ReconfigDisabledError",
    "ReconfigInProgressError",
    "RequestTimeoutError",
    "Retry",
    "RetryingClient",
    "RuntimeInconsistencyError",
    "Server",
    "Session",
    "SessionClosedRequireSaslAuthError",
    "SessionExpiredError",
    "SessionMovedError",
    "SessionState",
    "Stat",
    "ThrottledError",
    "TlsOptions",
    "Transaction",
    "TransactionError",
    "UnimplementedError",
    "UnknownCodeError",
    "UnknownSessionError",
    "Watch",
    "WatchCallback",
    "WatchEvent",
    "WatcherKind",
    "ZooKeeperError",
    "connect",
    "digest_acl",
    "timeout",
]


def __getattr__(name: str) -> object:
    if name != "recipes":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("kraal.sync.recipes")


def __dir__() -> list[str]:
    return [*__all__, "recipes"]
