"""How long a learner waits before it comes back to a leader that has sent it away.

A leader ends the connection of a learner whose id another one registers with. Two servers with
the same id would throw each other out without a pause, and neither would get anything done.
"""

from __future__ import annotations

FIRST_MS, LONGEST_MS = 200, 10_000
"""The pause after the second ejection, doubled with each further one."""
SHORT_MS = 2000
SHORT_PAUSES = 4
"""Time with a leader is short if it is below `SHORT_MS` or so many of the pauses before it."""


class Ejections:
    """Counts those in a row: by the same leader in the same epoch, each after a short time."""

    def __init__(self) -> None:
        self._by = (-1, 0)
        self.count = 0

    def add(self, leader: int, epoch: int, lasted_ms: int) -> None:
        """The leader has ended a connection that lasted so long."""
        is_short = lasted_ms < max(SHORT_MS, SHORT_PAUSES * self.pause_ms(leader))
        if not is_short or self._by != (leader, epoch):
            self.count = 0
        self._by = (leader, epoch)
        self.count += 1

    def pause_ms(self, leader: int) -> int:
        """Before this one is dialled; the first return is free, connections do break."""
        if self.count < 2 or leader != self._by[0]:
            return 0
        return int(min(LONGEST_MS, FIRST_MS << min(self.count - 2, 10)))
