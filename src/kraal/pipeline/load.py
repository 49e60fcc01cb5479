"""Who and what causes the load: the heaviest clients, paths and operations, in bounded memory.

Looking at every request would cost more than many a request: while there are few, all of them
are looked at, and of many in one tick one in STRIDE, which counts for those between. So the
figures are exact where that can be afforded and a fair sample elsewhere.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kraal.model.path import first_element
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.summary import Summary, merged
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode

K = TypeVar("K", bound=Hashable)

STRIDE = 1024
EXACT_PER_TICK = 16
"""Requests of one tick of the server, 50 ms, that are looked at in any case."""
KEYS_MAX = 128
PERIOD_MS = 60_000
NAMESPACES_MAX = 200
"""Beyond, an element of a path that is new is not told apart."""
SLOW_REQUESTS_MAX = 256
PATH_MAX_BYTES = 512
STAT_BYTES = 68
"""What the reference adds to the bytes of a read."""
_SIZE = struct.Struct(">i")
_unpack_op = struct.Struct(">4xi").unpack_from
_unpack_size = _SIZE.unpack_from
_BODY = 8
_PATH = 12
_READS = frozenset(
    {OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2}
)  # fmt: skip
_WITH_PATH = _READS | {
    OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.DELETE,
    OpCode.SET_DATA, OpCode.GET_ACL, OpCode.SET_ACL, OpCode.SYNC, OpCode.GET_ALL_CHILDREN_NUMBER,
    OpCode.ADD_WATCH, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES,
}  # fmt: skip


class SpaceSaving(Generic[K]):
    """The heaviest of any number of keys (Metwally, Agrawal, El Abbadi: "Space-Saving", 2005).

    A key's weight is never too low, and too high by at most what stands beside it.
    """

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._weights: dict[K, tuple[int, int]] = {}

    def add(self, key: K, weight: int) -> None:
        weights = self._weights
        known = weights.get(key)
        if known is not None:
            weights[key] = (known[0] + weight, known[1])
        elif len(weights) < self._keys_max:
            weights[key] = (weight, 0)
        else:
            lightest = min(weights, key=weights.__getitem__)
            floor, _ = weights.pop(lightest)
            weights[key] = (floor + weight, floor)

    def heaviest(self) -> list[tuple[K, int, int]]:
        """Keys with their weight and by how much it may be too high, the heaviest first."""
        rows = [(key, weight, error) for key, (weight, error) in self._weights.items()]
        return sorted(rows, key=lambda row: row[1], reverse=True)

    def merge(self, other: SpaceSaving[K]) -> None:
        """Add what the other one counted."""
        for key, weight, error in other.heaviest():
            self.add(key, weight)
            mine, my_error = self._weights[key]
            self._weights[key] = (mine, my_error + error)


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a request came from."""

    host: str
    session_id: int


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """A request that took longer than `slowRequestThresholdMs`."""

    wall_ms: int
    latency_ms: int
    op: int
    path: bytes
    """Empty where the operation has none."""
    session_id: int
    host: str


class _Period:
    """What is counted for a minute."""

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.clients: SpaceSaving[Client] = SpaceSaving()
        self.paths: SpaceSaving[bytes] = SpaceSaving()
        self.operations: SpaceSaving[int] = SpaceSaving()


class Load:
    """Counts what it is shown; `left` requests go by before it is shown the next ones."""

    def __init__(self) -> None:
        self.left = 0
        self.slow: deque[SlowRequest] = deque(maxlen=SLOW_REQUESTS_MAX)
        self._span = 0
        self._budget = EXACT_PER_TICK
        self._seen: deque[tuple[DataTree, ClientConnection, bytes]] = deque(maxlen=EXACT_PER_TICK)
        """The last ones of this tick that were looked at."""
        self._now_ms = 0
        self._has_begun = False
        self._period, self._period_before = _Period(0), _Period(0)
        self.reads: dict[str, Summary] = {}
        """Bytes read by the first element of the path."""
        self.writes: dict[str, Summary] = {}
        """Bytes written by the first element of the path."""
        self.reads_before: dict[str, Summary] = {}
        """The same before the last reset."""
        self.writes_before: dict[str, Summary] = {}

    def reset(self) -> None:
        """Begin the sums by namespace anew (`srst`)."""
        self.reads_before = _sums(self.reads_before, self.reads)
        self.writes_before = _sums(self.writes_before, self.writes)
        self.reads, self.writes = {}, {}

    def tick(self, now_ms: int) -> None:
        """Time passed: the next requests are looked at, however many went by before."""
        self._share_out(self._span - self.left)
        self._seen.clear()
        self._now_ms = now_ms
        self._budget = EXACT_PER_TICK
        self._span = self.left = 0
        if not self._has_begun:
            self._has_begun = True
            self._period.began_ms = self._period_before.began_ms = now_ms
        if now_ms - self._period.began_ms >= PERIOD_MS:
            self._period_before, self._period = self._period, _Period(now_ms)

    def _share_out(self, unseen: int) -> None:
        """What went by since the last look counts as those of its tick that were looked at."""
        if not unseen:
            return
        share, rest = divmod(unseen, len(self._seen))
        for number, (tree, conn, frame) in enumerate(self._seen):
            weight = share + (number < rest)
            if weight:
                self._look_at(tree, conn, frame, weight)

    def requests(self, tree: DataTree, conn: ClientConnection, frames: list[bytes]) -> None:
        """Requests of one connection, the last of which came when `left` fell below zero."""
        weight = self._span - self.left
        exact = frames[-self._budget :] if self._budget > 0 else frames[-1:]
        for frame in exact[:-1]:
            self._look_at(tree, conn, frame, 1)
        self._seen.extend((tree, conn, frame) for frame in exact)
        self._look_at(tree, conn, exact[-1], max(1, weight - len(exact) + 1))
        self._budget -= len(exact)
        self._span = self.left = 0 if self._budget > 0 else STRIDE - 1

    def _look_at(self, tree: DataTree, conn: ClientConnection, frame: bytes, weight: int) -> None:
        if len(frame) < _BODY:
            return
        (op,) = _unpack_op(frame)
        if op == OpCode.PING:
            return
        period = self._period
        session = conn.session
        period.clients.add(Client(conn.host, session.id if session is not None else 0), weight)
        period.operations.add(op, weight)
        path = path_of(op, frame)
        if path:
            period.paths.add(path, weight)
            if op in _READS and (node := tree.nodes.get(path)) is not None:
                size = len(node.data or b"") if op == OpCode.GET_DATA else 0
                self._add(self.reads, path, len(path) + size + STAT_BYTES, weight)

    def wrote(self, path: bytes, size: int, count: int) -> None:
        """A write of so many bytes of data, which stands for `count` of them."""
        self._add(self.writes, path, len(path) + size, count)

    @staticmethod
    def _add(table: dict[str, Summary], path: bytes, size: int, count: int) -> None:
        name = first_element(path).decode("utf-8", "replace")
        summary = table.get(name)
        if summary is None:
            if not name or len(table) >= NAMESPACES_MAX:
                return
            summary = table[name] = Summary()
        summary.add(size, count)

    def heaviest_clients(self) -> SpaceSaving[Client]:
        """Of the present minute and the one before."""
        return _both(self._period.clients, self._period_before.clients)

    def heaviest_paths(self) -> SpaceSaving[bytes]:
        """Of the present minute and the one before."""
        return _both(self._period.paths, self._period_before.paths)

    def heaviest_operations(self) -> SpaceSaving[int]:
        """Of the present minute and the one before."""
        return _both(self._period.operations, self._period_before.operations)

    @property
    def counted_ms(self) -> int:
        """For how long the heaviest have been counted, up to the last tick."""
        return self._now_ms - self._period_before.began_ms


def _sums(before: dict[str, Summary], now: dict[str, Summary]) -> dict[str, Summary]:
    nothing = Summary()
    return {
        name: merged(before.get(name, nothing), now.get(name, nothing)) for name in before | now
    }


def _both(now: SpaceSaving[K], before: SpaceSaving[K]) -> SpaceSaving[K]:
    whole: SpaceSaving[K] = SpaceSaving(2 * KEYS_MAX)
    whole.merge(before)
    whole.merge(now)
    return whole


def path_of(op: int, frame: bytes) -> bytes:
    """The path that a request begins with, cut to a bounded length; empty: it has none."""
    if op not in _WITH_PATH or len(frame) < _PATH:
        return b""
    (size,) = _unpack_size(frame, _BODY)
    return frame[_PATH : _PATH + min(size, PATH_MAX_BYTES)] if size > 0 else b""
