"""What all locks have in common for their users: acquire, release, timeouts, `async with`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from types import TracebackType
from typing import Generic, Literal, TypeVar, overload

from kraal.recipes._arguments import check_seconds
from kraal.recipes.errors import (
    AcquireCancelledError,
    AcquireTimeoutError,
    AlreadyHeldError,
    NotHeldError,
)
from kraal.recipes.held import Holding

H = TypeVar("H", bound=Holding)
Holds = dict[asyncio.Task[object] | None, list[H]]
"""What each task holds, latest last."""


class Acquirable(ABC, Generic[H]):
    """Base of the locks. One object may be used by many tasks; each acquires for itself."""

    def __init__(self, *, reentrant: bool = False, repeatable: bool = False) -> None:
        self._reentrant = reentrant
        self._repeatable = repeatable
        """Whether a task that holds one may acquire another one, as of a semaphore."""
        self._held: Holds[H] = {}
        self._waiting: dict[asyncio.Timeout, bool] = {}
        """Who is waiting, and whether `cancel` has ended that."""

    @abstractmethod
    async def _take(self, *, blocking: bool) -> H | None:
        """Acquire one; None if not `blocking` and it is not free."""

    @overload
    async def acquire(
        self, *, timeout: float | None = None, blocking: Literal[True] = True
    ) -> H: ...
    @overload
    async def acquire(
        self, *, timeout: float | None = None, blocking: Literal[False]
    ) -> H | None: ...
    @overload
    async def acquire(self, *, timeout: float | None = None, blocking: bool) -> H | None: ...

    async def acquire(self, *, timeout: float | None = None, blocking: bool = True) -> H | None:
        """Wait until it is this task's, in the order of arrival, and return what is held.

        With a `timeout` in seconds AcquireTimeoutError is raised when they have passed; without
        `blocking`, None is returned if somebody else has it. Either way, and when the task is
        cancelled at any point, nothing is left behind: neither a znode in the queue nor a watch
        on a server. Lost connections do not end the wait (a `timeout` counts on), nor does the
        end of the session: the next session queues again, at the end. Raises
        AcquireCancelledError after `cancel`, AlreadyHeldError if the task would wait for itself,
        ClosedError when the client is closed, and what the servers refuse. ValueError if
        `timeout` is below 0 or comes without `blocking`.

        It belongs to the task that runs this. `asyncio.wait_for` runs what it is given in a task
        of its own (before Python 3.12), which is over when it returns: `release` here would not
        find it, and another `acquire` would wait for it for ever. Use `timeout`, or
        `asyncio.timeout`.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        if timeout is not None and not blocking:
            raise ValueError("who does not wait has no use for a timeout")
        task = asyncio.current_task()
        mine = self._held.get(task)
        if mine and not self._repeatable:
            return self._again(mine[-1])
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                self._waiting[scope] = False
                held = await self._take(blocking=blocking)
        except TimeoutError:
            if not scope.expired():
                raise
            if self._waiting[scope]:
                raise AcquireCancelledError(f"{self} was cancelled") from None
            raise AcquireTimeoutError(f"{self} not acquired in {timeout} s") from None
        finally:
            self._waiting.pop(scope, None)
        if held is not None:
            self._held.setdefault(task, []).append(held)
            held.on_release(partial(self._forget, task, held))
        return held

    def _again(self, held: H) -> H:
        if not self._reentrant:
            raise AlreadyHeldError(f"the caller holds {self} already")
        held.check()
        held.depth += 1
        return held

    async def release(self) -> None:
        """Release what this task acquired last; see `Holding.release`.

        What another task is to release is released by the `release` of what `acquire` returned.
        Raises NotHeldError if this task holds nothing.
        """
        mine = self._held.get(asyncio.current_task())
        if not mine:
            raise NotHeldError(f"the caller does not hold {self}")
        held = mine[-1]
        held.depth -= 1
        if not held.depth:
            await held.release()

    def cancel(self) -> None:
        """End every wait in `acquire` of this object: they raise AcquireCancelledError."""
        now = asyncio.get_running_loop().time()
        for scope, is_cancelled in self._waiting.items():
            if not is_cancelled:
                self._waiting[scope] = True
                scope.reschedule(now)

    def _forget(self, task: asyncio.Task[object] | None, held: H) -> None:
        mine = self._held[task]
        mine.remove(held)
        if not mine:
            del self._held[task]

    async def __aenter__(self) -> H:
        return await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()
