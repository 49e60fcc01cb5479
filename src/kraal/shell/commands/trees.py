"""Commands that look through a subtree: `tree`, `find`."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

import click

from kraal.shell import paths
from kraal.shell.command import command
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.options import PATH, Given, choice, flag, optional, text, value
from kraal.shell.results import JsonObject, JsonValue, Result, Results, stat_json
from kraal.shell.selection import (
    ALL,
    counted,
    duration_of,
    refuse_more,
    size_of,
    walked,
    whole,
)
from kraal.shell.walk import Znode
from kraal.shell.znodes import NodeKind, kind_of

GROUP = "Subtrees"

DEPTH = value("L", "go down so many levels", long="depth", of=text("levels"))
SIZES = flag("s", "with the size of the data in bytes", long="sizes")
STATS = flag("l", "with owner, version, size and time of the last change", long="stats")


def when(milliseconds: int) -> str:
    """A server's time, in the local zone."""
    try:
        return f"{datetime.fromtimestamp(milliseconds // 1000):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


def znode_json(znode: Znode) -> dict[str, JsonValue]:
    """What programs are told of a znode that was found."""
    fields: dict[str, JsonValue] = {"path": znode.path}
    if znode.stat is not None:
        return {**fields, "kind": kind_of(znode.stat).value, "stat": stat_json(znode.stat)}
    return {**fields, "error": "deleted meanwhile" if znode.is_gone else "no permission"}


@dataclass(frozen=True)
class Branch(Result):
    """A znode of a tree that is drawn."""

    znode: Znode
    lines: str
    """What is in front of its name."""
    with_size: bool
    with_stat: bool

    def text(self) -> Iterator[str]:
        path = self.znode.path
        name = path.rpartition("/")[2] if self.lines else path
        about = ", ".join(self._about())
        yield f"{self.lines}{name}  [{about}]" if about else f"{self.lines}{name}"

    def _about(self) -> Iterator[str]:
        stat = self.znode.stat
        if stat is None:
            yield "deleted meanwhile" if self.znode.is_gone else "no permission"
            return
        if kind_of(stat) is NodeKind.EPHEMERAL:
            owner = f" of 0x{stat.ephemeral_owner & _LONG:x}" if self.with_stat else ""
            yield f"ephemeral{owner}"
        if self.with_stat:
            yield f"version {stat.version}"
        if self.with_size or self.with_stat:
            yield counted(stat.data_length, "byte")
        if self.with_stat:
            yield when(stat.mtime)
        hidden = stat.num_children if not self.znode.names else 0
        if hidden:
            yield f"{counted(hidden, 'child', 'children')} not shown"

    def coloured(self, line: str) -> str:
        stat = self.znode.stat
        name, gap, about = line[len(self.lines) :].partition("  [")
        if stat is None:
            name = click.style(name, fg="red")
        elif kind_of(stat) is NodeKind.EPHEMERAL:
            name = click.style(name, fg="yellow")
        elif stat.num_children:
            name = click.style(name, fg="blue", bold=True)
        shown = click.style(f"{gap}{about}", dim=True) if gap else ""
        return f"{self.lines}{name}{shown}"

    def json(self) -> JsonObject:
        return znode_json(self.znode)


_SESSION = re.compile(r"0[xX]([0-9a-fA-F]{1,16})|[0-9]{1,20}")
_LONG = 0xFFFF_FFFF_FFFF_FFFF


@dataclass
class Totals(Result):
    """What a tree has come to, behind it."""

    znodes: int = 0
    ephemerals: int = 0
    data_bytes: int = 0
    denied: int = 0
    gone: int = 0

    def add(self, znode: Znode) -> None:
        if znode.stat is None:
            self.gone += znode.is_gone
            self.denied += not znode.is_gone
            return
        self.znodes += 1
        self.ephemerals += kind_of(znode.stat) is NodeKind.EPHEMERAL
        self.data_bytes += znode.stat.data_length

    def text(self) -> Iterator[str]:
        yield ""
        yield (
            f"{counted(self.znodes, 'znode')}, {self.ephemerals} ephemeral,"
            f" {counted(self.data_bytes, 'byte')} of data"
        )

    def json(self) -> JsonObject:
        return {
            "znodes": self.znodes, "ephemerals": self.ephemerals, "data_bytes": self.data_bytes,
            "no_permission": self.denied, "deleted_meanwhile": self.gone,
        }  # fmt: skip


def refuse_denied(denied: int) -> None:
    """End with an error if znodes could not be read. Raises CommandError."""
    if denied:
        raise CommandError(
            f"{counted(denied, 'znode')} could not be read, with what is below: no permission"
        )


@command(
    "tree", "[-a] [-L levels] [-s] [-l] [path]",
    optional(PATH), ALL, DEPTH, SIZES, STATS,
    group=GROUP, own=True,
)  # fmt: skip
async def tree(shell: Context, given: Given) -> Results:
    """A znode and all below it, drawn as a tree; counts at the end.

    Ephemerals are marked. Without a path it is the whole tree. It is no snapshot: each znode is
    read for itself, and one that is deleted before its turn comes is marked as such. Znodes that
    may not be read are marked, too, and the exit code is 1.
    """
    refuse_more(given, 1, tree.usage())
    depth = whole(given, DEPTH, 0)
    totals = Totals()
    left: list[int] = []  # how many children are still to come, at each level
    znodes = walked(shell, "reading", given.get(0) or "/", given, depth=depth, streams=True)
    async with aclosing(znodes):
        async for znode in znodes:
            while left and not left[-1]:
                left.pop()
            lines = "".join("│   " if more else "    " for more in left[:-1])
            if left:
                left[-1] -= 1
                lines += "├── " if left[-1] else "└── "
            left.append(len(znode.names))
            totals.add(znode)
            yield Branch(znode, lines, given.has(SIZES.key), given.has(STATS.key))
    yield totals
    refuse_denied(totals.denied)


@dataclass(frozen=True)
class Found(Result):
    """A znode that `find` has found."""

    znode: Znode
    with_stat: bool

    def text(self) -> Iterator[str]:
        stat = self.znode.stat
        if stat is None or not self.with_stat:
            yield self.znode.path
            return
        kind = kind_of(stat).value
        yield f"{kind:<10} {stat.data_length:>9} {when(stat.mtime)}  {self.znode.path}"

    def json(self) -> JsonObject:
        return znode_json(self.znode)


REGEX = flag("r", "the pattern is a regular expression", long="regex")
IGNORE_CASE = flag("i", "upper and lower case are the same", long="ignore-case")
TYPE_NAMES = (NodeKind.EPHEMERAL.value, NodeKind.PERSISTENT.value)
TYPE = value(
    "t", "ephemeral, or persistent: all others", long="type", of=choice("type", *TYPE_NAMES)
)
SIZE = value("s", "data of 100 bytes or more: +100; or less: -10k; or exactly: 0", long="size")
OWNER = value("o", "ephemerals of this session: 0x1000…", long="owner", of=text("session"))
NEWER = value("n", "changed in the last 30s, 5m, 2h, 7d or 1w", long="newer", of=text("time"))
OLDER = value("u", "not changed for so long", long="older", of=text("time"))

Test = Callable[[Znode], bool]


def _name_test(pattern: str, *, is_regex: bool, ignores_case: bool) -> Test:
    """Whether the name fits, or the path where the pattern has a slash. Raises CommandError."""
    flags = re.IGNORECASE if ignores_case else 0
    try:
        compiled = re.compile(pattern if is_regex else fnmatch.translate(pattern), flags)
    except re.error as error:
        raise CommandError(f"{pattern!r} is no regular expression: {error}") from None
    fits = compiled.search if is_regex else compiled.match
    if "/" in pattern:
        return lambda znode: fits(znode.path) is not None
    return lambda znode: fits(znode.path.rpartition("/")[2]) is not None


def _tests(given: Given) -> Iterator[Test]:
    """What the options ask. Raises CommandError."""
    kind = given.value(TYPE.key)
    if kind is not None:
        if kind not in TYPE_NAMES:
            raise CommandError(f"--type {kind!r} is none of {', '.join(TYPE_NAMES)}")
        yield lambda znode: znode.stat is not None and kind_of(znode.stat).value == kind
    size = given.value(SIZE.key)
    if size is not None:
        yield _size_test(size)
    owner = given.value(OWNER.key)
    if owner is not None:
        session = _session(owner)
        yield lambda znode: znode.stat is not None and _owner(znode) == session
    now = time.time()
    newer, older = given.value(NEWER.key), given.value(OLDER.key)
    if newer is not None:
        since = now - duration_of(newer)
        yield lambda znode: znode.stat is not None and znode.stat.mtime / 1000 >= since
    if older is not None:
        until = now - duration_of(older)
        yield lambda znode: znode.stat is not None and znode.stat.mtime / 1000 < until


def _size_test(written: str) -> Test:
    sign = written[:1] if written[:1] in ("+", "-") else ""
    size = size_of(written.removeprefix(sign))

    def fits(znode: Znode) -> bool:
        if znode.stat is None:
            return False
        length = znode.stat.data_length
        return length >= size if sign == "+" else length <= size if sign else length == size

    return fits


def _session(written: str) -> int:
    found = _SESSION.fullmatch(written)
    if found is None:
        raise CommandError(f"{written!r} is no session; write 0x1000… or a number")
    return (int(found[1], 16) if found[1] else int(written)) & _LONG


def _owner(znode: Znode) -> int | None:
    stat = znode.stat
    if stat is None or kind_of(stat) is not NodeKind.EPHEMERAL:
        return None
    return stat.ephemeral_owner & _LONG


@command(
    "find", "[options] [path] pattern",
    replace(PATH, is_checked=False), optional(text("pattern")),
    ALL, REGEX, IGNORE_CASE, TYPE, SIZE, OWNER, NEWER, OLDER, DEPTH, STATS,
    group=GROUP, own=True,
)  # fmt: skip
async def find(shell: Context, given: Given) -> Results:
    """The paths whose name matches a pattern: `find '*.lock'`, `find /app 'node-??'`.

    `*`, `?` and `[a-z]` stand for any characters, one, and one of some. A pattern with a slash
    is for the whole path from the root, where `*` stands for slashes, too. -r takes a regular
    expression, which may match anywhere. All options must hold; ages are by the local clock. What
    is deleted before its turn comes is not found. Exit code 1 if znodes could not be read.
    """
    refuse_more(given, 2, find.usage())
    path, pattern = (given[0], given[1]) if len(given) > 1 else ("/", given[0])
    paths.check(path)
    is_regex, ignores_case = given.has(REGEX.key), given.has(IGNORE_CASE.key)
    tests = [_name_test(pattern, is_regex=is_regex, ignores_case=ignores_case), *_tests(given)]
    denied = 0
    znodes = walked(shell, "searching", path, given, depth=whole(given, DEPTH, 0))
    async with aclosing(znodes):
        async for znode in znodes:
            if znode.stat is None:
                denied += not znode.is_gone
            elif all(test(znode) for test in tests):
                yield Found(znode, given.has(STATS.key))
    refuse_denied(denied)
