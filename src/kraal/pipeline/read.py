"""Requests that one server answers from its own tree.

Each method takes the connection, the xid and the whole frame (xid, type, body), and returns
the reply's bytes. The order of checks is that of reference/client-protocol.md section 5.3:
paths are looked up as they are, never validated. The hot ones take the frame apart in place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.acl import ADMIN, READ
from kraal.model.limits import MULTI_READ_MAX_REPLY_BYTES
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.reply import (
    RESULTS_END,
    long_reply,
    multi_read_refusal,
    multi_read_result,
    refusal,
    reply,
    sync_reply,
)
from kraal.pipeline.watch_limit import WatchLimit
from kraal.pipeline.watch_table import PERSISTENT, RECURSIVE, WatcherType, WatchTable, notification
from kraal.tree.data_tree import DataTree, EventType
from kraal.tree.znode import Znode
from kraal.wire.jute.primitives import canonical, pack_int, read_buffer, write_buffer, write_text
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto
from kraal.wire.records.data import Stat

_INT = struct.Struct(">i")
_unpack_int = _INT.unpack_from
_MULTI_HEADER = struct.Struct(">i?i")
_PATH = 12
"""Offset of a path behind xid, type and its length."""
BODY = 8
_DATA_REPLY = struct.Struct(">iiqii")
_STAT_REPLY = struct.Struct(">iiqi68s")
_BLANKS = bytes(range(0x21))
"""What Java's trim takes away."""
PING_XID = -2
NO_ZXID = -1
ReadHandler = Callable[[ClientConnection, int, bytes], bytes]


def path_and_watch(frame: bytes) -> tuple[bytes, bool]:
    """The body of exists, getData and getChildren. DecodeError, also for a null path."""
    try:
        (size,) = _unpack_int(frame, BODY)
        end = _PATH + size
        if size < 0:
            raise DecodeError("a null path")
        return frame[_PATH:end], frame[end] != 0
    except (struct.error, IndexError):
        raise DecodeError("a path or its flag is cut off") from None


class Reader:
    """Answers reads; `handlers` maps opcodes to its methods."""

    def __init__(
        self, tree: DataTree, watches: WatchTable, authority: Authority, limit: WatchLimit
    ) -> None:
        self._tree = tree
        self._nodes = tree.nodes
        self._watches = watches
        self._authority = authority
        self._limit = limit
        self.handlers: dict[int, ReadHandler] = {
            OpCode.GET_DATA: self.get_data,
            OpCode.EXISTS: self.exists,
            OpCode.GET_CHILDREN: self.get_children,
            OpCode.GET_CHILDREN2: self.get_children2,
            OpCode.PING: self.ping,
            OpCode.GET_ACL: self.get_acl,
            OpCode.SYNC: self.sync,
            OpCode.MULTI_READ: self.multi_read,
            OpCode.CHECK_WATCHES: self.check_watches,
            OpCode.REMOVE_WATCHES: self.remove_watches,
            OpCode.ADD_WATCH: self.add_watch,
            OpCode.SET_WATCHES: self.set_watches,
            OpCode.SET_WATCHES2: self.set_watches2,
            OpCode.GET_EPHEMERALS: self.get_ephemerals,
            OpCode.GET_ALL_CHILDREN_NUMBER: self.get_all_children_number,
            OpCode.WHO_AM_I: self.who_am_i,
        }

    def _readable(self, conn: ClientConnection, path: bytes) -> Znode:
        node = self._nodes.get(path)
        if node is None:
            raise RequestError(ErrorCode.NO_NODE)
        if not node.acl.world & READ and not self._authority.permits(node.acl, READ, conn.auth):
            raise RequestError(ErrorCode.NO_AUTH)
        return node

    def _watch_data(self, conn: ClientConnection, path: bytes) -> None:
        if self._limit.most:
            self._limit.admit(conn, path not in conn.data_watches)
        self._watches.add_data(path, conn)

    def _watch_children(self, conn: ClientConnection, path: bytes) -> None:
        if self._limit.most:
            self._limit.admit(conn, path not in conn.child_watches)
        self._watches.add_child(path, conn)

    def get_data(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        path, watch = path_and_watch(frame)
        node = self._readable(conn, path)
        if watch:
            self._watch_data(conn, canonical(path))
        data = node.data
        zxid = self._tree.last_zxid
        if data is None:
            return _DATA_REPLY.pack(88, xid, zxid, 0, -1) + node.stat
        size = len(data)
        return _DATA_REPLY.pack(88 + size, xid, zxid, 0, size) + data + node.stat

    def exists(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        path, watch = path_and_watch(frame)
        node = self._nodes.get(path)
        if node is None:
            if b"\0" in path:
                raise RequestError(ErrorCode.BAD_ARGUMENTS)
            if watch:
                self._watch_data(conn, canonical(path))
            return refusal(xid, self._tree.last_zxid, ErrorCode.NO_NODE)
        if not node.acl.world & READ and not self._authority.permits(node.acl, READ, conn.auth):
            raise RequestError(ErrorCode.NO_AUTH)
        if watch:
            self._watch_data(conn, canonical(path))
        return _STAT_REPLY.pack(84, xid, self._tree.last_zxid, 0, node.stat)

    def _children(self, conn: ClientConnection, frame: bytes) -> tuple[bytes, Znode]:
        path, watch = path_and_watch(frame)
        node = self._readable(conn, path)
        if watch:
            self._watch_children(conn, canonical(path))
        return self._tree.children_reply(path, node), node

    def get_children(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        return reply(xid, self._tree.last_zxid, self._children(conn, frame)[0])

    def get_children2(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        children, node = self._children(conn, frame)
        return reply(xid, self._tree.last_zxid, children + node.stat)

    def get_all_children_number(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        path = _required(proto.PathRequest.decode(frame, BODY)[0].path)
        self._readable(conn, path)
        return reply(xid, self._tree.last_zxid, pack_int(self._tree.descendants(path)))

    def get_acl(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        path = _required(proto.PathRequest.decode(frame, BODY)[0].path)
        node = self._nodes.get(path)
        if node is None:
            raise RequestError(ErrorCode.NO_NODE)
        if not self._authority.permits(node.acl, READ | ADMIN, conn.auth):
            raise RequestError(ErrorCode.NO_AUTH)
        shown = self._authority.shown_list(node.acl, conn.auth)
        return reply(xid, self._tree.last_zxid, shown + node.stat)

    def ping(self, _conn: ClientConnection, _xid: int, _frame: bytes) -> bytes:
        return refusal(PING_XID, self._tree.last_zxid, ErrorCode.OK)

    def sync(self, _conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        """Where the leader answers itself, keeping the connection's order is enough."""
        path = proto.PathRequest.decode(frame, BODY)[0].path
        return sync_reply(xid, self._tree.last_zxid, path)

    def who_am_i(self, conn: ClientConnection, xid: int, _frame: bytes) -> bytes:
        parts = [pack_int(len(conn.auth))]
        for identity in conn.auth:
            parts += (write_text(identity.scheme), write_text(self._authority.user_name(identity)))
        return reply(xid, self._tree.last_zxid, b"".join(parts))

    def get_ephemerals(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        prefix = proto.PathRequest.decode(frame, BODY)[0].path
        owned = self._tree.ephemerals.get(conn.session.id if conn.session else 0, {})
        if prefix is None or prefix.strip(_BLANKS) in (b"", b"/"):
            found = list(owned)
        else:
            found = [path for path in owned if path.startswith(prefix)]
        body = pack_int(len(found)) + b"".join([write_buffer(path) for path in found])
        return reply(xid, self._tree.last_zxid, body)

    def multi_read(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        """getData and getChildren together; one that fails does not affect the others."""
        parts: list[bytes] = []
        size = 0
        for kind, path in _decode_multi_read(frame):
            try:
                node = self._readable(conn, path)
                if kind == OpCode.GET_DATA:
                    body = write_buffer(node.data) + node.stat
                else:
                    body = self._tree.children_reply(path, node)
                parts.append(multi_read_result(kind, body))
            except RequestError as error:
                parts.append(multi_read_refusal(error.code))
            size += len(parts[-1])
            if size > MULTI_READ_MAX_REPLY_BYTES:
                raise RequestError(ErrorCode.MARSHALLING_ERROR)
        parts.append(RESULTS_END)
        return long_reply(xid, self._tree.last_zxid, parts)

    def add_watch(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        request = proto.WatchModeRequest.decode(frame, BODY)[0]
        if request.mode not in (0, 1):
            raise DecodeError(f"unknown watch mode {request.mode}")
        if request.path is not None:
            path = canonical(request.path)
            if self._limit.most:
                with_children = request.mode == 0 and path not in conn.child_watches
                self._limit.admit(conn, (path not in conn.data_watches) + with_children)
            if request.mode == 0:
                self._watches.add_data(path, conn, PERSISTENT)
                self._watches.add_child(path, conn, PERSISTENT)
            else:
                self._watches.add_data(path, conn, RECURSIVE)
        return reply(xid, self._tree.last_zxid, pack_int(ErrorCode.OK))

    def _watcher(self, frame: bytes) -> tuple[bytes, WatcherType]:
        request = proto.WatchModeRequest.decode(frame, BODY)[0]
        try:
            return canonical(request.path or b""), WatcherType(request.mode)
        except ValueError:
            raise DecodeError(f"unknown watcher type {request.mode}") from None

    def check_watches(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        path, kind = self._watcher(frame)
        found = self._watches.has(path, conn, kind)
        code = ErrorCode.OK if found else ErrorCode.NO_WATCHER
        return refusal(xid, self._tree.last_zxid, code)

    def remove_watches(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        path, kind = self._watcher(frame)
        found = self._watches.remove(path, conn, kind)
        code = ErrorCode.OK if found else ErrorCode.NO_WATCHER
        return refusal(xid, self._tree.last_zxid, code)

    def set_watches(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        request = proto.SetWatches.decode(frame, BODY)[0]
        return self._restore_watches(conn, xid, request, [], [])

    def set_watches2(self, conn: ClientConnection, xid: int, frame: bytes) -> bytes:
        request = proto.SetWatches2.decode(frame, BODY)[0]
        return self._restore_watches(
            conn, xid, request, request.persistent_watches, request.persistent_recursive_watches
        )

    def _restore_watches(
        self,
        conn: ClientConnection,
        xid: int,
        request: proto.SetWatches | proto.SetWatches2,
        persistent: list[bytes | None] | None,
        recursive: list[bytes | None] | None,
    ) -> bytes:
        """Catch up with what changed while the client was away (section 8.7)."""
        seen = request.relative_zxid
        for path in _listed(request.data_watches):
            node = self._nodes.get(path)
            if node is None:
                self._catch_up(conn, EventType.NODE_DELETED, path)
            elif Stat.unpack(node.stat).mzxid > seen:
                self._catch_up(conn, EventType.NODE_DATA_CHANGED, path)
            else:
                self._watches.add_data(path, conn)
        for path in _listed(request.exist_watches):
            if path in self._nodes:
                self._catch_up(conn, EventType.NODE_CREATED, path)
            else:
                self._watches.add_data(path, conn)
        for path in _listed(request.child_watches):
            node = self._nodes.get(path)
            if node is None:
                self._catch_up(conn, EventType.NODE_DELETED, path)
            elif Stat.unpack(node.stat).pzxid > seen:
                self._catch_up(conn, EventType.NODE_CHILDREN_CHANGED, path)
            else:
                self._watches.add_child(path, conn)
        for path in _listed(_without_null(persistent)):
            self._watches.add_data(path, conn, PERSISTENT)
            self._watches.add_child(path, conn, PERSISTENT)
        for path in _listed(_without_null(recursive)):
            self._watches.add_data(path, conn, RECURSIVE)
        return refusal(xid, self._tree.last_zxid, ErrorCode.OK)

    def _catch_up(self, conn: ClientConnection, kind: EventType, path: bytes) -> None:
        conn.out.append(notification(kind, path, NO_ZXID))


def _required(path: bytes | None) -> bytes:
    if path is None:
        raise DecodeError("a null path")
    return path


def _without_null(paths: list[bytes | None] | None) -> list[bytes | None] | None:
    """A null path in the lists without catching up is no error, and watches nothing."""
    return None if paths is None else [path for path in paths if path is not None]


def _listed(paths: list[bytes | None] | None) -> Iterator[bytes]:
    """One after the other: what stands before a null path has its effect."""
    if paths is None:
        raise DecodeError("a null vector of watches")
    for path in paths:
        yield canonical(_required(path))


def _decode_multi_read(frame: bytes) -> list[tuple[int, bytes]]:
    ops: list[tuple[int, bytes]] = []
    at = BODY
    while True:
        try:
            kind, done, _ = _MULTI_HEADER.unpack_from(frame, at)
        except struct.error:
            raise DecodeError("a multiRead without its end") from None
        at += _MULTI_HEADER.size
        if done:
            return ops
        if kind not in (OpCode.GET_DATA, OpCode.GET_CHILDREN):
            raise DecodeError(f"operation {kind} inside a multiRead")
        path, at = read_buffer(frame, at)
        if at >= len(frame):
            raise DecodeError("a flag is cut off")
        at += 1  # the watch flag is ignored
        ops.append((kind, _required(path)))
