"""The audit log: a line for each write that a client of this server asked for, and its outcome.

Writes that are refused before they are judged have none: by a full disk, by a server that only
reads, or because they do not decode. The reference leaves its own THROTTLED_OP out, too.

Lines are the reference's (reference/operations.md section 7.8). Writes are known by their frames
and judged by their replies, so that nothing of this costs anything where it is turned off.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Iterable, Iterator

from kraal.errors import DecodeError
from kraal.model.acl import ADMIN, CREATE, DELETE, READ, WRITE, Acl
from kraal.model.create_mode import SEQUENTIAL_MODES, CreateMode
from kraal.model.path import CONFIG, text
from kraal.model.session_id import show
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.prepare import multi
from kraal.wire.jute.primitives import read_buffer
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.data import decode_acls

logger = logging.getLogger("kraal.audit")
_unpack_error = struct.Struct(">16xi").unpack_from
_unpack_xid = struct.Struct(">4xi").unpack_from
_unpack_result = struct.Struct(">i?i").unpack_from
_unpack_code = struct.Struct(">i").unpack_from
_REPLY_BODY, _CODE_BYTES = 20, 4
_RESULT_BYTES, _STAT_BYTES = 9, 68
_FRAME_BODY = 8
_LETTERS = ((CREATE, "c"), (DELETE, "d"), (READ, "r"), (WRITE, "w"), (ADMIN, "a"))
CREATES = frozenset(
    {OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL}
)  # fmt: skip
_WITH_STAT = frozenset({OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL})
_NAMES = {
    OpCode.DELETE: "delete", OpCode.DELETE_CONTAINER: "delete", OpCode.SET_DATA: "setData",
    OpCode.SET_ACL: "setAcl", **dict.fromkeys(CREATES, "create"),
}  # fmt: skip
Fields = list[tuple[str, str]]


class Audit:
    """Of the clients of one server; what is asked waits here for its answer."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._asked: dict[ClientConnection, deque[tuple[int, int, bytes, Fields]]] = {}

    def asked(self, conn: ClientConnection, xid: int, op: int, frame: bytes) -> None:
        """A write is on its way."""
        users = ",".join(filter(None, map(self._authority.user_name, conn.auth)))
        session = conn.session
        who = [
            ("session", show(session.id) if session is not None else ""),
            ("user", users),
            ("ip", conn.host),
        ]
        self._asked.setdefault(conn, deque()).append((xid, op, frame, who))

    def withdrawn(self, conn: ClientConnection) -> None:
        """The write that was asked for last is not on its way: it was refused at once."""
        waiting = self._asked[conn]
        waiting.pop()
        if not waiting:
            del self._asked[conn]

    def answered(self, conn: ClientConnection, answer: bytes) -> None:
        """A reply of this connection, which may be to something else; an empty one ends it."""
        waiting = self._asked.get(conn)
        if not answer:
            self._asked.pop(conn, None)
            return
        if not waiting or waiting[0][0] != _unpack_xid(answer)[0]:
            return
        _, op, frame, who = waiting.popleft()
        if not waiting:
            del self._asked[conn]
        is_done = not _unpack_error(answer)[0]
        try:
            if op == OpCode.MULTI:
                parts = _parts(frame, answer) if is_done else []
                is_done = bool(parts)
                lines = parts or [[("operation", "multiOperation")]]
            else:
                lines = list(_what(op, frame, answer, is_done))
        except (DecodeError, struct.error):
            return  # it was refused as such
        for fields in lines:
            _log([*who, *fields], "success" if is_done else "failure")


def _what(op: int, frame: bytes, answer: bytes, is_done: bool) -> Iterator[Fields]:
    """Operation, znode, its kind and its ACL. Raises DecodeError."""
    if op == OpCode.RECONFIG:
        yield [("operation", "reconfig"), ("znode", text(CONFIG))]
    elif op in CREATES:
        request = proto.CreateRequest.decode(frame, _FRAME_BODY)[0]
        made = read_buffer(answer, _REPLY_BODY)[0] if is_done else request.path
        yield _fields(op, made, mode=request.flags)
    elif op == OpCode.SET_ACL:
        acl = proto.SetAclRequest.decode(frame, _FRAME_BODY)[0]
        yield _fields(op, acl.path, acl=acl.acl)
    elif op in _NAMES:
        yield _fields(op, read_buffer(frame, _FRAME_BODY)[0])


def _parts(frame: bytes, answer: bytes) -> list[Fields]:
    """The same of each part of a multi; none when it failed. Raises DecodeError."""
    results = _results(answer)
    if any(code for _, code, _ in results):
        return []
    parts = []
    for (op, values), (_, _, made) in zip(multi.decode(frame, _FRAME_BODY), results, strict=False):
        if op in CREATES:
            # As the reference, which looks the kind up by the name that was asked for.
            mode = None if values[3] in SEQUENTIAL_MODES else values[3]
            parts.append(_fields(op, made, mode=mode))
        elif op in _NAMES:
            parts.append(_fields(op, values[0]))
    return parts


def _results(answer: bytes) -> list[tuple[int, int, bytes | None]]:
    """Of a multi's reply: kind, error and created path of each part."""
    found: list[tuple[int, int, bytes | None]] = []
    at = _REPLY_BODY
    while True:
        kind, is_end, code = _unpack_result(answer, at)
        at += _RESULT_BYTES
        if is_end:
            return found
        made = None
        if kind == OpCode.ERROR:
            (code,) = _unpack_code(answer, at)
            at += _CODE_BYTES
        elif kind in CREATES:
            made, at = read_buffer(answer, at)
            at += _STAT_BYTES if kind in _WITH_STAT else 0
        elif kind == OpCode.SET_DATA:
            at += _STAT_BYTES
        found.append((kind, code, made))


def _fields(
    op: int, path: bytes | None, *, mode: int | None = None, acl: bytes | None = None
) -> Fields:
    fields = [("operation", _NAMES[OpCode(op)]), ("znode", text(path))]
    if mode is not None:
        try:
            fields.append(("znode_type", CreateMode(mode).name.lower()))
        except ValueError:
            fields.append(("znode_type", "unknown"))
    if acl is not None:
        fields.append(("acl", "".join(map(_shown, decode_acls(acl)))))
    return fields


def _shown(entry: Acl) -> str:
    letters = "".join(letter for bit, letter in _LETTERS if entry.perms & bit)
    return f"{entry.scheme}:{entry.id}:{letters}"


def _log(fields: Fields, result: str) -> None:
    line = "\t".join(f"{name}={_plain(value)}" for name, value in [*fields, ("result", result)])
    logger.log(logging.INFO if result != "failure" else logging.ERROR, "%s", line)


def _plain(value: str) -> str:
    """Without what would break the line, which names of znodes and users may have."""
    return "".join(char if char.isprintable() else "?" for char in value)


def session_over(user: str, session_id: int, paths: Iterable[bytes | None]) -> None:
    """The ephemerals of a session that ended are gone."""
    for path in paths:
        _log(
            [
                ("session", show(session_id)),
                ("user", user),
                ("operation", "ephemeralZNodeDeletionOnSessionCloseOrExpire"),
                ("znode", text(path)),
            ],
            "success",
        )


def server_event(user: str, operation: str, result: str) -> None:
    """`serverStart` or `serverStop`."""
    _log([("user", user), ("operation", operation)], result)
