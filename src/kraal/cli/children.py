"""`kraal children`: a list of children that no client can read in one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kraal.cli import options

if TYPE_CHECKING:
    from kraal.cli.tools.admin_client import Access

LIMIT_MAX = 10_000


@click.command(short_help="List the children of a znode in pages.")
@click.argument("server", type=options.UTF8, metavar="HOST:PORT")
@click.argument("path", type=options.UTF8)
@click.option("--prefix", type=options.UTF8, metavar="TEXT", help="Only names that begin with it.")
@click.option(
    "--after", type=options.UTF8, metavar="NAME", help="Only names behind this one: the next page."
)
@click.option(
    "--limit", type=options.Number(1, LIMIT_MAX), default=1000, show_default=True, metavar="N",
    help="Names of a page.",
)  # fmt: skip
@click.option("--all", "is_all", is_flag=True, help="All pages.")
@click.option(
    "-p", "--paths", "as_paths", is_flag=True, help="Whole paths, as other commands take them."
)
@click.option("-l", "--long", "is_long", is_flag=True, help="With kind, bytes and children.")
@options.server_access
@options.is_json
def children(
    server: str,
    path: str,
    prefix: str | None,
    after: str | None,
    limit: int,
    is_all: bool,
    as_paths: bool,
    is_long: bool,
    access: Access,
    is_json: bool,
) -> None:
    """List the children of PATH in the order of their names, however many there are.

    It asks the admin port of a kraal server (HOST:PORT, or its URL): clients get all names in one
    answer, and break the connection where that is longer than their jute.maxbuffer. A page is
    printed, and on standard error how the next one is asked for. With --all they are fetched one
    behind the other; what exists all the while is there once. With `--output json` each child is
    an object on a line of its own.

    \b
    Examples:
      kraal children zk1:8080 /queue --limit 100 --prefix task-
      kraal children zk1:8080 /queue --all --long
      kraal children zk1:8080 /queue --all --paths | kraal shell -server zk1:2181 deleteall -
    """
    from kraal.cli.tools import children as tool  # noqa: PLC0415 - `kraal --help` is fast

    pages = tool.Pages(server, access, path, prefix=prefix, limit=LIMIT_MAX if is_all else limit)
    shown = tool.Shown(as_paths=as_paths, is_long=is_long, is_json=is_json)
    options.end(tool.listed(pages, shown, after, is_all=is_all))
