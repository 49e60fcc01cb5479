"""Until when the calls of a thread may wait."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from time import monotonic

TIME_IS_OVER = "the time is over"

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def timeout(seconds: float | None) -> AbstractContextManager[None]:
    """Limit all calls in the block to so many seconds together, as `asyncio.timeout` does.

    When they are over the call that waits is cancelled, like a coroutine, and raises TimeoutError;
    its text says if a write was sent and may take effect. Calls that begin later raise it at once,
    and send nothing. What ends something (a block, `release`, `close`, `remove`, `leave`) still
    runs, for 5 seconds at most. The earliest of nested limits counts. Raises TypeError and
    ValueError for what is no number.
    """
    if seconds is not None and not isinstance(seconds, int | float):
        raise TypeError(f"a timeout must be a number of seconds or None, not {seconds!r:.100}")
    if seconds is not None and math.isnan(seconds):
        raise ValueError("a timeout must be a number of seconds, not nan")
    return _limited(seconds)


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    before = _deadline.get()
    until = None if seconds is None else monotonic() + seconds
    limits = [limit for limit in (before, until) if limit is not None]
    try:  # set inside, so that no interrupt comes between
        _deadline.set(min(limits, default=None))
        yield
    finally:
        _deadline.set(before)


def seconds_left() -> float | None:
    """Of this thread's `timeout`; None: there is none."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - monotonic()


def doubts(error: BaseException | None) -> list[str]:
    """What a cancelled call says of writes that were sent and may take effect."""
    return getattr(error, "__notes__", [])
