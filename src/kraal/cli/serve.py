"""`kraal serve`: load a configuration and run one server until it is told to stop.

Exit codes: reference/operations.md section 1.8.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

INVALID_CONFIG = 2
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_OVERRIDES = {
    "client_port": "clientPort",
    "client_host": "clientPortAddress",
    "data_dir": "dataDir",
    "data_log_dir": "dataLogDir",
    "tick_time": "tickTime",
}


def parse_defines(
    _context: click.Context, _parameter: click.Parameter, defines: tuple[str, ...]
) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping."""
    pairs = {}
    for define in defines:
        name, equals, value = define.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{define!r} is not of the form NAME=VALUE")
        pairs[name] = value
    return pairs


@click.command(short_help="Run a server.")
@click.argument("zoo_cfg", required=False, type=click.Path())
@click.option("--client-port", metavar="PORT", help="Port for clients; 0 takes a free one.")
@click.option("--client-host", metavar="HOST", help="Address to listen on (clientPortAddress).")
@click.option("--data-dir", metavar="DIR", help="Where snapshots, myid and by default logs are.")
@click.option("--data-log-dir", metavar="DIR", help="Where transaction logs are.")
@click.option("--tick-time", metavar="MS", help="Length of a tick, the unit of session timeouts.")
@click.option(
    "-D",
    "--define",
    "defines",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_defines,
    help="A ZooKeeper property, with or without `zookeeper.`; zoo.cfg wins over it.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    envvar="KRAAL_LOG_LEVEL",
    show_envvar=True,
    help="What goes to standard error.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "plain", "json"]),
    default="auto",
    show_default=True,
    envvar="KRAAL_LOG_FORMAT",
    show_envvar=True,
    help="Coloured in a terminal, else plain lines; or an object of JSON for each record.",
)
@click.option(
    "--log-levels",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    envvar="KRAAL_LOG_LEVELS",
    show_envvar=True,
    help="Levels of single loggers, as kraal.server=DEBUG; read again at SIGHUP.",
)
@click.option(
    "--parent-pid",
    type=click.IntRange(min=1),
    metavar="PID",
    help="End when this process, which started the server, is gone.",
)
def serve(
    zoo_cfg: str | None,
    defines: dict[str, str],
    log_level: str,
    log_format: str,
    log_levels: Path | None,
    parent_pid: int | None,
    **options: str | None,
) -> None:
    """Run a server, with ZooKeeper's zoo.cfg or without any file.

    Without ZOO_CFG the server stores in ./kraal-data and listens on 127.0.0.1:2181.

    Every key of zoo.cfg can be set in the environment as well: KRAAL_ and the key in upper
    case, with underscores. What counts more stands later: -D, zoo.cfg, environment, options.

    \b
    Examples:
      kraal serve
      kraal serve /etc/zookeeper/zoo.cfg
      kraal serve --client-port 2182 --data-dir /var/lib/kraal
      kraal serve -D extendedTypesEnabled=true zoo.cfg
      KRAAL_4LW_COMMANDS_WHITELIST='*' kraal serve

    Exit code: 0 it was stopped, 2 the configuration is wrong, 3 the data directory cannot be used,
    10 a snapshot failed, 14 the election port cannot be listened on, 1 anything else.
    """
    if parent_pid is not None:
        from kraal.local.parent import end_with  # noqa: PLC0415 - brings threads and ctypes

        if os.getppid() != parent_pid:
            gone = "this process did not start the server, or it is gone"
            click.echo(f"--parent-pid {parent_pid}: {gone}", err=True)
            raise SystemExit(INVALID_CONFIG)
        end_with(parent_pid)
    overrides = {
        key: value for option, key in _OVERRIDES.items() if (value := options[option]) is not None
    }
    from kraal.cli import logs  # noqa: PLC0415 - as below

    set_levels = logs.start(log_level.upper(), logs.LogFormat(log_format), log_levels)
    raise SystemExit(_serve(zoo_cfg, defines, overrides, set_levels))


def _serve(
    zoo_cfg: str | None,
    defines: dict[str, str],
    overrides: dict[str, str],
    set_levels: Callable[[], None],
) -> int:
    # Imported here so that `kraal --help` does not pay for a server.
    import logging  # noqa: PLC0415

    from kraal.errors import ConfigError  # noqa: PLC0415
    from kraal.server.config.file import load  # noqa: PLC0415
    from kraal.server.tls.contexts import check_stores  # noqa: PLC0415

    logger = logging.getLogger("kraal.server.config")
    try:
        loaded = load(zoo_cfg, defines=defines, environment=os.environ, overrides=overrides)
        check_stores(loaded)
    except ConfigError as error:
        logger.error("Invalid config, exiting abnormally")
        click.echo(str(error), err=True)
        return INVALID_CONFIG
    for warning in loaded.warnings:
        logger.warning("%s", warning)

    audit_file = loaded.config.audit_file
    if audit_file is not None:
        from kraal.cli.logs import audit_to  # noqa: PLC0415

        try:
            audit_to(Path(audit_file))
        except OSError as error:
            click.echo(f"audit.file={audit_file}: {error.strerror}", err=True)
            return INVALID_CONFIG

    from kraal.server.main import run  # noqa: PLC0415 - brings asyncio and uvloop

    return run(loaded.config, hung_up=set_levels)
