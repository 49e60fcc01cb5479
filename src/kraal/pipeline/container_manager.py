"""Which containers and TTL znodes are due for deletion.

Rules: reference/client-protocol.md sections 6.3 and 6.4. Wall time in milliseconds, because
znodes carry wall time; the interval between runs is measured by the caller's clock.
"""

from __future__ import annotations

from collections import deque

from kraal.model.config import ReaperConfig
from kraal.tree.data_tree import DataTree
from kraal.wire.records.data import Stat


class ContainerManager:
    """Looks for candidates once an interval and releases them at a bounded rate."""

    def __init__(self, tree: DataTree, config: ReaperConfig, now_ms: int) -> None:
        self._tree = tree
        self._config = config
        self._next_run_ms = now_ms + config.check_interval_ms
        self._spacing_ms = max(60_000 // max(config.max_per_minute, 1), 1)
        self._last_release_ms = now_ms
        self._due: deque[bytes] = deque()

    def due(self, now_ms: int, wall_ms: int) -> list[bytes]:
        """Paths to delete now; they are checked again when the deletion is ordered."""
        if now_ms >= self._next_run_ms:
            self._next_run_ms = now_ms + self._config.check_interval_ms
            self._due = deque(self._candidates(wall_ms))
        if not self._due:
            self._last_release_ms = now_ms
            return []
        allowed = (now_ms - self._last_release_ms) // self._spacing_ms
        if allowed:
            self._last_release_ms = now_ms
        return [self._due.popleft() for _ in range(min(allowed, len(self._due)))]

    def _candidates(self, wall_ms: int) -> list[bytes]:
        found = []
        never_used_ms = self._config.max_never_used_interval_ms
        for path in self._tree.containers:
            node = self._tree.nodes[path]
            stat = Stat.unpack(node.stat)
            if stat.num_children:
                continue
            # Without children the wire's cversion is twice the number ever created.
            if stat.cversion or (never_used_ms and wall_ms - stat.mtime > never_used_ms):
                found.append(path)
        for path, ttl_ms in self._tree.ttls.items():
            stat = Stat.unpack(self._tree.nodes[path].stat)
            if not stat.num_children and wall_ms - stat.mtime > ttl_ms:
                found.append(path)
        return found
