"""`kraal serve`: load a configuration and run one server until it is told to stop.

Exit codes: reference/operations.md section 1.8.
"""

from __future__ import annotations

import os
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
@click.argument("zoo_cfg", required=False, type=click.Path(path_type=Path))
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
    "--parent-pid",
    type=click.IntRange(min=1),
    metavar="PID",
    help="End when this process, which started the server, is gone.",
)
def serve(
    zoo_cfg: Path | None,
    defines: dict[str, str],
    log_level: str,
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
    """
    if parent_pid is not None:
        from kraal.local.parent import end_with  # noqa: PLC0415 - brings threads and ctypes

        end_with(parent_pid)
    overrides = {
        key: value for option, key in _OVERRIDES.items() if (value := options[option]) is not None
    }
    raise SystemExit(_serve(zoo_cfg, defines, overrides, log_level.upper()))


def _serve(
    zoo_cfg: Path | None, defines: dict[str, str], overrides: dict[str, str], log_level: str
) -> int:
    # Imported here so that `kraal --help` does not pay for a server.
    import logging  # noqa: PLC0415

    from kraal.errors import ConfigError  # noqa: PLC0415
    from kraal.server.config_file import load  # noqa: PLC0415

    _log_to_stderr(log_level)
    logger = logging.getLogger("kraal.server.config")
    try:
        loaded = load(zoo_cfg, defines=defines, environment=os.environ, overrides=overrides)
    except ConfigError as error:
        logger.error("Invalid config, exiting abnormally")
        click.echo(str(error), err=True)
        return INVALID_CONFIG
    for warning in loaded.warnings:
        logger.warning("%s", warning)

    from kraal.server.main import run  # noqa: PLC0415 - brings asyncio and uvloop

    return run(loaded.config)


def _log_to_stderr(level: str) -> None:
    """One line per record: `2026-11-22 13:55:03,407 INFO  kraal.server ...`."""
    import logging  # noqa: PLC0415

    logging.addLevelName(logging.WARNING, "WARN")
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-5s %(name)s %(message)s", force=True
    )
