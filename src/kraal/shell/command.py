"""A command: its name, what it takes, what it does, and how it is described.

    @command("getAcl", "[-s] path", PATH, flag("s", "stats"), group="ACLs")
    async def get_acl(shell: Context, given: Given) -> Results:
        ...

The docstring of the function is the help. A command yields its answer in one or many results,
lets the client's errors through, raises CommandError for its own, and never prints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kraal.shell import options, paths
from kraal.shell.context import Context
from kraal.shell.errors import EXIT_FAILED, CommandError
from kraal.shell.options import Argument, Given, Kind, Option
from kraal.shell.results import Results

Run = Callable[[Context, Given], Results]


@dataclass(frozen=True)
class Command:
    """One command of the shell."""

    name: str
    synopsis: str
    """What stands behind the name in a usage, in zkCli's words for zkCli's commands."""
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]
    group: str
    run: Run
    own: bool = False
    """Whether zkCli does not have it."""
    lists_options: bool = False
    """Whether its usage lists the options, too."""
    is_offline: bool = False
    """Whether it needs no session."""
    exit_failed: int = EXIT_FAILED
    """The exit code of a failure, wrong usage included."""

    @property
    def help(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first sentence of the help."""
        return " ".join(self.help.split("\n\n")[0].split())

    def usage(self) -> str:
        """What someone is told who has written it wrongly."""
        first = f"{self.name} {self.synopsis}"
        if not self.lists_options or not self.options:
            return first
        return "\n".join((first, *option_lines(self.options), ""))

    def parse(self, tokens: Sequence[str]) -> Given:
        """Read what stands behind the name. Raises CommandError, of paths as well."""
        given = options.parse(self.options, tokens)
        if len(given) < sum(not argument.is_optional for argument in self.arguments):
            raise CommandError(self.usage())
        for argument, written in zip(self._places(len(given)), given.arguments, strict=False):
            if argument.kind is Kind.PATH and argument.is_checked:
                paths.check(written)
        return given

    def _places(self, count: int) -> Iterator[Argument]:
        """The argument that each of so many written ones stands for."""
        for at in range(count):
            argument = self.place(at)
            if argument is None:
                return
            yield argument

    def place(self, at: int) -> Argument | None:
        """What is to be written at this place, counted from 0; None: nothing more."""
        if at < len(self.arguments):
            return self.arguments[at]
        last = self.arguments[-1] if self.arguments else None
        return last if last is not None and last.repeats else None


def command(
    name: str,
    synopsis: str,
    *takes: Argument | Option,
    group: str,
    own: bool = False,
    lists_options: bool | None = None,
    is_offline: bool = False,
    exit_failed: int = EXIT_FAILED,
) -> Callable[[Run], Command]:
    """Make a command of a function; `takes` are its arguments in their order, and options."""

    def make(run: Run) -> Command:
        return Command(
            name,
            synopsis,
            tuple(each for each in takes if isinstance(each, Argument)),
            tuple(each for each in takes if isinstance(each, Option)),
            group,
            run,
            own,
            own if lists_options is None else lists_options,
            is_offline,
            exit_failed,
        )

    return make


def option_lines(listed: Sequence[Option]) -> Iterator[str]:
    """The options in a column and what they mean, as commons-cli aligns them."""
    heads = {option.key: _head(option) for option in listed}
    width = max(len(head) for head in heads.values())
    for option in sorted(listed, key=lambda option: option.key.lower()):
        yield f" {heads[option.key]:<{width}}   {option.meaning}".rstrip()


def _head(option: Option) -> str:
    names = f"-{option.name}" if option.name else ""
    if option.long:
        names = f"{names},--{option.long}" if names else f"   --{option.long}"
    return f"{names} <{option.value.name}>" if option.value is not None else names
