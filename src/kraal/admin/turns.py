"""Long answers in turns of the loop, so that clients are served in between."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

FIRST_SECONDS = 0.001
"""Most answers are whole after their first turn, and are sent as one."""
TURN_SECONDS = 0.0003
REST_SECONDS = 0.002
"""Beside long answers the clients of a busy server have most of its time, in small portions."""


def one_turn(pieces: Iterator[str], seconds: float = TURN_SECONDS) -> tuple[str, bool]:
    """What can be made in one turn, and whether it is everything."""
    ends = perf_counter() + seconds
    made = []
    for piece in pieces:
        made.append(piece)
        if perf_counter() >= ends:
            return "".join(made), False
    return "".join(made), True
