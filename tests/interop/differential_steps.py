"""The script of a differential run: steps that say what a client does, not what a server answers.

A script is made from a seed alone. What depends on a server (session ids, the last zxid) stands
in it as a placeholder and is filled in when the step runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.support import raw_client as raw

# Sessions of a run. The last one holds the super identity and also cleans up.
SLOTS = 4
SUPER_SLOT = SLOTS - 1
SUPER_AUTH = b"super:secret"
SUPER_DIGEST = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="
IDENTITIES: tuple[bytes | None, ...] = (b"u1:p1", b"u2:p2", None, SUPER_AUTH)

Kind = Literal[
    "requests",  # one request, or several pipelined ones
    "bad-frame",  # raw bytes that the server must answer by closing
    "new",  # connect with a new session
    "resume",  # reconnect with the session's id and password
    "resume-ahead",  # the same, claiming to have seen a zxid of the future
    "resume-wrong",  # the same with a wrong password, while not connected
    "resume-ended",  # the same for a session that was closed
    "drop",  # end the TCP connection, not the session
    "probe",  # a connection on the side with an unusual ConnectRequest
    "word",  # a four-letter word, or what looks like one
    "wipe",  # delete a subtree
]
# Kinds that may change the tree or the sessions, after which events can be under way.
READ_ONLY_OPS = frozenset(
    {"exists", "getData", "getACL", "getChildren", "getChildren2", "sync", "ping", "checkWatches",
     "removeWatches", "addWatch", "setWatches", "setWatches2", "multiRead", "getEphemerals",
     "getAllChildrenNumber", "whoAmI", "auth"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LastZxid:
    """The newest zxid seen on the server, plus `delta`."""

    delta: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `keep` cuts its body to so many bytes, `trail` adds bytes after it."""

    op: str | int
    args: tuple[object, ...] = ()
    xid: int | None = None
    keep: int | None = None
    trail: bytes = b""

    def body(self, last_zxid: int) -> bytes:
        args = [
            max(0, last_zxid + arg.delta) if isinstance(arg, LastZxid) else arg for arg in self.args
        ]
        if self.op in ("multi", "multiRead"):
            assert isinstance(args[0], tuple)
            assert isinstance(args[1], bytes)
            parts = [(part.code, part.call.body(last_zxid)) for part in args[0]]
            body = raw.multi_body(parts, args[1])
        elif isinstance(self.op, str) and self.op in raw.BODIES:
            body = raw.BODIES[self.op](*args)
        else:
            body = b"".join(arg for arg in args if isinstance(arg, bytes))
        return (body if self.keep is None else body[: self.keep]) + self.trail

    def __str__(self) -> str:
        extra = "" if self.xid is None else f" xid={self.xid}"
        extra += "" if self.keep is None else f" cut to {self.keep} bytes"
        extra += f" followed by {len(self.trail)} more bytes" if self.trail else ""
        return f"{self.op}({', '.join(_show(arg) for arg in self.args)}){extra}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multi or multiRead: the type sent in its header, and its record."""

    code: int
    call: Call

    def __str__(self) -> str:
        usual = raw.OPCODES.get(str(self.call.op))
        return str(self.call) if self.code == usual else f"type {self.code}: {self.call}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script. `payload` is the raw frame, ConnectRequest or word of its kind.

    `calls` of a connect are sent right behind it; requests are sent in two pieces at `split`.
    """

    kind: Kind
    slot: int = 0
    calls: tuple[Call, ...] = ()
    payload: bytes = b""
    path: str = "/"
    delta: int = 0
    timeout: int = raw.DEFAULT_TIMEOUT_MS
    read_only: bool | None = False
    split: int | None = None
    note: str = field(default="", compare=False)

    @property
    def requests(self) -> int:
        return max(1, len(self.calls))

    @property
    def settles(self) -> bool:
        """Whether events for other sessions may be under way after this step."""
        return self.kind != "requests" or any(call.op not in READ_ONLY_OPS for call in self.calls)

    def __str__(self) -> str:
        match self.kind:
            case "requests":
                split = "" if self.split is None else f" split at {self.split}"
                return f"session {self.slot}: {self._calls()}{split}"
            case "bad-frame":
                return f"session {self.slot}: raw bytes {_show(self.payload)} {self.note}"
            case "probe" | "word":
                return f"{self.kind} {_show(self.payload)} {self.note}"
            case "wipe":
                return f"session {self.slot}: wipe {self.path}"
            case "drop":
                return f"session {self.slot}: drop the connection"
            case _:
                return (
                    f"session {self.slot}: {self.kind} timeout={self.timeout} "
                    f"last zxid{self.delta:+d} readOnly={self.read_only} {self._calls()}"
                )

    def _calls(self) -> str:
        return " + ".join(str(call) for call in self.calls)


def _show(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], Part):
        return "[" + ", ".join(str(part) for part in value) + "]"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:190]}… ({len(text)} characters)"
