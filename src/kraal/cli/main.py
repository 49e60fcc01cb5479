"""The `kraal` command: a group whose commands import what they need when they run."""

from __future__ import annotations

import click

from kraal.cli.care import backup, purge, restore
from kraal.cli.children import children
from kraal.cli.data import doctor, history, log, snapshot
from kraal.cli.ensemble import ensemble
from kraal.cli.program import ProgramGroup
from kraal.cli.serve import serve
from kraal.cli.shell import shell
from kraal.version import REFERENCE_VERSION, __version__


@click.group(cls=ProgramGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    message=f"%(prog)s %(version)s (speaks as Apache ZooKeeper {REFERENCE_VERSION})",
    prog_name="kraal",
)
def main() -> None:
    """ZooKeeper for Python: the coordination service, without a JVM."""


for command in (
    serve, shell, ensemble, doctor, log, snapshot, history, purge, backup, restore, children,
):  # fmt: skip
    main.add_command(command)
