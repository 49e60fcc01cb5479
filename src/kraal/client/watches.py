"""The watches of one client: who is told of which event, and what is registered anew.

Keys are paths as the server has them, in UTF-8. One-shot watches are in three tables because a
reconnection tells the server which kind of change each waits for (reference/client-protocol.md
section 8.7); persistent ones stay until they are removed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from kraal.client.arguments import check_callback
from kraal.client.values import EventType, WatchCallback, WatcherKind, WatchEvent
from kraal.errors import ErrorCode
from kraal.model import path as paths
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import SetWatches, SetWatches2

logger = logging.getLogger("kraal.client")

SET_WATCHES_MAX_BYTES = 128 * 1024
"""Paths in one frame of SetWatches2, as the Java client splits them."""


class Table(Enum):
    """Where a watch is remembered; the value is what its removal is called."""

    DATA = WatcherKind.DATA
    EXIST = "exist"
    CHILD = WatcherKind.CHILDREN
    PERSISTENT = WatcherKind.PERSISTENT
    RECURSIVE = WatcherKind.PERSISTENT_RECURSIVE

    @property
    def kind(self) -> WatcherKind:
        """What the server calls it: a watch on existence is a data watch there."""
        return WatcherKind.DATA if self is Table.EXIST else WatcherKind(self.value)


class Registration:
    """A watch that a request asks for; it counts once the server has answered."""

    __slots__ = ("callback", "path", "table")

    def __init__(self, table: Table, path: bytes, callback: WatchCallback) -> None:
        check_callback(callback)
        self.table = table
        self.path = path
        self.callback = callback

    def rivals(self, other: Registration) -> bool:
        """Whether one watch on the server stands for both."""
        return self.path == other.path and self.table.kind == other.table.kind


Callbacks = dict[WatchCallback, None]
"""An ordered set: the same callback is told once."""

_EVENT_TYPES = {kind.value: kind for kind in EventType if kind > 0}
_REMOVED = {
    WatcherKind.DATA: EventType.DATA_WATCH_REMOVED,
    WatcherKind.CHILDREN: EventType.CHILD_WATCH_REMOVED,
    WatcherKind.PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    WatcherKind.PERSISTENT_RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}
_ONE_SHOT = (Table.DATA, Table.EXIST, Table.CHILD)
_LASTING = (Table.PERSISTENT, Table.RECURSIVE)
_FIRED_BY = {
    EventType.CREATED: (Table.DATA, Table.EXIST),
    EventType.CHANGED: (Table.DATA, Table.EXIST),
    EventType.CHILDREN: (Table.CHILD,),
    EventType.DELETED: (Table.DATA, Table.EXIST, Table.CHILD),
}


class WatchTable:
    """All watches of a client."""

    def __init__(self, show: Callable[[bytes], str]) -> None:
        self._show = show
        """A server's path as the client's user knows it."""
        self._tables: dict[Table, dict[bytes, Callbacks]] = {table: {} for table in Table}

    def add(self, watch: Registration, code: int) -> None:
        """The server has answered a request with a watch."""
        if not is_registered(watch, code):
            return
        table = watch.table
        if table is Table.EXIST and code == ErrorCode.OK:
            table = Table.DATA
        self._tables[table].setdefault(watch.path, {})[watch.callback] = None

    def withdraw(self, watch: Registration) -> bool:
        """Forget one callback; returns whether the server's watch is of no use any more."""
        tables = (Table.DATA, Table.EXIST) if watch.table.kind is WatcherKind.DATA else ()
        found = False
        for table in tables or (watch.table,):
            callbacks = self._tables[table].get(watch.path)
            if callbacks is not None and watch.callback in callbacks:
                found = True
                del callbacks[watch.callback]
                if not callbacks:
                    del self._tables[table][watch.path]
        return found and not self.has(watch.table.kind, watch.path)

    def has(self, kind: WatcherKind, path: bytes) -> bool:
        """Whether anyone here waits for what such a watch on the server tells."""
        return any(path in self._tables[table] for table in _tables_of(kind))

    def fire(self, number: int, path: bytes, zxid: int) -> None:
        """An event of a type with this number has arrived: one-shot watches are used up by it."""
        kind = _EVENT_TYPES.get(number)
        if kind is None:
            logger.warning("an event of unknown type %d for %r", number, path)
            return
        callbacks: Callbacks = {}
        for table in _FIRED_BY.get(kind, ()):
            callbacks.update(self._tables[table].pop(path, {}))
        callbacks.update(self._tables[Table.PERSISTENT].get(path, {}))
        recursive = self._tables[Table.RECURSIVE]
        if recursive and kind is not EventType.CHILDREN:
            callbacks.update(recursive.get(path, {}))
            for ancestor in paths.ancestors(path):
                callbacks.update(recursive.get(ancestor, {}))
        if callbacks:
            tell(callbacks, WatchEvent(kind, self._show(path), zxid))

    def lose_session(self, *, for_good: bool = False) -> None:
        """One-shot watches end with their session, all of them with their client, and say so."""
        lost: list[tuple[bytes, Callbacks]] = []
        for table in Table if for_good else _ONE_SHOT:
            lost += self._tables[table].items()
            self._tables[table] = {}
        for path, callbacks in lost:
            tell(callbacks, WatchEvent(EventType.SESSION_LOST, self._show(path), -1))

    def gap(self, zxid: int) -> None:
        """Persistent watches are registered anew; the server does not say what they missed."""
        for table in _LASTING:
            for path, callbacks in list(self._tables[table].items()):
                tell(callbacks, WatchEvent(EventType.GAP, self._show(path), zxid))

    def remove(self, kind: WatcherKind, path: bytes) -> None:
        """Watches were removed on the server: their callbacks hear of it."""
        for table in _tables_of(kind):
            callbacks = self._tables[table].pop(path, None)
            if callbacks:
                tell(callbacks, WatchEvent(_REMOVED[table.kind], self._show(path), -1))

    def registrations(self, last_zxid: int) -> Iterator[tuple[OpCode, bytes]]:
        """The requests that register everything anew on another connection, if anything."""
        entries = [(table, path) for table in Table for path in self._tables[table]]
        batch: dict[Table, list[bytes | None]] = {table: [] for table in Table}
        size = 0
        for table, path in entries:
            batch[table].append(path)
            size += len(path) + 4
            if size > SET_WATCHES_MAX_BYTES:
                yield _set_watches(last_zxid, batch)
                batch = {kind: [] for kind in Table}
                size = 0
        if size:
            yield _set_watches(last_zxid, batch)


def is_registered(watch: Registration, code: int) -> bool:
    """Whether the server keeps a watch after such an answer (section 5.3)."""
    return code == ErrorCode.OK or (watch.table is Table.EXIST and code == ErrorCode.NO_NODE)


def tell(callbacks: Iterable[WatchCallback], event: WatchEvent) -> None:
    """Call back; one that fails is reported and does not keep the others from being told."""
    for callback in list(callbacks):
        try:
            callback(event)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a watch callback failed on {event}", "exception": error}
            )


def _tables_of(kind: WatcherKind) -> tuple[Table, ...]:
    if kind is WatcherKind.ANY:
        return tuple(Table)
    return tuple(table for table in Table if table.kind is kind)


def _set_watches(last_zxid: int, batch: dict[Table, list[bytes | None]]) -> tuple[OpCode, bytes]:
    one_shot = [batch[table] for table in _ONE_SHOT]
    if not any(batch[table] for table in _LASTING):
        # Servers before 3.6 know only this one.
        return OpCode.SET_WATCHES, SetWatches.pack(last_zxid, *one_shot)
    lasting = [batch[table] for table in _LASTING]
    return OpCode.SET_WATCHES2, SetWatches2.pack(last_zxid, *one_shot, *lasting)
