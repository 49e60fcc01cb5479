"""Ctrl-C ends the command that runs, or else the shell; SIGTERM ends the shell and its session."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

from kraal.shell.errors import EXIT_INTERRUPTED
from kraal.shell.shell import Shell

EXIT_TERMINATED = 128 + signal.SIGTERM


class Signals:
    """Who gets a signal."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        """That of a shell which was ended by a signal."""
        self.spares_shell = False
        """Whether Ctrl-C without a command means nothing, as at a prompt."""
        self._work: asyncio.Task[None] | None = None
        self._command: asyncio.Task[int] | None = None
        self._was_interrupted = False
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._end, EXIT_TERMINATED)

    def _interrupt(self) -> None:
        if self._command is not None:
            self._was_interrupted = True
            self._command.cancel()
        elif not self.spares_shell:
            self._end(EXIT_INTERRUPTED)

    def _end(self, code: int) -> None:
        self.exit_code = code
        if self._work is not None:
            self._work.cancel()

    async def guard(self, work: Coroutine[None, None, None]) -> None:
        """Do the work of the shell; CancelledError with an `exit_code` says that it was ended."""
        self._work = asyncio.create_task(work)
        await self._work

    async def run(self, shell: Shell, command: Coroutine[None, None, int]) -> None:
        """Run a command so that Ctrl-C ends it alone."""
        self._was_interrupted = False
        self._command = asyncio.create_task(command)
        try:
            await self._command
        except asyncio.CancelledError:
            if not self._was_interrupted:
                raise
            shell.exit_code = 0 if shell.is_endless else EXIT_INTERRUPTED
            if not shell.is_endless:
                shell.note("Interrupted")
        finally:
            self._command = None
