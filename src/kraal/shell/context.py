"""What a command may use of the shell that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from kraal.client import Client, WatchEvent
from kraal.shell.results import Results

if TYPE_CHECKING:
    from kraal.shell.command import Command
    from kraal.shell.settings import Settings

Step = Callable[[int], None]
"""Says that so many more of what is counted are done."""


class Context(Protocol):
    """The shell, as its commands see it."""

    hosts: str
    """The servers of the session, as they were written."""
    history: list[str]
    """All lines, the one that runs now included."""
    prints_watches: bool
    commands: Mapping[str, Command]
    settings: Settings
    has_input: bool
    """Whether standard input is free: no commands come from it."""
    is_endless: bool
    """Whether the command that runs has no end but Ctrl-C, which is then no failure."""

    @property
    def zk(self) -> Client:
        """The session's client. Raises NotConnectedError when it was closed."""

    def watch(self, event: WatchEvent) -> None:
        """Print the event of a watch; what is given to operations as their `watch`."""

    def another(self, hosts: str) -> Client:
        """A client for other servers, with the same settings; the caller starts and closes it.

        Raises ConfigError for hosts that cannot be read.
        """

    async def connect(self, hosts: str | None) -> None:
        """Begin another session, with the same servers or with others."""

    async def close(self) -> None:
        """End the session."""

    def end(self) -> None:
        """End the shell, once the command is done."""

    def results_of(self, line: str) -> Results:
        """What another line answers; its errors are the caller's."""

    def progress(
        self, what: str, total: int | None = None, *, streams: bool = False
    ) -> AbstractContextManager[Step]:
        """Show on standard error how far a long command has come, if that is a terminal.

        An answer that `streams`, line by line, shows that itself where it goes to the terminal.
        """

    def note(self, text: str) -> None:
        """Write a line to standard error at once."""
