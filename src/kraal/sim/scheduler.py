"""Virtual time: actions in the order in which they are due; no clock is ever read.

Times are integer microseconds since the begin of a run.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

MS = 1000
SECOND = 1_000_000
Action = Callable[[], None]


class Scheduler:
    """Runs actions; what is due at the same time runs in the order in which it was scheduled."""

    def __init__(self) -> None:
        self.now_us = 0
        self.steps = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._count = 0

    def after(self, delay_us: int, action: Action) -> None:
        """Run `action` when `delay_us` have passed."""
        assert delay_us >= 0, "time does not go back"
        self._count += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._count, action))

    def run(self, duration_us: int, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; with `until`, only until it is true, and whether it came true."""
        end = self.now_us + duration_us
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end:
            if until is not None and until():
                return True
            at_us, _, action = pop(queue)
            self.now_us = at_us
            self.steps += 1
            action()
        self.now_us = end
        return until is not None and until()


class Host:
    """A process: what is due for it waits while it is paused, and is forgotten when it dies."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.is_up = True
        self.is_paused = False
        self.life = 0
        """Counts deaths: what was scheduled in an earlier life is void."""
        self._backlog: deque[Action] = deque()

    @property
    def now_us(self) -> int:
        """Time since the begin."""
        return self.scheduler.now_us

    def after(self, delay_us: int, action: Action) -> None:
        """Run `action` as a turn of this process when `delay_us` have passed."""
        life = self.life

        def due() -> None:
            if life == self.life:
                if self.is_paused:
                    self._backlog.append(action)
                else:
                    self.turn(action)

        self.scheduler.after(delay_us, due)

    def turn(self, action: Action) -> None:
        """Run one input to its end."""
        action()

    def pause(self) -> None:
        """The process gets no processor time: every input waits."""
        self.is_paused = True

    def resume(self) -> None:
        """It goes on with what waited, in order."""
        self.is_paused = False
        backlog, self._backlog = self._backlog, deque()
        for action in backlog:
            self.after(0, action)

    def die(self) -> None:
        """Nothing that was scheduled happens any more."""
        self.life += 1
        self.is_up = self.is_paused = False
        self._backlog.clear()
