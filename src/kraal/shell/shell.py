"""One session of the shell: lines are run in it, one behind the other.

It keeps what outlives a line: the connection, the history, the exit code, whether events are
printed. Where lines come from is the business of `kraal.shell.modes`.
"""

from __future__ import annotations

import asyncio
import difflib
import errno
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress

from kraal import client
from kraal.client import Client, ConnectionLossError, SessionState, WatchEvent, ZooKeeperError
from kraal.errors import KraalError
from kraal.shell import events, lines
from kraal.shell.command import Command
from kraal.shell.context import Step
from kraal.shell.errors import (
    EXIT_FAILED,
    EXIT_UNKNOWN,
    CommandError,
    NotConnectedError,
    UnknownCommandError,
    message_of,
)
from kraal.shell.render import Output
from kraal.shell.results import JsonObject, Results
from kraal.shell.settings import Settings

PATIENCE = 5.0
"""Seconds that a command waits for a connection."""
PATIENCE_AFTER_FAILURE = 1.0
"""The same when the command before has waited in vain."""
PROGRESS_AFTER = 0.5
"""Seconds that a command works before it shows how far it has come."""


class Shell:
    """Runs commands; `kraal.shell.context.Context` is what they see of it."""

    def __init__(
        self, settings: Settings, commands: Mapping[str, Command], output: Output | None = None
    ) -> None:
        self.settings = settings
        self.commands = commands
        self.output = output or Output(is_json=settings.is_json)
        self.hosts = settings.hosts
        self.history: list[str] = []
        self.prints_watches = True
        self.has_input = False
        self.is_endless = False
        self.exit_code = 0
        """That of the last command."""
        self.is_over = False
        """Whether it was told to end."""
        self._client: Client | None = None
        self._starting: asyncio.Task[None] | None = None
        self._patience = PATIENCE
        self._last_event: WatchEvent | None = None

    # The connection

    async def connect(self, hosts: str | None = None, *, at_once: bool = True) -> None:
        """Begin a session, after the end of the one before.

        Not `at_once`: with the first command that needs it.
        Raises ConfigError for hosts that cannot be read and ConnectionLossError if there must be
        a connection and is none in time.
        """
        made = self.another(hosts or self.hosts)
        await self.close()
        self.hosts = hosts or self.hosts
        self._client = made
        self._patience = PATIENCE
        made.on_state(self._tell_state)
        if at_once:
            await self._begin(made)

    async def _begin(self, made: Client) -> None:
        """Look for a server. Raises ConnectionLossError if one is required and not found."""
        self._starting = asyncio.create_task(_start(made))
        await asyncio.sleep(0)  # until then the client takes itself for one that was not started
        if self.settings.waits:
            await self._wait_connected(made, self.settings.timeout_ms / 1000)

    def another(self, hosts: str) -> Client:
        """A client that is not started yet, with the settings of this shell.

        Raises ConfigError for hosts that cannot be read.
        """
        settings = self.settings
        return client.connect(
            hosts,
            session_timeout=settings.timeout_ms / 1000,
            read_only=settings.is_read_only,
            sasl=settings.sasl,
            tls=settings.tls,
            while_disconnected="fail",
            max_request_bytes=settings.max_request_bytes,
        )

    async def close(self) -> None:
        """End the session; without one, nothing."""
        if self._client is not None:
            await self._client.close()
        if self._starting is not None:
            await self._starting
            self._starting = None

    @property
    def state(self) -> SessionState:
        return SessionState.CLOSED if self._client is None else self._client.state

    @property
    def zk(self) -> Client:
        """The client of the session. Raises NotConnectedError when that is over."""
        if self._client is None or self._client.state.is_final:
            raise NotConnectedError()
        return self._client

    async def _ready(self) -> None:
        """Wait for a connection, if there is none, but not for long."""
        zk = self.zk
        if self._starting is None:
            await self._begin(zk)
        if zk.state.is_connected:
            return
        await self._wait_connected(zk, self._patience)
        self._patience = PATIENCE

    async def _wait_connected(self, zk: Client, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await zk.wait_connected()
        except TimeoutError:
            self._patience = PATIENCE_AFTER_FAILURE
            raise ConnectionLossError("no server could be reached", sent=False) from None

    # Lines

    async def run(self, line: str) -> int:
        """Run a line and return its exit code; an empty one does nothing."""
        words = lines.split(line)
        if not words:
            return self.exit_code
        self.history.append(line)
        return await self.execute(words)

    async def execute(self, words: Sequence[str]) -> int:
        """Run a command and return its exit code; what is wrong with it is written."""
        self.is_endless = False
        command = self.commands.get(words[0])
        failed = EXIT_FAILED if command is None else command.exit_failed
        try:
            async with aclosing(self.results(words)) as results:
                async for result in results:
                    self.output.result(result)
            if not self.is_over:  # the end keeps the exit code of what was before
                self.exit_code = 0
        except UnknownCommandError as error:
            self._complain_unknown(words, error)
        except NotConnectedError as error:
            self.exit_code = failed
            self.output.lines([str(error)])  # where zkCli says it
            if self.output.is_json:
                self._complain(words, str(error), failed, {})
        except CommandError as error:
            code = failed if error.code is None else error.code
            self._complain(words, str(error), code, {})
        except ZooKeeperError as error:
            fields: JsonObject = {"path": error.path, "reason": int(error.code)}
            self._complain(words, message_of(error), failed, fields)
        except BrokenPipeError:
            raise  # nobody reads any more
        except KraalError as error:
            self._complain(words, str(error), failed, {})
        except OSError as error:  # those of files are told by the commands, with the file
            is_full = error.errno == errno.ENOSPC and error.filename is None
            text = f"standard output: {error.strerror}" if is_full else str(error)
            self._complain(words, text, failed, {})
        finally:
            self.output.flush()
        return self.exit_code

    def _complain_unknown(self, words: Sequence[str], error: UnknownCommandError) -> None:
        """Say what there is, as zkCli does, or shorter where nobody relies on that."""
        hint = self._hint(error.name)
        if self.output.is_json:
            self._complain(words, str(error), EXIT_UNKNOWN, {"hint": hint})
            return
        is_short = self.settings.is_quiet or self.output.is_terminal
        if not is_short:
            self.output.notes(self.usage())
        self._complain(words, str(error), EXIT_UNKNOWN, {})
        if is_short:
            self.output.notes([hint])

    def _complain(self, words: Sequence[str], text: str, code: int, fields: JsonObject) -> None:
        self.exit_code = code
        if not text:
            return  # the answer has said it, as that of diff(1)
        self.output.error(text, {"command": words[0], "exit_code": code, **fields})

    async def results(self, words: Sequence[str]) -> Results:
        """What a command answers; its errors are the caller's."""
        name, *rest = words
        command = self.commands.get(name)
        if command is None:
            raise UnknownCommandError(name)
        if not command.is_offline:
            _ = self.zk
        given = command.parse(rest)
        if not command.is_offline:
            await self._ready()
        async with aclosing(command.run(self, given)) as answers:
            async for answer in answers:
                yield answer

    def results_of(self, line: str) -> Results:
        return self.results(lines.split(line))

    def end(self) -> None:
        self.is_over = True

    def usage(self) -> Iterator[str]:
        """All commands with their synopses, as zkCli lists them."""
        yield "ZooKeeper -server host:port -client-configuration properties-file cmd args"
        for name in sorted(self.commands):
            yield f"\t{name} {self.commands[name].synopsis}"

    def _hint(self, name: str) -> str:
        """What someone may have meant."""
        close = difflib.get_close_matches(name, self.commands, n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        return f"{meant}help lists the commands"

    # Events

    def watch(self, event: WatchEvent) -> None:
        """Print an event; one that several watches tell of, once."""
        is_again = event is self._last_event
        self._last_event = event
        shown = events.of_watch(event)
        if shown is not None and self.prints_watches and not is_again:
            self.output.event(*shown)

    def _tell_state(self, state: SessionState) -> None:
        if self.prints_watches and not self.settings.is_quiet:
            self.output.event(*events.of_state(state))

    # What commands say while they work

    @contextmanager
    def progress(
        self, what: str, total: int | None = None, *, streams: bool = False
    ) -> Iterator[Step]:
        """A count on standard error while a long command works; nothing without a terminal."""
        is_seen = streams and sys.stdout.isatty()
        if self.output.is_json or not sys.stderr.isatty() or is_seen:
            yield lambda _more: None
            return
        from rich import progress  # noqa: PLC0415 - only a terminal needs it
        from rich.console import Console  # noqa: PLC0415

        columns: list[progress.ProgressColumn] = [progress.TextColumn("{task.description}")]
        if total is None:
            columns.append(progress.TextColumn("{task.completed:.0f} znodes"))
        else:
            columns += [progress.BarColumn(), progress.MofNCompleteColumn()]
        columns.append(progress.TimeElapsedColumn())
        bar = progress.Progress(
            *columns, console=Console(stderr=True), transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what goes to a file must not go to the screen
        )  # fmt: skip
        task = bar.add_task(what, total=total)
        later = asyncio.get_running_loop().call_later(PROGRESS_AFTER, bar.start)
        try:
            yield lambda more: bar.advance(task, more)
        finally:
            later.cancel()
            bar.stop()

    def note(self, text: str) -> None:
        self.output.notes([text])


async def _start(zk: Client) -> None:
    """Look for a server; that there is none, or that it was closed, its user hears elsewhere."""
    with suppress(ZooKeeperError):
        await zk.start()
