"""Long answers in turns of the loop, so that clients are served in between."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

TURN_SECONDS = 0.001
REST_SECONDS = 0.001


def one_turn(pieces: Iterator[str]) -> tuple[str, bool]:
    """What can be made in one turn, and whether it is everything."""
    ends = perf_counter() + TURN_SECONDS
    made = []
    for piece in pieces:
        made.append(piece)
        if perf_counter() >= ends:
            return "".join(made), False
    return "".join(made), True
