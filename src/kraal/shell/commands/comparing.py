"""The command that compares subtrees: `diff`."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import click

from kraal.client import NULL, Client
from kraal.shell import acl_text, paths
from kraal.shell.command import command
from kraal.shell.context import Context, Step
from kraal.shell.errors import CommandError
from kraal.shell.options import Argument, Given, Kind, flag
from kraal.shell.results import JsonObject, JsonValue, Result, Results, data_json
from kraal.shell.selection import ALL, counted, refuse_more, skipped
from kraal.shell.walk import Znode, subtree
from kraal.shell.znodes import kind_of

GROUP = "Subtrees"
EXIT_DIFFERENT = 1
EXIT_TROUBLE = 2
PATIENCE = 10.0
"""Seconds that the first connection to another ensemble is waited for, at most."""
SHOWN_MAX = 1 << 16
"""Bytes of data whose lines are compared."""

ACLS = flag("A", "compare the ACLs, too", long="acls")
EPHEMERALS = flag("e", "compare ephemerals, too", long="ephemerals")
UNIFIED = flag("u", "show which lines of the data differ", long="unified")
SUMMARY = flag("s", "only count", long="summary")
_OPERAND = Argument("path", Kind.PATH, is_checked=False)


@dataclass(frozen=True)
class Side:
    """One of the two subtrees."""

    zk: Client
    hosts: str
    path: str
    label: str


@asynccontextmanager
async def _side(shell: Context, written: str) -> AsyncIterator[Side]:
    """The subtree that is meant by `/path`, here, or by `host:port/path`."""
    if written.startswith("/"):
        paths.check(written)
        yield Side(shell.zk, shell.hosts, written, written)
        return
    hosts, _, rest = written.partition("/")
    path = f"/{rest}"
    paths.check(path)
    zk = shell.another(hosts)
    try:
        async with asyncio.timeout(min(PATIENCE, shell.settings.timeout_ms / 1000)):
            await zk.start()
    except TimeoutError:
        raise CommandError(f"{hosts}: no server could be reached") from None
    try:
        yield Side(zk, hosts, path, written)
    finally:
        await zk.close()


@dataclass(frozen=True)
class Heading(Result):
    """Which subtree the signs mean, before the first difference."""

    left: str
    right: str

    def text(self) -> Iterator[str]:
        yield f"--- {self.left}"
        yield f"+++ {self.right}"

    def json(self) -> JsonObject:
        return {"left": self.left, "right": self.right}


@dataclass(frozen=True)
class Difference(Result):
    """A znode that is on one side only, or is not the same."""

    path: str
    """As both roots see it."""
    left: Znode | None
    right: Znode | None
    what: Sequence[str] = ()
    below: int = 0
    """Znodes below one that is on one side only."""
    with_lines: bool = False

    def text(self) -> Iterator[str]:
        if self.left is None or self.right is None:
            sign = "+" if self.left is None else "-"
            more = f"  and {self.below} below" if self.below else ""
            yield f"{sign} {self.path}{more}"
            return
        yield f"~ {self.path}  {', '.join(self._changes(self.left, self.right))}"
        if self.with_lines and "data" in self.what:
            yield from self._lines(self.left.data, self.right.data)

    def _changes(self, left: Znode, right: Znode) -> Iterator[str]:
        for what in self.what:
            if what == "data":
                yield f"data {_size(left.data)} -> {_size(right.data)}"
            elif what == "acl":
                yield f"acl {_acl(left)} -> {_acl(right)}"
            else:
                yield f"kind {_kind(left)} -> {_kind(right)}"

    def _lines(self, left: bytes, right: bytes) -> Iterator[str]:
        if max(len(left), len(right)) > SHOWN_MAX:
            yield "  (too long to be shown)"
            return
        try:
            old, new = left.decode().splitlines(), right.decode().splitlines()
        except UnicodeDecodeError:
            yield "  (binary)"
            return
        shown = list(difflib.unified_diff(old, new, lineterm=""))[2:]
        yield from (f"  {line}" for line in shown or ["(only in the ends of lines)"])

    def coloured(self, line: str) -> str:
        colours = {"-": "red", "+": "green", "~": "yellow"}
        return click.style(line, fg=colours.get(line.lstrip()[:1]))

    def json(self) -> JsonObject:
        fields: dict[str, JsonValue] = {"path": self.path}
        if self.left is None or self.right is None:
            only = "right" if self.left is None else "left"
            return {**fields, "difference": f"only {only}", "below": self.below}
        fields |= {"difference": "changed", "what": [*self.what]}
        if "data" in self.what and self.with_lines:
            fields["left_data"] = data_json(self.left.data)
            fields["right_data"] = data_json(self.right.data)
        return fields


def _size(data: bytes) -> str:
    return "null" if data is NULL else counted(len(data), "byte")


def _acl(znode: Znode) -> str:
    return ",".join(acl_text.entry_text(each) for each in znode.acl or ())


def _kind(znode: Znode) -> str:
    return kind_of(znode.stat).value if znode.stat is not None else "unknown"


@dataclass
class Compared(Result):
    """What a comparison has come to."""

    left: str
    right: str
    is_asked: bool
    """Whether it is shown although there is nothing to say."""
    znodes: int = 0
    only_left: int = 0
    only_right: int = 0
    changed: int = 0
    denied: int = 0

    @property
    def differences(self) -> int:
        return self.only_left + self.only_right + self.changed

    def text(self) -> Iterator[str]:
        if not self.differences and not self.is_asked:
            return
        yield (
            f"{self.differences} of {counted(self.znodes, 'znode')} differ:"
            f" {self.only_left} only in {self.left}, {self.only_right} only in {self.right},"
            f" {self.changed} changed"
        )

    def json(self) -> JsonObject:
        return {
            "left": self.left, "right": self.right, "znodes": self.znodes,
            "only_left": self.only_left, "only_right": self.only_right, "changed": self.changed,
            "no_permission": self.denied,
        }  # fmt: skip


@command(
    "diff", "[options] path path # or host:port/path",
    _OPERAND, _OPERAND, ALL, ACLS, EPHEMERALS, UNIFIED, SUMMARY,
    group=GROUP, own=True, exit_failed=EXIT_TROUBLE,
)  # fmt: skip
async def diff(shell: Context, given: Given) -> Results:
    """What two subtrees differ in: `diff /app /copy`, `diff /app other:2181/app`.

    `-` is a znode that only the first has, `+` one that only the second has, `~` one whose data
    is not the same, or with -A its ACL. Ephemerals are left out unless -e is given, versions and
    times are not compared. Null data and empty data are two things.

    The exit code is as that of diff(1): 0 the same, 1 different, 2 trouble. Neither side is a
    snapshot: what changes meanwhile may be told or not.
    """
    refuse_more(given, 2, diff.usage())
    async with _side(shell, given[0]) as left, _side(shell, given[1]) as right:
        totals = Compared(left.label, right.label, given.has(SUMMARY.key))
        found = _differences(shell, left, right, given, totals)
        async with aclosing(found):
            async for difference in found:
                if not given.has(SUMMARY.key):
                    yield difference
    yield totals
    if totals.denied:
        denied = counted(totals.denied, "znode")
        raise CommandError(f"{denied} could not be read: no permission")
    if totals.differences:
        raise CommandError("", EXIT_DIFFERENT)


async def _differences(
    shell: Context, left: Side, right: Side, given: Given, totals: Compared
) -> Results:
    """The differences in their order, with a heading; counts them."""
    alone: Difference | None = None
    is_first = True
    with shell.progress("comparing") as step:
        pairs = _pairs(_keyed(left, given, totals, step), _keyed(right, given, totals, step))
        async with aclosing(pairs):
            async for key, one, two in pairs:
                totals.znodes += 1
                difference = _compared(key, one, two, given)
                totals.only_left += two is None
                totals.only_right += one is None
                totals.changed += bool(difference and one and two)
                if alone is not None and difference is not None and _is_below(difference, alone):
                    alone = replace(alone, below=alone.below + 1)
                    continue
                if difference is None and alone is None:
                    continue
                if is_first:
                    yield Heading(left.label, right.label)
                    is_first = False
                if alone is not None:
                    yield alone
                    alone = None
                if difference is not None and (one is None or two is None):
                    alone = difference
                elif difference is not None:
                    yield difference
        if alone is not None:
            if is_first:
                yield Heading(left.label, right.label)
            yield alone


def _is_below(difference: Difference, alone: Difference) -> bool:
    """Whether both are on the same side only, one below the other."""
    if (difference.left is None) != (alone.left is None):
        return False
    if (difference.right is None) != (alone.right is None):
        return False
    return alone.path == "/" or difference.path.startswith(f"{alone.path}/")


def _compared(key: Key, one: Znode | None, two: Znode | None, given: Given) -> Difference | None:
    path = "/" + "/".join(key)
    if one is None or two is None:
        return Difference(path, one, two)
    what = []
    if one.data != two.data or (one.data is NULL) != (two.data is NULL):
        what.append("data")
    if one.acl != two.acl:
        what.append("acl")
    if _kind(one) != _kind(two):
        what.append("kind")
    return Difference(path, one, two, what, with_lines=given.has(UNIFIED.key)) if what else None


Key = tuple[str, ...]
"""The names of a path: their order is that of a walk."""
Keyed = AsyncGenerator[tuple[Key, Znode], None]


async def _keyed(side: Side, given: Given, totals: Compared, step: Step) -> Keyed:
    """The znodes of a side that count, as its root sees them."""
    acl = given.has(ACLS.key)
    skip = skipped(side.hosts, side.path, given)
    znodes = subtree(side.zk, side.path, data=True, acl=acl, skip=skip)
    async with aclosing(znodes):
        async for znode in znodes:
            step(1)
            if znode.stat is None:
                totals.denied += not znode.is_gone
                continue
            if znode.stat.ephemeral_owner and not given.has(EPHEMERALS.key):
                continue
            path = paths.seen_from(side.path, znode.path)
            yield tuple(path[1:].split("/")) if path != "/" else (), znode


async def _pairs(
    left: Keyed, right: Keyed
) -> AsyncGenerator[tuple[Key, Znode | None, Znode | None], None]:
    """Both in one order, those with the same path together."""
    async with aclosing(left), aclosing(right):
        one, two = await anext(left, None), await anext(right, None)
        while one is not None or two is not None:
            if two is None or (one is not None and one[0] < two[0]):
                assert one is not None
                yield one[0], one[1], None
                one = await anext(left, None)
            elif one is None or two[0] < one[0]:
                yield two[0], None, two[1]
                two = await anext(right, None)
            else:
                yield one[0], one[1], two[1]
                one, two = await anext(left, None), await anext(right, None)
