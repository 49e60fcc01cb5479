"""What works in the background between `start` and `close`, and those who wait for it."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from kraal.client import ClosedError
from kraal.recipes._background import serving
from kraal.recipes.errors import NotRunningError

logger = logging.getLogger("kraal.recipes")


class Service(ABC):
    """Base of recipes that work by themselves: `async with`, or `start` and `close`.

    What ends the work before its time (the client is closed, a permission is missing) is raised
    by everything that waits for it.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._on_failure: Callable[[Exception], None] | None = None
        """Told at once what has ended the work before its time."""
        self._changed = asyncio.Event()
        """Replaced at every change."""

    async def start(self) -> None:
        """Begin to work; does not wait for anything. Raises NotRunningError the second time."""
        if self._task is not None:
            how = "is closed" if self._is_closed else "was started already"
            raise NotRunningError(f"{self} {how}")
        self._task = serving(self._run_and_tell())

    async def close(self) -> None:
        """End the work; nothing remains of it on the servers. Closing twice is no error."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done() and self._failure is None

    @abstractmethod
    async def _run(self) -> None:
        """The work; ends by cancellation."""

    async def _run_and_tell(self) -> None:
        try:
            await self._run()
        except Exception as error:
            if not isinstance(error, ClosedError):
                logger.error("%s has ended: %s", self, error)
            self._failure = error
            if self._on_failure is not None:
                self._on_failure(error)
        finally:
            self._tell()

    def _tell(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds.

        Raises what has ended the work, NotRunningError if it was closed.
        """
        while not condition():
            self._check()
            await self._changed.wait()

    @property
    def _is_closed(self) -> bool:
        """Whether `close` has ended the work."""
        return self._failure is None and self._task is not None and self._task.cancelled()

    def _check(self) -> None:
        if self._task is None:
            raise NotRunningError(f"{self} was not started")
        if self._task.done():
            raise self._failure or NotRunningError(f"{self} is closed")

    def _check_alive(self) -> None:
        """Raise what has ended the work before its time, if anything has."""
        if self._failure is not None:
            raise self._failure
