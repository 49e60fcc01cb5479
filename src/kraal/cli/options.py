"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

ADMIN_AUTH_VARIABLE = "KRAAL_ADMIN_AUTH"
ADMIN_AUTH_DEFAULT = "ip"
_ZXID = re.compile(r"0[xX]([0-9a-fA-F]+)|[0-9]+")
_DIGITS_MAX = 100
"""Python refuses to read thousands."""
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
        type=DIRECTORY,
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
            "--cert", "certificate", type=Place(path_type=Path, exists=True, dir_okay=False),
            metavar="PEM", help="Certificate and key for an https server that asks for one.",
        ),
        click.option(
            "--ca", type=Place(path_type=Path, exists=True, dir_okay=False), metavar="PEM",
            help="Who may have signed the certificate of an https server.",
        ),
        click.option(
            "--auth", type=UTF8, default=ADMIN_AUTH_DEFAULT, show_default=True,
            envvar=ADMIN_AUTH_VARIABLE, show_envvar=True, metavar="'SCHEME CREDENTIAL'",
            help="Who asks a running server; it wants all permissions on the root.",
        ),
    ):  # fmt: skip
        with_access = option(with_access)
    return cast(F, with_access)


class Number(click.IntRange):
    """A number in the digits 0 to 9: Python takes others, and `1_0`, as well."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]+", value):
            self.fail(f"{value!r} is no number", param, ctx)
        return super().convert(value, param, ctx)


class Place(click.Path):
    """A path that says where: an empty one would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty path names nothing", param, ctx)
        return super().convert(value, param, ctx)


class Utf8(click.ParamType[str]):
    """Text for a server or about znodes, which is always UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail(f"{value!a} is no UTF-8", param, ctx)
        return str(value)


class Zxid(click.ParamType[int]):
    """`0x200000005`, or decimal."""

    name = "zxid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        if not (found := _ZXID.fullmatch(text)):
            self.fail(f"{text!r} is no zxid: write 0x200000005, or a decimal number", param, ctx)
        zxid = int(found[1], 16) if found[1] else int(text) if len(text) < _DIGITS_MAX else 1 << 63
        if not 0 <= zxid < 1 << 63:
            self.fail(f"{text} is out of range", param, ctx)
        return zxid


ZXID = Zxid()
UTF8 = Utf8()
FILE_OR_DIRECTORY = Place(path_type=Path, exists=True)
"""A data directory, a zoo.cfg that names one, or a file of one."""
DIRECTORY = Place(path_type=Path, file_okay=False)


def end(code: int) -> None:
    """End the command with this exit code."""
    if code:
        raise SystemExit(code)
