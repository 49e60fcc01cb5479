"""Where commands come from: the command line, standard input, or a prompt."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from kraal.client import ZooKeeperError
from kraal.errors import ConfigError
from kraal.shell.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, message_of
from kraal.shell.registry import COMMANDS
from kraal.shell.render import Output
from kraal.shell.settings import Settings
from kraal.shell.shell import Shell
from kraal.shell.signals import Signals

CHUNK_BYTES = 64 * 1024
CHUNKS_AHEAD = 16
"""What is read of standard input before it can be run."""
EXIT_PIPE = 128 + signal.SIGPIPE


def run(settings: Settings, words: Sequence[str]) -> int:
    """Run one command, or all that there are; returns the exit code."""
    try:
        return asyncio.run(_run(settings, words))
    except BrokenPipeError:
        # Whoever read has seen enough; the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


class _Notes(logging.Handler):
    """What the client warns of, as the shell says things."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.notes([record.getMessage()])


async def _run(settings: Settings, words: Sequence[str]) -> int:
    shell = Shell(settings, COMMANDS)
    signals = Signals()
    warnings = _Notes(shell.output)
    logging.getLogger("kraal").addHandler(warnings)
    try:
        await signals.guard(_serve(shell, signals, words))
    except asyncio.CancelledError:
        if signals.exit_code is None:
            raise
        return signals.exit_code
    except ConfigError as error:
        shell.output.error(str(error), {"exit_code": EXIT_USAGE})
        return EXIT_USAGE
    except ZooKeeperError as error:
        shell.output.error(message_of(error), {"exit_code": EXIT_FAILED})
        return EXIT_FAILED
    finally:
        shell.prints_watches = False
        await shell.close()
        logging.getLogger("kraal").removeHandler(warnings)
    return shell.exit_code


async def _serve(shell: Shell, signals: Signals, words: Sequence[str]) -> None:
    """Connect, and run what there is to be run."""
    for warning in shell.settings.warnings:
        shell.note(warning)
    if not shell.settings.is_quiet:
        shell.output.lines([f"Connecting to {shell.settings.hosts}"])
    await shell.connect(at_once=not words)  # one command may not need a session
    if words:
        shell.has_input = True
        await signals.run(shell, shell.execute(words))
    elif sys.stdin.isatty() and sys.stdout.isatty():
        from kraal.shell.interactive import prompt  # noqa: PLC0415 - scripts need no prompt

        await prompt(shell, signals)
    else:
        if not shell.settings.is_quiet:
            shell.output.lines(["Welcome to ZooKeeper!"])
        await _run_lines(shell, signals)


async def _run_lines(shell: Shell, signals: Signals) -> None:
    """Run the lines of standard input until one ends the shell; those with `#` are comments."""
    async with aclosing(_lines()) as lines:
        async for line in lines:
            if line.lstrip().startswith("#"):
                continue
            await signals.run(shell, shell.run(line))
            is_failed = shell.exit_code and shell.settings.stops
            if shell.is_over or is_failed or shell.exit_code == EXIT_INTERRUPTED:
                return


async def _lines() -> AsyncGenerator[str, None]:
    """The lines of standard input, read by a thread that the end of the shell does not wait for.

    It reads from the descriptor: the interpreter could not end while it holds the lock of a file.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(CHUNKS_AHEAD)
    descriptor = sys.stdin.fileno()

    def read() -> None:
        chunk = b"-"
        while chunk:
            room.acquire()
            try:
                chunk = os.read(descriptor, CHUNK_BYTES)
            except OSError:
                chunk = b""
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)

    threading.Thread(target=read, name="kraal-shell-input", daemon=True).start()
    begun: list[bytes] = []
    while chunk := await arrived.get():
        room.release()
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield _text(b"".join((*begun, line)))
            begun.clear()
        begun.append(rest)
    if last := b"".join(begun):
        yield _text(last)


def _text(line: bytes) -> str:
    """A line as text; what is no UTF-8 goes through unchanged, see `to_bytes`."""
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
