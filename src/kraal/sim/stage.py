"""Where scenarios are played: what they need of a simulated world, or of real servers."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from kraal.client.options import WhileDisconnected

if TYPE_CHECKING:
    from kraal.client import Client
    from kraal.sim.checks.history import History


class Stage(Protocol):
    """Servers, those who use them, and what has truly happened."""

    @property
    def random(self) -> Random: ...

    @property
    def now_us(self) -> int:
        """Time since the begin, in µs."""

    @property
    def history(self) -> History:
        """Everything that is committed by now."""

    @property
    def shown_zxid(self) -> int:
        """The newest transaction that any server has applied, as far as anybody can tell."""

    @property
    def applications(self) -> Sequence[Actor]:
        """All that there ever were."""

    def is_session_ending(self, session_id: int) -> bool:
        """Whether some server has proposed, at least, to end it."""

    def watches_left(self) -> list[tuple[int, list[bytes]]]:
        """What servers watch for the applications, by session."""


class Actor(Protocol):
    """An application that plays a part in a scenario."""

    @property
    def name(self) -> str: ...

    @property
    def world(self) -> Stage: ...

    @property
    def random(self) -> Random: ...

    @property
    def now_us(self) -> int:
        """Time since the begin, in µs."""

    @property
    def is_up(self) -> bool:
        """Whether it lives."""

    @property
    def resumed_us(self) -> int:
        """When it last went on after a pause."""

    def connect(
        self,
        chroot: str = "",
        *,
        session_timeout: float = 4.0,
        request_timeout: float | None = None,
        while_disconnected: WhileDisconnected = "wait",
    ) -> Client:
        """A client of the servers, not started yet."""

    def beside(self, work: Coroutine[Any, Any, None]) -> AbstractAsyncContextManager[None]:
        """Run something else during the block; what it raises ends the run, too."""


class Life(ABC):
    """What the tasks of an application have in common, on a simulated loop or a real one."""

    is_done = False
    """Whether it came to its end by itself."""

    @abstractmethod
    def failed(self, error: BaseException) -> None:
        """A task has ended by this, which ends the run, too."""

    @asynccontextmanager
    async def beside(self, work: Coroutine[Any, Any, None]) -> AsyncGenerator[None, None]:
        """Run something else during the block; what it raises ends the run, too."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._look_at)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    def _ended(self, main: asyncio.Task[Any]) -> None:
        self.is_done = True
        self._look_at(main)

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            self.failed(error)
