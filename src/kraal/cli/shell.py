"""`kraal shell`, which is also `kraal-cli`."""

from __future__ import annotations

from pathlib import Path

import click

from kraal.cli import options


@click.command(
    short_help="Read and change znodes, as zkCli does.",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@click.option(
    "-server", "--server", "hosts", default="localhost:2181", show_default=True, metavar="HOSTS",
    help="host:port,host:port/chroot",
)  # fmt: skip
@click.option(
    "-timeout", "--timeout", "timeout_ms", type=click.IntRange(1, 2**31 - 1), default=30_000,
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
    type=click.Path(path_type=Path),
    help="Properties of ZooKeeper's clients: TLS (PEM), jute.maxbuffer.",
)  # fmt: skip
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
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    settings = Settings(
        hosts=hosts, timeout_ms=timeout_ms, is_read_only=read_only, waits=waits,
        is_json=is_json, is_quiet=quiet, stops=stops,
        tls=config.tls, max_request_bytes=config.max_request_bytes,
        warnings=config.warnings,
    )  # fmt: skip
    options.end(modes.run(settings, words))
