"""Commands that read znodes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kraal.client import NULL, NoNodeError, OperationTimeoutError, Stat, WatchCallback
from kraal.shell.command import command, option_lines
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.hexdump import hex_dump
from kraal.shell.options import PATH, Given, choice, flag, optional
from kraal.shell.results import (
    JsonObject,
    Lines,
    Result,
    Results,
    StatBlock,
    data_json,
    stat_json,
    stat_lines,
)
from kraal.shell.walk import walk

GROUP = "Reading"
SYNC_TIMEOUT = 30.0
_OLD_WATCH = optional(choice("watch", "watch"))
"""What older releases took in place of `-w`."""


def _watch(shell: Context, given: Given, name: str, usage: str) -> WatchCallback | None:
    """The watch that was asked for, in the old way as well."""
    if len(given) > 1:
        shell.note(
            f"'{name} path [watch]' has been deprecated. Please use '{name} {usage}' instead."
        )
    return shell.watch if given.has("w") or len(given) > 1 else None


@dataclass(frozen=True)
class ChildList(Result):
    """The names of the children, in their order."""

    path: str
    names: Sequence[str]
    stat: Stat | None

    def text(self) -> Iterator[str]:
        yield f"[{', '.join(self.names)}]"
        if self.stat is not None:
            yield from stat_lines(self.stat)

    def json(self) -> JsonObject:
        stat: JsonObject = {"stat": stat_json(self.stat)} if self.stat is not None else {}
        return {"path": self.path, "children": self.names, **stat}


@command(
    "ls", "[-s] [-w] [-R] path",
    optional(PATH), _OLD_WATCH,
    flag("?", "help"), flag("s", "stat"), flag("w", "watch"), flag("R", "recurse"),
    group=GROUP,
)  # fmt: skip
async def ls(shell: Context, given: Given) -> Results:
    """The children of a znode.

    With -s also its stat, with -w a watch on its children. With -R the paths of the znode and
    all below it, one on a line: the children of a znode together, then what is below each.
    """
    if given.has("?"):
        yield Lines(["usage: ls [options] path", *option_lines(ls.options)], {"help": ls.help})
    path = given.get(0)
    if path is None:
        raise CommandError(ls.usage())
    watch = _watch(shell, given, "ls", "[-w] path")
    if not given.has("R"):
        names, stat = await shell.zk.get_children_with_stat(path, watch=watch)
        yield ChildList(path, sorted(names), stat if given.has("s") else None)
        return
    await shell.zk.get(path, watch=watch)
    yield Lines([path], {"path": path})
    async with aclosing(walk(shell.zk, path, watch)) as visits:
        async for visit in visits:
            for each in visit.children():
                yield Lines([each], {"path": each})


@dataclass(frozen=True)
class Data(Result):
    """The data of a znode, in the form that was asked for."""

    path: str
    data: bytes
    stat: Stat
    with_stat: bool
    form: str

    def text(self) -> Iterator[str]:
        data = b"null" if self.data is NULL else self.data
        if self.form == "x":
            yield "\n".join(hex_dump(data))
        elif self.form == "b":
            yield base64.b64encode(data).decode()
        else:
            yield data.decode(errors="replace")
        if self.with_stat:
            yield from stat_lines(self.stat)

    def json(self) -> JsonObject:
        stat: JsonObject = {"stat": stat_json(self.stat)} if self.with_stat else {}
        return {"path": self.path, **data_json(self.data), **stat}


@command(
    "get", "[-s] [-w] [-b] [-x] path",
    PATH, _OLD_WATCH,
    flag("s", "Print znode stats additionally"),
    flag("w", "Watch for changes on the znode"),
    flag("b", "Output data in base64 format"),
    flag("x", "Output data in hexdump format"),
    group=GROUP, lists_options=True,
)  # fmt: skip
async def get(shell: Context, given: Given) -> Results:
    """The data of a znode, read as UTF-8; `null` if it was created without any.

    -b and -x show data that is no text. With `--output json` data that is no UTF-8 is in base64.
    """
    watch = _watch(shell, given, "get", "[-s] [-w] path")
    data, stat = await shell.zk.get(given[0], watch=watch)
    form = "x" if given.has("x") else "b" if given.has("b") else ""
    yield Data(given[0], data, stat, given.has("s"), form)


@command("stat", "[-w] path", PATH, _OLD_WATCH, flag("w", "watch"), group=GROUP)
async def stat(shell: Context, given: Given) -> Results:
    """The stat of a znode; with -w a watch, also on a znode that does not exist yet."""
    watch = _watch(shell, given, "stat", "[-w] path")
    found = await shell.zk.exists(given[0], watch=watch)
    if found is None:
        raise NoNodeError(path=given[0])
    yield StatBlock(given[0], found)


@command("getAllChildrenNumber", "path", PATH, group=GROUP)
async def get_all_children_number(shell: Context, given: Given) -> Results:
    """How many znodes are below this one, at any depth."""
    count = await shell.zk.count_descendants(given[0])
    yield Lines([str(count)], {"path": given[0], "count": count})


@command("getEphemerals", "path", optional(PATH), group=GROUP)
async def get_ephemerals(shell: Context, given: Given) -> Results:
    """The ephemerals of this session whose path begins with `path`; all if it is left out."""
    prefix = given.get(0) or "/"
    found: Iterable[str] = await shell.zk.get_ephemerals(prefix)
    yield Lines([f"[{', '.join(found)}]"], {"prefix": prefix, "ephemerals": [*found]})


@command("sync", "path", PATH, group=GROUP)
async def sync(shell: Context, given: Given) -> Results:
    """Bring the server in step with the leader, so that later reads see every earlier write."""
    try:
        async with asyncio.timeout(SYNC_TIMEOUT):
            await shell.zk.sync(given[0])
    except TimeoutError:
        raise OperationTimeoutError(path=given[0]) from None
    yield Lines(["Sync is OK"], {"path": given[0], "synced": True})
