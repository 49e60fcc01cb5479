"""What a command can fail with, in zkCli's words (reference/operations.md section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping

from kraal.client import BadArgumentsError, RequestTimeoutError, ZooKeeperError
from kraal.errors import ErrorCode, KraalError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 127
EXIT_INTERRUPTED = 130


class CommandError(KraalError):
    """A command cannot be done; `code` is the exit code, None that of the command's failures."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class UnknownCommandError(CommandError):
    """There is no such command; the shell shows what there is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Command not found: Command not found {name}", EXIT_UNKNOWN)
        self.name = name


class NotConnectedError(CommandError):
    """The session was closed, or its credentials were refused."""

    def __init__(self) -> None:
        super().__init__("Not connected")


_ABOUT_A_PATH: Mapping[int, str] = {
    ErrorCode.NO_NODE: "Node does not exist: ",
    ErrorCode.NO_CHILDREN_FOR_EPHEMERALS: "Ephemerals cannot have children: ",
    ErrorCode.NODE_EXISTS: "Node already exists: ",
    ErrorCode.NOT_EMPTY: "Node not empty: ",
    ErrorCode.NOT_READ_ONLY: "Not a read-only call: ",
    ErrorCode.INVALID_ACL: "Acl is not valid : ",
    ErrorCode.NO_AUTH: "Insufficient permission : ",
    ErrorCode.BAD_ARGUMENTS: "Arguments are not valid : ",
    ErrorCode.BAD_VERSION: "version No is not valid : ",
    ErrorCode.QUOTA_EXCEEDED: "Quota has exceeded : ",
}
_WHOLE: Mapping[int, str] = {
    ErrorCode.RECONFIG_IN_PROGRESS: "Another reconfiguration is in progress -- concurrent"
    " reconfigs not supported (yet)",
    ErrorCode.NEW_CONFIG_NO_QUORUM: "No quorum of new config is connected and up-to-date with the"
    " leader of last commmitted config - try invoking reconfiguration after new servers are"
    " connected and synced",
}
_NAMES: Mapping[int, str] = {
    ErrorCode.API_ERROR: "APIError",
    ErrorCode.INVALID_ACL: "InvalidACL",
    ErrorCode.NOT_EMPTY: "Directory not empty",
    ErrorCode.SESSION_EXPIRED: "Session expired",
    ErrorCode.INVALID_CALLBACK: "Invalid callback",
    ErrorCode.SESSION_MOVED: "Session moved",
    ErrorCode.NOT_READ_ONLY: "Not a read-only call",
    ErrorCode.EPHEMERAL_ON_LOCAL_SESSION: "Ephemeral node on local session",
    ErrorCode.NO_WATCHER: "No such watcher",
    ErrorCode.RECONFIG_DISABLED: "Reconfig is disabled",
    ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH: "Session closed because client failed to"
    " authenticate",
    ErrorCode.QUOTA_EXCEEDED: "Quota has exceeded",
    ErrorCode.THROTTLED_OP: "Op throttled due to high load",
}
"""Where a name is not the one of the code."""


def message_of(error: ZooKeeperError) -> str:
    """What is said of a request that failed."""
    if isinstance(error, BadArgumentsError) and not str(error).startswith(error.text):
        return str(error)  # the client has refused it, and says why
    if whole := _WHOLE.get(error.code):
        return whole
    if beginning := _ABOUT_A_PATH.get(error.code):
        return f"{beginning}{'null' if error.path is None else error.path}"
    return keeper_message(error)


def keeper_message(error: ZooKeeperError) -> str:
    """What the exception of the Java client says."""
    if isinstance(error, RequestTimeoutError):
        return str(error)
    about = "" if not error.path else f" for {error.path}"
    return f"KeeperErrorCode = {_name(error.code)}{about}"


def _name(code: int) -> str:
    try:
        known = ErrorCode(code)
    except ValueError:
        return f"Unknown error {code}"
    return _NAMES.get(known, "".join(part.capitalize() for part in known.name.split("_")))
