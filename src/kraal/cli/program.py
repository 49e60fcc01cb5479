"""What every command of kraal begins and ends with: its streams, and the last error."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

EXIT_FAILED = 3
EXIT_INTERRUPTED = 130
_OF_WRITING = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


class Program(click.Command):
    """A command that is a process: `main` is what the process runs.

    Ctrl-C ends it with one line and exit code 130, wherever it is.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """What the command returns."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            pass
        except click.Abort as error:  # of a question; the end of the input is none
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
        click.echo("Interrupted", err=True)
        raise SystemExit(EXIT_INTERRUPTED)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        open_streams()
        try:
            return super().main(args, *rest, **settings)
        except OSError as error:  # of writing a help text; commands tell their own
            end_of(error)


class ProgramGroup(Program, click.Group):
    """The same for all commands below it."""


def open_streams() -> None:
    """Streams that can be written to: a process may be started without some of them.

    What the encoding of a stream lacks is written as an escape, as on standard error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - to the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def told(error: OSError) -> str:
    """What the system refused, and of which file; what cannot be written is given up."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if error.errno not in _OF_WRITING:
        return reason
    give_up_output()
    return f"standard output: {reason}"


def give_up_output() -> None:
    """The interpreter must not try again at its end to write what nobody takes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end_of(error: OSError) -> NoReturn:
    """End the process with the message of an error."""
    click.echo(f"Error: {told(error)}", err=True)
    raise SystemExit(EXIT_FAILED)
