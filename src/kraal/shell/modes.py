"""Where commands come from: the command line, standard input, or a prompt."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence

from kraal.client import ZooKeeperError
from kraal.shell.errors import EXIT_FAILED, EXIT_INTERRUPTED, message_of
from kraal.shell.registry import COMMANDS
from kraal.shell.settings import Settings
from kraal.shell.shell import Shell

LINES_AHEAD = 1000
"""Lines of standard input that are read before they can be run."""


def run(settings: Settings, words: Sequence[str]) -> int:
    """Run one command, or all that there are; returns the exit code."""
    return asyncio.run(_run(settings, words))


async def _run(settings: Settings, words: Sequence[str]) -> int:
    shell = Shell(settings, COMMANDS)
    is_interactive = not words and sys.stdin.isatty() and sys.stdout.isatty()
    if not settings.is_quiet:
        shell.output.lines([f"Connecting to {settings.hosts}"])
    try:
        await shell.connect()
        if words:
            shell.has_input = True
            await interruptible(shell, shell.execute(words))
        elif is_interactive:
            from kraal.shell.interactive import prompt  # noqa: PLC0415 - scripts need no prompt

            await prompt(shell)
        else:
            if not settings.is_quiet:
                shell.output.lines(["Welcome to ZooKeeper!"])
            await _run_lines(shell)
    except ZooKeeperError as error:
        shell.output.error(message_of(error), {})
        return EXIT_FAILED
    finally:
        shell.prints_watches = False
        await shell.close()
    return shell.exit_code


async def _run_lines(shell: Shell) -> None:
    """Run the lines of standard input until one ends the shell."""
    async for line in _lines():
        await interruptible(shell, shell.run(line))
        if shell.is_over or (shell.exit_code and shell.settings.stops):
            return
        if shell.exit_code == EXIT_INTERRUPTED:
            return


async def interruptible(shell: Shell, work: Coroutine[None, None, int]) -> None:
    """Run a command so that Ctrl-C ends it alone; its exit code is then that of an interrupt."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        shell.exit_code = EXIT_INTERRUPTED
        shell.note("Interrupted")
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _lines() -> AsyncGenerator[str, None]:
    """The lines of standard input, read by a thread that the end of the shell does not wait for."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[str | None] = asyncio.Queue()
    room = threading.Semaphore(LINES_AHEAD)

    def read() -> None:
        for line in sys.stdin.buffer:
            room.acquire()
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            loop.call_soon_threadsafe(arrived.put_nowait, text)
        loop.call_soon_threadsafe(arrived.put_nowait, None)

    threading.Thread(target=read, name="kraal-shell-input", daemon=True).start()
    while (line := await arrived.get()) is not None:
        room.release()
        yield line
