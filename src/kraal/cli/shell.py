"""`kraal shell`, which is also `kraal-cli`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kraal.cli import options
from kraal.cli.program import Program

if TYPE_CHECKING:
    from kraal.client import DigestMd5, Gssapi
    from kraal.shell.kinds import KindSource

PASSWORD_VARIABLE = "KRAAL_SASL_PASSWORD"


@click.command(
    cls=Program,
    short_help="Read and change znodes, as zkCli does.",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@click.option(
    "-server", "--server", "hosts", default="localhost:2181", show_default=True, metavar="HOSTS",
    help="host:port,host:port/chroot",
)  # fmt: skip
@click.option(
    "-timeout", "--timeout", "timeout_ms", type=options.Number(1, 2**31 - 1), default=30_000,
    show_default=True, metavar="MS",
    help="The session timeout, in milliseconds; -waitforconnection waits so long.",
)  # fmt: skip
@click.option("-r", "--read-only", is_flag=True, help="A server without a quorum will do.")
@click.option(
    "-waitforconnection", "--wait-for-connection", "waits", is_flag=True,
    help="Wait for a connection first, and fail without one.",
)  # fmt: skip
@click.option(
    "-client-configuration", "--client-configuration", "configuration", metavar="FILE",
    type=options.Place(path_type=Path),
    help="Properties of ZooKeeper's clients: TLS (PEM), jute.maxbuffer.",
)  # fmt: skip
@click.option(
    "--sasl-digest", "sasl_user", metavar="USER",
    help="Authenticate by SASL with DIGEST-MD5; the password is that of KRAAL_SASL_PASSWORD, or"
    " asked for.",
)  # fmt: skip
@click.option(
    "--sasl-gssapi", is_flag=True, help="Authenticate by SASL with Kerberos, after kinit."
)
@click.option(
    "-q", "--quiet", is_flag=True, help="Only answers: no greeting, no events of the session."
)
@click.option(
    "-e", "--stop-on-error", "stops", is_flag=True,
    help="End at the first command of standard input that fails, with its exit code.",
)  # fmt: skip
@options.is_json
@click.argument("words", metavar="[COMMAND [ARGUMENTS]...]", nargs=-1, type=click.UNPROCESSED)
def shell(
    hosts: str,
    timeout_ms: int,
    read_only: bool,
    waits: bool,
    configuration: Path | None,
    sasl_user: str | None,
    sasl_gssapi: bool,
    quiet: bool,
    stops: bool,
    is_json: bool,
    words: tuple[str, ...],
) -> None:
    """Read and change znodes of kraal or Apache ZooKeeper, with the commands of zkCli.

    With a COMMAND runs that one. Without, reads commands: at a prompt that completes commands,
    options and paths, or from standard input when that is no terminal. `kraal shell help` lists
    them; docs/shell.md has the rest. kraal-cli is the same.

    \b
    Examples:
      kraal shell -server zk1:2181,zk2:2181/app
      kraal shell ls -R /config
      kraal shell -o json get -s /config/app
      kraal shell -e < commands.txt

    Exit code: that of the last command, which is 0, 1 when it failed, 127 when there is no such
    command, 130 when it was interrupted; 2 for wrong options and configurations.
    """
    from kraal.errors import ConfigError  # noqa: PLC0415 - `kraal --help` does not pay for it
    from kraal.shell import client_config, modes  # noqa: PLC0415
    from kraal.shell.settings import Settings  # noqa: PLC0415

    try:
        config = client_config.read(configuration)
        sasl = _sasl(sasl_user, is_kerberos=sasl_gssapi)
    except (ConfigError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    settings = Settings(
        hosts=hosts, timeout_ms=timeout_ms, is_read_only=read_only, waits=waits,
        is_json=is_json, is_quiet=quiet, stops=stops,
        tls=config.tls, sasl=sasl, max_request_bytes=config.max_request_bytes,
        kinds=_kinds, warnings=config.warnings,
    )  # fmt: skip
    options.end(modes.run(settings, words))


def _kinds(target: str) -> KindSource:
    from kraal.cli.tools.kinds import AdminKinds  # noqa: PLC0415 - few commands ask

    return AdminKinds(target)


def _sasl(user: str | None, *, is_kerberos: bool) -> DigestMd5 | Gssapi | None:
    """The mechanism that is asked for, if one is. Raises ConfigError, ValueError, UsageError."""
    from kraal.client import DigestMd5, Gssapi  # noqa: PLC0415

    if user is not None and is_kerberos:
        raise click.UsageError("--sasl-digest and --sasl-gssapi exclude each other")
    if is_kerberos:
        return Gssapi()
    if user is None:
        return None
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"--sasl-digest: {PASSWORD_VARIABLE} is not set")
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return DigestMd5(user, str(password))
