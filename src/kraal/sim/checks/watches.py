"""Watches: every event that was asked for, once, in order, and before what reveals the change.

The rules of reference/client-protocol.md sections 8.2 to 8.7, played for each connection
along the history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from kraal.errors import ErrorCode
from kraal.model.zxid import show
from kraal.sim.checks.history import History
from kraal.sim.checks.watcher import Watcher
from kraal.sim.protocol import Event
from kraal.sim.violation import violated
from kraal.tree.data_tree import EventType
from kraal.wire.opcodes import OpCode
from kraal.wire.records.data import Stat

if TYPE_CHECKING:
    from kraal.sim.client import Connection, Request, SimClient
    from kraal.sim.protocol import Reply

PROMISE = "watches tell every change in time"
CATCH_UP_ZXID = -1


class ClientWatches:
    """What a client is waiting for, as it knows; it asks for these again after a reconnect."""

    def __init__(self) -> None:
        self.data: dict[bytes, None] = {}
        self.exist: dict[bytes, None] = {}
        self.child: dict[bytes, None] = {}
        self.persistent: dict[bytes, None] = {}
        self.recursive: dict[bytes, None] = {}

    def lists(self) -> list[list[bytes]]:
        """In the order of setWatches2."""
        return [
            list(paths)
            for paths in (self.data, self.exist, self.child, self.persistent, self.recursive)
        ]

    def __bool__(self) -> bool:
        return any(self.lists())

    def told(self, kind: int, path: bytes) -> None:
        """An event came: what was waiting for it once is done."""
        if kind != EventType.NODE_CHILDREN_CHANGED:
            self.data.pop(path, None)
            self.exist.pop(path, None)
        if kind in (EventType.NODE_DELETED, EventType.NODE_CHILDREN_CHANGED):
            self.child.pop(path, None)


class _Played:
    """The watches of one connection as its server should have them."""

    def __init__(self) -> None:
        self.data: set[bytes] = set()
        self.child: set[bytes] = set()
        self.persistent: set[bytes] = set()
        self.recursive: set[bytes] = set()
        self.due: deque[Event] = deque()
        """Events that must come before anything later."""
        self.caught_up: list[Event] = []
        self.at = 0
        """How many events of the history are played."""

    def is_watching(self) -> bool:
        return bool(self.data or self.child or self.persistent or self.recursive)

    def play(self, history: History, zxid: int) -> None:
        """Everything up to zxid has happened."""
        if not self.is_watching():
            self.at = bisect_right(history.event_zxids, zxid)
            return
        events = history.events
        while self.at < len(events) and events[self.at][0] <= zxid:
            self._fire(*events[self.at])
            self.at += 1

    def _fire(self, zxid: int, kind: EventType, path: bytes) -> None:
        told = path in self.data or path in self.persistent or self._is_below(path)
        self.data.discard(path)
        if kind is EventType.NODE_DELETED:
            told = told or path in self.child
            self.child.discard(path)
        if told:
            self.due.append(Event(zxid, kind, path))
        if kind is EventType.NODE_DATA_CHANGED:
            return
        parent = path[: path.rindex(b"/")] or b"/"
        if parent in self.child or parent in self.persistent:
            self.due.append(Event(zxid, EventType.NODE_CHILDREN_CHANGED, parent))
        self.child.discard(parent)

    def _is_below(self, path: bytes) -> bool:
        return any(
            above in (path, b"/") or path.startswith(above + b"/") for above in self.recursive
        )


class WatchCheck(Watcher):
    """Plays the history for each connection and compares."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._played: dict[Connection, _Played] = {}

    def established(self, client: SimClient, connection: Connection) -> None:
        self._played[connection] = _Played()

    def disconnected(self, client: SimClient, connection: Connection) -> None:
        self._played.pop(connection, None)

    def event(self, client: SimClient, connection: Connection, event: Event) -> None:
        if connection.is_read_only:
            return
        played = self._played[connection]
        client.session.watches.told(event.kind, event.path)
        if event.zxid == CATCH_UP_ZXID:
            played.caught_up.append(event)
            return
        if event.zxid not in self._history.txns:
            violated(PROMISE, "%s is told %s, which is not committed", client.name, event)
        played.play(self._history, event.zxid)
        expected = played.due.popleft() if played.due else None
        if expected != event:
            violated(PROMISE, "%s is told %s instead of %s", client.name, event, expected)

    def replied(
        self, client: SimClient, connection: Connection, request: Request, reply: Reply
    ) -> None:
        if connection.is_read_only or reply.zxid <= 0:
            return
        played = self._played[connection]
        if request.op == OpCode.SET_WATCHES2:
            self._restored(client, played, request, reply)
            return
        played.play(self._history, reply.zxid)
        if played.due:
            violated(
                PROMISE, "%s has the reply of %s to %s, but was not told %s",
                client.name, show(reply.zxid), request, played.due[0],
            )  # fmt: skip
        if played.caught_up:
            violated(PROMISE, "%s is told %s for nothing", client.name, played.caught_up[0])
        self._register(client, played, request, reply)

    def _register(self, client: SimClient, played: _Played, request: Request, reply: Reply) -> None:
        watches, path, op = client.session.watches, request.path, request.op
        if op == OpCode.ADD_WATCH and not reply.err:
            if request.flags:
                played.recursive.add(path)
                watches.recursive[path] = None
            else:
                played.persistent.add(path)
                watches.persistent[path] = None
        elif not request.watch:
            return
        elif op == OpCode.EXISTS and reply.err in (0, ErrorCode.NO_NODE):
            played.data.add(path)
            (watches.exist if reply.err else watches.data)[path] = None
        elif op == OpCode.GET_DATA and not reply.err:
            played.data.add(path)
            watches.data[path] = None
        elif op in (OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2) and not reply.err:
            played.child.add(path)
            watches.child[path] = None

    def _restored(self, client: SimClient, played: _Played, request: Request, reply: Reply) -> None:
        """Section 8.7."""
        history, seen = self._history, request.tip
        zxid = history.floor(reply.zxid)
        data, exist, child, persistent, recursive = request.lists
        expected: list[Event] = []

        def tell(kind: EventType, path: bytes) -> None:
            expected.append(Event(CATCH_UP_ZXID, kind, path))

        for path in data:
            version = history.at(zxid, path)
            if version is None:
                tell(EventType.NODE_DELETED, path)
            elif Stat.unpack(version.stat).mzxid > seen:
                tell(EventType.NODE_DATA_CHANGED, path)
            else:
                played.data.add(path)
        for path in exist:
            if history.at(zxid, path) is not None:
                tell(EventType.NODE_CREATED, path)
            else:
                played.data.add(path)
        for path in child:
            version = history.at(zxid, path)
            if version is None:
                tell(EventType.NODE_DELETED, path)
            elif Stat.unpack(version.stat).pzxid > seen:
                tell(EventType.NODE_CHILDREN_CHANGED, path)
            else:
                played.child.add(path)
        played.persistent.update(persistent)
        played.recursive.update(recursive)
        played.at = bisect_right(history.event_zxids, reply.zxid)
        if expected != played.caught_up:
            violated(
                PROMISE, "%s catches up with %s instead of %s",
                client.name, played.caught_up, expected,
            )  # fmt: skip
        played.caught_up = []
