"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

ADMIN_AUTH_VARIABLE = "KRAAL_ADMIN_AUTH"
ADMIN_AUTH_DEFAULT = "ip"
EXIT_INTERRUPTED = 130
F = TypeVar("F", bound=Callable[..., Any])


def is_json(function: F) -> F:
    """`--output json|text`, handed over as `is_json`."""
    return click.option(
        "-o",
        "--output",
        "is_json",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        callback=lambda _context, _parameter, value: value == "json",
        help="For people, or for programs.",
    )(function)


def log_directory(function: F) -> F:
    """`--data-log-dir`, for a directory whose logs are elsewhere."""
    return click.option(
        "--data-log-dir",
        "log_directory",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Where the transaction logs are, if not in the data directory (dataLogDir).",
    )(function)


def dry_run(function: F) -> F:
    return click.option(
        "-n", "--dry-run", is_flag=True, help="Say what would be done, and change nothing."
    )(function)


def is_sure(function: F) -> F:
    return click.option("-y", "--yes", "is_sure", is_flag=True, help="Do not ask, as in scripts.")(
        function
    )


def server_access(function: F) -> F:
    """Options that say who asks a running server's admin port, handed over as `access`."""

    @wraps(function)
    def with_access(
        *args: Any, auth: str, ca: Path | None, certificate: Path | None, **others: Any
    ) -> Any:
        from kraal.cli.tools.admin_client import Access  # noqa: PLC0415

        return function(*args, access=Access(auth, ca, certificate), **others)

    for option in (
        click.option(
            "--cert", "certificate", type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="PEM", help="Certificate and key for an https server that asks for one.",
        ),
        click.option(
            "--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="PEM",
            help="Who may have signed the certificate of an https server.",
        ),
        click.option(
            "--auth", default=ADMIN_AUTH_DEFAULT, show_default=True, envvar=ADMIN_AUTH_VARIABLE,
            show_envvar=True, metavar="'SCHEME CREDENTIAL'",
            help="Who asks a running server; it wants all permissions on the root.",
        ),
    ):  # fmt: skip
        with_access = option(with_access)
    return cast(F, with_access)


class Zxid(click.ParamType[int]):
    """`0x200000005`, or decimal."""

    name = "zxid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        try:
            zxid = int(text, 16) if text.lower().startswith("0x") else int(text)
        except ValueError:
            self.fail(f"{text!r} is no zxid: write 0x200000005, or a decimal number", param, ctx)
        if not 0 <= zxid < 1 << 63:
            self.fail(f"{text} is out of range", param, ctx)
        return zxid


ZXID = Zxid()
FILE_OR_DIRECTORY = click.Path(path_type=Path, exists=True)
"""A data directory, a zoo.cfg that names one, or a file of one."""
DIRECTORY = click.Path(path_type=Path, file_okay=False)


class Interruptible(click.Command):
    """Ctrl-C ends it with one line and exit code 130, wherever it is."""

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


class InterruptibleGroup(Interruptible, click.Group):
    """The same for all commands below it."""


def end(code: int) -> None:
    """End the command with this exit code."""
    if code:
        raise SystemExit(code)
