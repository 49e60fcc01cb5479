"""Watches of the connections of this server, and how a change finds them.

Two tables, data and child, map a path to the connections that watch it and the modes in which
they do. Rules: reference/client-protocol.md sections 8.2 to 8.6. Events are put behind what
the connection was sent before, so they leave ahead of the reply that reveals the change.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum

from kraal.model.path import ancestors
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counts
from kraal.tree.acl_cache import AclList
from kraal.tree.data_tree import Event, EventType

STANDARD = 1
PERSISTENT = 2
RECURSIVE = 4
ANY = 7

_EVENT = struct.Struct(">iiqiiii")
_NOTIFICATION_XID = -1
_SYNC_CONNECTED = 3
_HEADER_BYTES = 28

_FIRED = {
    EventType.NODE_CREATED: "created",
    EventType.NODE_DELETED: "deleted",
    EventType.NODE_DATA_CHANGED: "changed",
    EventType.NODE_CHILDREN_CHANGED: "children",
}

Table = dict[bytes, dict[ClientConnection, int]]


class WatcherType(IntEnum):
    """What checkWatches and removeWatches look for (section 8.6)."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    PERSISTENT_RECURSIVE = 5


def notification(kind: EventType, path: bytes, zxid: int) -> bytes:
    """The frame of a watch event."""
    size = len(path)
    return (
        _EVENT.pack(_HEADER_BYTES + size, _NOTIFICATION_XID, zxid, 0, kind, _SYNC_CONNECTED, size)
        + path
    )


class WatchTable:
    """All watches of one server. `may_read` tells whether a connection may see a znode."""

    def __init__(
        self,
        may_read: Callable[[ClientConnection, AclList], bool],
        send: Callable[[ClientConnection, bytes], None],
        counters: Counts,
    ) -> None:
        self._may_read = may_read
        self._send = send
        self._counters = counters
        self.count = 0
        """Watches in both tables."""
        self.data: Table = {}
        self.child: Table = {}
        self.recursive = 0
        """Recursive watches in all: the walk to the ancestors is skipped at zero."""

    def __bool__(self) -> bool:
        return bool(self.data or self.child)

    def add_data(self, path: bytes, conn: ClientConnection, mode: int = STANDARD) -> None:
        watchers = self.data.setdefault(path, {})
        before = watchers.get(conn, 0)
        if mode == RECURSIVE and not before & RECURSIVE:
            self.recursive += 1
        if not before:
            self.count += 1
        watchers[conn] = before | mode
        conn.data_watches.add(path)

    def add_child(self, path: bytes, conn: ClientConnection, mode: int = STANDARD) -> None:
        watchers = self.child.setdefault(path, {})
        before = watchers.get(conn, 0)
        if not before:
            self.count += 1
        watchers[conn] = before | mode
        conn.child_watches.add(path)

    def modes(self, path: bytes, conn: ClientConnection) -> tuple[int, int]:
        """The connection's modes on exactly this path, in the data and the child table."""
        return self.data.get(path, {}).get(conn, 0), self.child.get(path, {}).get(conn, 0)

    def has(self, path: bytes, conn: ClientConnection, kind: WatcherType) -> bool:
        data, child = self.modes(path, conn)
        match kind:
            case WatcherType.CHILDREN:
                return bool(child & STANDARD)
            case WatcherType.DATA:
                return bool(data & STANDARD)
            case WatcherType.ANY:
                return bool(data | child)
            case WatcherType.PERSISTENT:
                return bool(data & PERSISTENT)
            case WatcherType.PERSISTENT_RECURSIVE:
                return bool(data & RECURSIVE)

    def remove(self, path: bytes, conn: ClientConnection, kind: WatcherType) -> bool:
        """Remove what `has` finds; returns whether there was anything."""
        if not self.has(path, conn, kind):
            return False
        match kind:
            case WatcherType.CHILDREN:
                self._drop(self.child, path, conn, STANDARD)
            case WatcherType.DATA:
                self._drop(self.data, path, conn, STANDARD)
            case WatcherType.ANY:
                self._drop(self.data, path, conn, ANY)
                self._drop(self.child, path, conn, ANY)
            case WatcherType.PERSISTENT:
                self._drop(self.data, path, conn, PERSISTENT)
                self._drop(self.child, path, conn, PERSISTENT)
            case WatcherType.PERSISTENT_RECURSIVE:
                self._drop(self.data, path, conn, RECURSIVE)
        return True

    def forget(self, conn: ClientConnection) -> None:
        """Remove every watch of a connection that is gone."""
        for path in conn.data_watches.copy():
            self._drop(self.data, path, conn, ANY)
        for path in conn.child_watches.copy():
            self._drop(self.child, path, conn, ANY)

    def fire(self, event: Event, zxid: int) -> None:
        """Tell everyone whom one change of the tree concerns."""
        kind, path, acl, parent_acl = event
        told = self._fire(self.data, kind, path, zxid, acl, ())
        if kind is EventType.NODE_DATA_CHANGED:
            return
        if kind is EventType.NODE_DELETED:
            self._fire(self.child, kind, path, zxid, acl, told)
        if parent_acl is not None and self.child:
            parent = path[: path.rindex(b"/")] or b"/"
            self._fire(self.child, EventType.NODE_CHILDREN_CHANGED, parent, zxid, parent_acl, ())

    def _fire(
        self,
        table: Table,
        kind: EventType,
        path: bytes,
        zxid: int,
        acl: AclList,
        skip: dict[ClientConnection, None] | tuple[()],
    ) -> dict[ClientConnection, None] | tuple[()]:
        watchers = table.get(path)
        told: dict[ClientConnection, None] = dict.fromkeys(watchers) if watchers else {}
        if self.recursive and table is self.data:
            for ancestor in ancestors(path):
                above = table.get(ancestor)
                if above:
                    told.update((c, None) for c, modes in above.items() if modes & RECURSIVE)
        if not told:
            return ()
        if watchers:
            for conn in [c for c, modes in watchers.items() if modes & STANDARD]:
                self._drop(table, path, conn, STANDARD)
        frame = notification(kind, path, zxid)
        self._counters.watches_fired[_FIRED[kind]].add(len(told))
        for conn in told:
            if conn not in skip and self._may_read(conn, acl):
                self._counters.watch_bytes += len(frame)
                self._send(conn, frame)
        return told

    def _drop(self, table: Table, path: bytes, conn: ClientConnection, modes: int) -> None:
        watchers = table.get(path)
        if watchers is None or conn not in watchers:
            return
        before = watchers[conn]
        left = before & ~modes
        if before & ~left & RECURSIVE:
            self.recursive -= 1
        if left:
            watchers[conn] = left
            return
        self.count -= 1
        del watchers[conn]
        if not watchers:
            del table[path]
        (conn.data_watches if table is self.data else conn.child_watches).discard(path)
