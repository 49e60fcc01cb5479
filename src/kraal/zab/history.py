"""The newest committed transactions, kept in memory for learners that lag a little."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

Entry = tuple[int, bytes]
"""A zxid and the transaction's bytes."""


class CommittedLog:
    """Bounded by count: `commitLogCount` (reference/quorum-protocol.md section 4.4)."""

    def __init__(self, capacity: int, entries: Iterable[Entry] = ()) -> None:
        self._entries: deque[Entry] = deque(entries, maxlen=capacity)
        self.append = self._entries.append
        self.extend = self._entries.extend

    def __len__(self) -> int:
        return len(self._entries)

    def bounds(self, last_zxid: int) -> tuple[int, int]:
        """Oldest and newest zxid; both are `last_zxid` while the log is empty."""
        if not self._entries:
            return last_zxid, last_zxid
        return self._entries[0][0], self._entries[-1][0]

    def entries(self) -> list[Entry]:
        return list(self._entries)
