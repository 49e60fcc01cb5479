"""Counts operations by the clock and by the processor time that they take."""

from __future__ import annotations

import time
from typing import NamedTuple

WARM_UP_S = 0.3


class Figures(NamedTuple):
    """What one measurement has found."""

    per_second: float
    cpu_us: float
    """Processor time of the client's process for each operation, in microseconds."""


class Meter:
    """Counts what is done in the given time, after a while to warm up."""

    def __init__(self, seconds: float) -> None:
        now = time.perf_counter()
        self._counts_from = now + WARM_UP_S
        self._ends_at = self._counts_from + seconds
        self._began = 0.0
        self._used = 0.0
        self._count = 0

    def goes_on(self, done: int) -> bool:
        """So many operations more are done; whether there is time for others."""
        now = time.perf_counter()
        if self._began:
            self._count += done
        elif now >= self._counts_from:
            self._began, self._used = now, time.process_time()
        return now < self._ends_at

    @property
    def figures(self) -> Figures:
        """To be asked right after the last operation."""
        seconds = time.perf_counter() - self._began
        cpu_us = (time.process_time() - self._used) / self._count * 1e6
        return Figures(self._count / seconds, cpu_us)
