"""Notices that two servers use one id: each takes the other's place, and again."""

from __future__ import annotations

AGAIN_MS = 60_000
"""A place that changes hands twice within this time has two claimants."""
SILENCE_MS = 10_000
"""Between two complaints about the same id."""


class Twins:
    """Remembers whose place was taken by another connection with the same id."""

    def __init__(self) -> None:
        self._taken_ms: dict[int, float] = {}
        self._complained_ms: dict[int, float] = {}

    def replaced(self, now_ms: float, server_id: int) -> bool:
        """A place was taken. Whether that is to be complained of.

        Once is what a server does that comes back before its old connection is known to be dead.
        """
        before = self._taken_ms.get(server_id)
        for times, limit_ms in ((self._taken_ms, AGAIN_MS), (self._complained_ms, SILENCE_MS)):
            for other in [other for other, at in times.items() if now_ms - at > limit_ms]:
                del times[other]
        self._taken_ms[server_id] = now_ms
        if before is None or now_ms - before > AGAIN_MS or server_id in self._complained_ms:
            return False
        self._complained_ms[server_id] = now_ms
        return True
