"""`kraal children`: pages of the admin command `children`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import click

from kraal.cli.tools.admin_client import Access, AdminClient
from kraal.cli.tools.terminal import FailedError, NobodyError, failing, write_json

COMMAND = "children"
_GONE = "Node does not exist"
_NO_PATH = "no path of a znode"


class GoneError(NobodyError):
    """There is no such znode."""


@dataclass(frozen=True, slots=True)
class Child:
    """What a server says of one child; `name` is among the fields."""

    path: str
    name: str
    fields: dict[str, object]

    def about(self) -> str:
        """Kind, size and number of children in columns."""
        kind, size, below = (self.fields.get(key) for key in ("kind", "data_bytes", "children"))
        return f"{kind:<10} {size:>9} {below:>9}"


class Pages:
    """The children of one znode. `next` is where the page that was read last left off."""

    def __init__(
        self, server: str, access: Access, path: str, *, prefix: str | None = None, limit: int
    ) -> None:
        self._client = AdminClient(server, access)
        self.path = path
        self._asked = {"path": path, "limit": str(limit), "prefix": prefix or ""}
        self.next: str | None = None

    def page(self, after: str | None) -> Iterator[Child]:
        """One page. Raises FailedError when the server refuses it or is none of kraal's."""
        query = urlencode({**self._asked, "after": after or ""})
        with self._client.asked(f"{COMMAND}?{query}") as response:
            if response.status != 200:
                raise self._client.refusal(response, COMMAND)
            said = self._client.members(response)
        rows, following = said.get("children"), said.get("next")
        if not isinstance(rows, list) or not isinstance(following, str | None):
            refused = self._client.refused(said, COMMAND)
            is_gone = str(said.get("error")).startswith(_GONE)
            is_no_path = _NO_PATH in str(said.get("error"))
            if is_gone or is_no_path:
                raise (GoneError if is_gone else NobodyError)(refused.message)
            raise refused
        self.next = following
        above = self.path if self.path != "/" else ""
        for row in rows:
            name = row.get("name") if isinstance(row, dict) else None
            if not isinstance(name, str):
                raise FailedError(f"{self._client.name} answers what is no list of children")
            yield Child(f"{above}/{name}", name, row)

    def all(self, after: str | None = None) -> Iterator[Child]:
        """All pages, one behind the other. Raises FailedError."""
        yield from self.page(after)
        while self.next is not None:
            yield from self.page(self.next)


@dataclass(frozen=True, slots=True)
class Shown:
    """How children are printed."""

    as_paths: bool = False
    is_long: bool = False
    is_json: bool = False

    def write(self, child: Child) -> None:
        """One child on a line; names of znodes have no control characters."""
        if self.is_json:
            write_json({"path": child.path, **child.fields})
            return
        name = child.path if self.as_paths else child.name
        click.echo(f"{child.about()}  {name}" if self.is_long else name)


@failing
def listed(pages: Pages, shown: Shown, after: str | None, *, is_all: bool) -> int:
    """Print one page, or all from there on."""
    for child in pages.all(after) if is_all else pages.page(after):
        shown.write(child)
    if pages.next is not None:
        click.echo(f"There are more: --after {shlex.quote(pages.next)}, or --all", err=True)
    return 0
