"""Output of the data tools: text or JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TextIO, TypeVar

import click

from kraal.cli.program import EXIT_FAILED, give_up_output, told
from kraal.errors import ConfigError, KraalError
from kraal.storage.inspection.findings import Finding, Severity

P = ParamSpec("P")
R = TypeVar("R")
EXIT_DAMAGED = EXIT_FAILED
EXIT_USAGE = 2
EXIT_NO_READER = 141
"""What a shell shows of a program that SIGPIPE ended."""
_COLOURS = {Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "red"}


class FailedError(click.ClickException):
    """A directory or a file that cannot be used; the exit code is that of an error."""

    exit_code = EXIT_DAMAGED


class NobodyError(FailedError):
    """A name of nothing that exists, or of nobody who can be asked, or a credential of nobody."""

    exit_code = EXIT_USAGE


def failing(command: Callable[P, R]) -> Callable[P, R]:
    """Tell kraal's own errors as messages, with the exit code that belongs to them."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
        except KraalError as error:
            raise FailedError(str(error)) from error
        except BrokenPipeError as error:  # as in `| head`: that is no error of ours
            give_up_output()
            raise SystemExit(EXIT_NO_READER) from error
        except OSError as error:
            raise FailedError(told(error)) from error

    return wrapped


def is_utf8(stream: TextIO) -> bool:
    """Whether it has all characters, so that JSON needs no escapes."""
    return stream.encoding.lower().replace("-", "") == "utf8"


def write_json(value: Any) -> None:
    """One document, or one line of a stream."""
    click.echo(json.dumps(value, ensure_ascii=not is_utf8(sys.stdout)))


@contextmanager
def reading(what: str, total_bytes: int | None) -> Iterator[Callable[[str, int], None]]:
    """A bar on standard error while much is read; nothing without a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _bytes: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total_bytes or None)
        yield lambda name, size: bar.update(
            task, advance=size, description=name.rpartition("/")[2] or what
        )


def write_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; elsewhere one line for each row, with columns that align."""
    texts = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*headers, box=None, header_style="bold", pad_edge=False)
        for row in texts:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    for row in [list(headers), *texts]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def write_findings(findings: Iterable[Finding]) -> None:
    """The worst first, each with what can be done."""
    for finding in sorted(findings, key=lambda one: -one.severity):
        name = click.style(finding.severity.name, fg=_COLOURS[finding.severity], bold=True)
        click.echo(f"{name} [{finding.kind}] {finding}")
        if finding.mend is not None:
            click.echo(f"  can be mended: {finding.mend.what}")
        if finding.remedy:
            click.echo(f"  what to do: {finding.remedy}")


def finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.name.lower(),
        "kind": finding.kind,
        "text": finding.text,
        "file": str(finding.path) if finding.path is not None else None,
        "offset": finding.offset,
        "remedy": finding.remedy or None,
        "mend": finding.mend.what if finding.mend is not None else None,
    }


def confirmed(question: str, *, is_sure: bool, to_look: str = "--dry-run to look only") -> None:
    """Ask, unless it was answered on the command line; the command ends where it was not.

    `to_look` is how the command is told to change nothing.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"give --yes where nobody can be asked, or {to_look}")
    click.confirm(question, abort=True)


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
