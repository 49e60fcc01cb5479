"""What a member of the ensemble is doing (reference/quorum-protocol.md section 1.1)."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """The values are those of notifications (section 3.1)."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2
    OBSERVING = 3
