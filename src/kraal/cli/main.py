"""The `kraal` command: a group whose commands import what they need when they run."""

from __future__ import annotations

import click

from kraal.cli.ensemble import ensemble
from kraal.cli.serve import serve
from kraal.version import REFERENCE_VERSION, __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    message=f"%(prog)s %(version)s (speaks as Apache ZooKeeper {REFERENCE_VERSION})",
    prog_name="kraal",
)
def main() -> None:
    """ZooKeeper for Python: the coordination service, without a JVM."""


main.add_command(serve)
main.add_command(ensemble)
