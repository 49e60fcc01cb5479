"""`kraal ensemble`: an ensemble of local servers with one live table, to try things out.

`kraal ensemble force-new` is for real ones: a new ensemble of one, when the majority is lost.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kraal.cli import options
from kraal.cli.serve import parse_defines

if TYPE_CHECKING:
    from kraal.local.layout import Layout

INVALID_CONFIG = 2


class EnsembleGroup(click.Group):
    """A group whose first command, `run`, needs no name: `kraal ensemble 3`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["run", *args])

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help of `run`, and what else there is."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] [N]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix="       ")
        run.format_help_text(ctx, formatter)
        run.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=EnsembleGroup,
    short_help="Run an ensemble of local servers; make a new one of a survivor.",
    no_args_is_help=False,
)
def ensemble() -> None:
    """Run an ensemble of local servers, or make a new ensemble of a survivor."""


@ensemble.command(short_help="Run an ensemble of local servers; the default.")
@click.argument("n", required=False, type=options.Number(1, 99), metavar="[N]")
@click.option(
    "--observers", type=options.Number(0, 99), metavar="M", help="Servers that do not vote."
)
@click.option(
    "--base-port",
    type=options.Number(1, 65035),
    metavar="PORT",
    help="Client port of server 1, the others' follow; quorum ports are 100, election ports 200,"
    " admin ports 300 and metrics ports 400 above.  [default: 2181]",
)
@click.option(
    "--data-dir",
    type=options.DIRECTORY,
    default=Path("kraal-ensemble"),
    show_default=True,
    metavar="DIR",
    help="Holds a directory for each server: zoo.cfg, data, server.log.",
)
@click.option(
    "-D",
    "--define",
    "defines",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_defines,
    help="A key of zoo.cfg for all servers; it stays for later starts.",
)
@click.option("--plain", is_flag=True, help="Lines instead of a table, as without a terminal.")
def run(
    n: int | None,
    observers: int | None,
    base_port: int | None,
    data_dir: Path,
    defines: dict[str, str],
    plain: bool,
) -> None:
    """Run N local servers (3 by default) as an ensemble, each in its own process.

    A table shows what they do. Keys: a digit or an arrow selects a server, k kills it, p pauses
    and continues it, r restarts it, l shows its log, q stops all of them.

    The servers keep their data: another start with the same directory goes on with it. N stays
    what it was; observers may come and go.

    \b
    Examples:
      kraal ensemble 3
      kraal ensemble 5 --observers 2 --base-port 3000
      kraal ensemble -D tickTime=500 -D snapCount=1000 --data-dir /tmp/zk
    """
    settings = {key.removeprefix("zookeeper."): value for key, value in defines.items()}
    raise SystemExit(_ensemble(n, observers, base_port, data_dir, settings, plain))


@ensemble.command("force-new", short_help="Make a survivor a new ensemble of one.")
@click.option(
    "--config", "zoo_cfg", type=options.Place(path_type=Path, exists=True, dir_okay=False),
    metavar="ZOO_CFG", help="The survivor's configuration; it is rewritten, too.",
)  # fmt: skip
@click.option(
    "--data-dir", type=options.FILE_OR_DIRECTORY, metavar="DIR",
    help="Instead: the survivor's data directory; the configuration is left to you.",
)  # fmt: skip
@click.option(
    "--server-id", type=options.Number(0), metavar="ID",
    help="The survivor's id, if dataDir/myid does not tell.",
)  # fmt: skip
@options.dry_run
@options.is_sure
def force_new(
    zoo_cfg: Path | None, data_dir: Path | None, server_id: int | None, dry_run: bool, is_sure: bool
) -> None:
    """Make a survivor the only member of a new ensemble, when the majority is lost for good.

    The last resort: what the lost majority acknowledged and the survivor never got is lost. All
    servers must be stopped, this one too. The data stay; they go on in a new epoch, so whatever
    turns up of the old ensemble is older. With --config the membership becomes this server
    alone; zoo.cfg.before-force-new is the configuration as it was.

    \b
    Example:
      kraal ensemble force-new --config /etc/zookeeper/zoo.cfg
    """
    from kraal.cli.tools import care  # noqa: PLC0415

    options.end(care.force_new(zoo_cfg, data_dir, server_id, dry_run=dry_run, is_sure=is_sure))


def _ensemble(
    voters: int | None,
    observers: int | None,
    base_port: int | None,
    data_dir: Path,
    settings: dict[str, str],
    plain: bool,
) -> int:
    # Imported here so that `kraal --help` does not pay for servers and tables.
    from kraal.local import layout  # noqa: PLC0415

    wanted = layout.Wanted(
        voters=voters, observers=observers, base_port=base_port, settings=settings
    )
    try:
        found = layout.prepare(data_dir, wanted)
    except layout.LayoutError as error:
        click.echo(f"Error: {error}", err=True)
        return INVALID_CONFIG
    except OSError as error:
        click.echo(f"Error: {error.filename}: {error.strerror}", err=True)
        return INVALID_CONFIG
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if taken := layout.taken_ports(found.places):
        click.echo(
            f"Error: somebody listens on {', '.join(taken)}; give another --base-port", err=True
        )
        return INVALID_CONFIG
    observing = sum(place.is_observer for place in found.places)
    servers = layout.count(len(found.places) - observing, observing)
    click.echo(f"Ensemble of {servers}, data in {data_dir}")
    click.echo(f"Connect to {found.connect_string}")
    for line in _http_lines(found):
        click.echo(line)

    import asyncio  # noqa: PLC0415

    from kraal.cli.ensemble_run import EnsembleRun  # noqa: PLC0415 - brings rich

    async def run() -> int:
        return await EnsembleRun(found, is_plain=plain or not _has_terminal()).run()

    code = asyncio.run(run())
    click.echo(f"Stopped; the data stays in {data_dir}")
    return code


def _http_lines(layout: Layout) -> Iterator[str]:
    """Where admin servers and metrics are."""
    for what, ports, path in (
        ("Admin servers", [place.admin_port for place in layout.places], "commands"),
        ("Metrics", [place.metrics_port for place in layout.places], "metrics"),
    ):
        if served := [str(port) for port in ports if port is not None]:
            first = f"http://127.0.0.1:{served[0]}/{path}"
            others = f" and ports {', '.join(served[1:])}" if served[1:] else ""
            is_there = importlib.util.find_spec("uvicorn") is not None
            yield f"{what}: {first}{others}" if is_there else f"{what}: pip install 'kraal[admin]'"


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
