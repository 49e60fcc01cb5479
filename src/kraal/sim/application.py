"""A simulated process that runs asyncio code of its users: an event loop, and what befalls it."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

from kraal.client import Client, connect
from kraal.client.options import WhileDisconnected
from kraal.sim.dial import Directory
from kraal.sim.loop import SimLoop
from kraal.sim.scheduler import Action, Host
from kraal.sim.stage import Life
from kraal.sim.violation import ViolationError

if TYPE_CHECKING:
    from kraal.sim.world import World

SILENT_DEATHS = 0.3
"""Share of dying applications whose machine dies: no server hears of it."""
RATES = (1.0, 1.0, 0.97, 1.03)


class Application(Host, Life):
    """A process with one event loop. It may be paused, and dies once; it is not started again.

    What must not happen in it ends the run: an exception that nobody takes, and a task that is
    dropped before it is done.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world.scheduler, name)
        self.world = world
        world.checks.requests.knows_all = False
        self.random = Random(world.random.getrandbits(64))
        self.directory = Directory(world)
        self.loop = SimLoop(  # type: ignore[abstract]  # what it has not raises NotImplementedError
            self, self.directory, self.random, self._loop_failed
        )
        self.loop.rate = self.random.choice(RATES)
        self.resumed_us = 0
        """When it last went on after a pause."""
        self._failure: BaseException | None = None

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Run this to its end; what it raises ends the run of the world."""
        self._main = self.loop.create_task(main)
        self._main.add_done_callback(self._ended)

    def trace(self, what: str, *args: object) -> None:
        """Note what happened."""
        self.world.trace(self, what, *args)

    def connect(
        self,
        chroot: str = "",
        *,
        session_timeout: float = 4.0,
        request_timeout: float | None = None,
        while_disconnected: WhileDisconnected = "wait",
    ) -> Client:
        """A client of the servers, not started yet."""
        return connect(
            self.directory.connect_string + chroot,
            session_timeout=session_timeout,
            request_timeout=request_timeout,
            while_disconnected=while_disconnected,
            rng=self.random,
        )

    # What befalls it

    def kill(self) -> None:
        """The process is gone, and nothing of it cleans up."""
        is_silent = self.random.random() < SILENT_DEATHS
        self.trace("dies with its machine" if is_silent else "dies")
        self.die()
        for transport in self.loop.transports:
            if is_silent:
                transport.near.vanish()
            else:
                transport.near.close()
        self.loop.die()

    def resume(self) -> None:
        self.resumed_us = self.scheduler.now_us
        super().resume()

    def wind_up(self) -> None:
        """The story is over: let go of everything, without a word."""
        if self.is_up:
            self.die()
            self.loop.die()
        self.loop.wind_up()

    def turn(self, action: Action) -> None:
        """One input; a failure ends the run."""
        try:
            action()
        except Exception as error:
            self.world.failed(self, error)
        self.check()

    # Failures

    def _loop_failed(self, context: dict[str, Any]) -> None:
        """Something was reported to the loop's exception handler: it is a violation."""
        cause = context.get("exception")
        if isinstance(cause, ViolationError):
            self.failed(cause)
            return
        what = context.get("message", "an unknown failure")
        culprit = context.get("task") or context.get("future") or context.get("handle")
        error = ViolationError("nothing fails unseen", f"{self.name}: {what}: {culprit}")
        error.__cause__ = cause
        self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Remember the first failure; `check` raises it where no task takes it."""
        if self._failure is None:
            self._failure = error

    def check(self) -> None:
        """Raises ViolationError if something failed."""
        if self._failure is None:
            return
        if isinstance(self._failure, Exception):
            self.world.failed(self, self._failure)
        raise self._failure
