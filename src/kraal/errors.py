"""Error codes of the client protocol and the exceptions of kraal.

KraalError
├── ConfigError          a setting is wrong: key, value and reason (exit code 2)
├── DecodeError          bytes from a peer, a client or a disk do not follow the format
├── RequestError         a client's request is refused with an ErrorCode
├── RestoreError         a running server cannot be given a snapshot
└── StorageError         the disk said no, or holds what it must not
    ├── DataDirError     the data directory cannot be used (exit code 3)
    ├── CorruptError     a file is damaged in a way that cannot be skipped
    └── CutError         the history cannot be cut where a leader asks for it

Source of the codes: reference/client-protocol.md section 5.1.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Error codes of the reply header; the names are the reference's, in Python's case."""

    OK = 0
    SYSTEM_ERROR = -1
    RUNTIME_INCONSISTENCY = -2
    DATA_INCONSISTENCY = -3
    CONNECTION_LOSS = -4
    MARSHALLING_ERROR = -5
    UNIMPLEMENTED = -6
    OPERATION_TIMEOUT = -7
    BAD_ARGUMENTS = -8
    UNKNOWN_SESSION = -12
    NEW_CONFIG_NO_QUORUM = -13
    RECONFIG_IN_PROGRESS = -14
    API_ERROR = -100
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    INVALID_CALLBACK = -113
    INVALID_ACL = -114
    AUTH_FAILED = -115
    SESSION_MOVED = -118
    NOT_READ_ONLY = -119
    EPHEMERAL_ON_LOCAL_SESSION = -120
    NO_WATCHER = -121
    REQUEST_TIMEOUT = -122
    RECONFIG_DISABLED = -123
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124
    QUOTA_EXCEEDED = -125
    THROTTLED_OP = -127


class KraalError(Exception):
    """Base of every exception that kraal raises on purpose.

    All of them can be pickled and copied, as they must be to leave a pool of processes.
    """

    def __reduce__(self) -> tuple[object, ...]:
        # Texts and attributes as they are: constructors take other things, and make texts of them.
        return _restored, (type(self), self.args), self.__dict__


class ConfigError(KraalError):
    """A setting is wrong; the message names the key, the value and the reason.

    `key` is the setting, where it is one alone.
    """

    def __init__(self, text: str, key: str | None = None) -> None:
        super().__init__(text)
        self.key = key


class DecodeError(KraalError):
    """Bytes do not follow the format: a length, a count or a marker is impossible."""


class RequestError(KraalError):
    """A request is refused; `code` goes into the reply header."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


class StorageError(KraalError):
    """Writing, flushing or reading the data directory failed."""


class DataDirError(StorageError):
    """The data directory is missing, foreign or in use."""


class CorruptError(StorageError):
    """A file of the data directory is damaged; the message names file, offset and kind."""


class RestoreError(KraalError):
    """A snapshot cannot be restored; the text says why."""


class CutError(StorageError):
    """The history cannot be cut where a leader asks for it; nothing was changed."""


def _restored(kind: type[KraalError], args: tuple[object, ...]) -> KraalError:
    error = kind.__new__(kind)
    error.args = args
    return error
