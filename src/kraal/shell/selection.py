"""Which part of the tree a command is about, and what it tells of it: shared by kraal's own."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from kraal.client.hosts import parse as parse_hosts
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.options import Given, Option, flag
from kraal.shell.walk import RESERVED, Znode, subtree

ALL = flag("a", "with /zookeeper, the server's own znodes", long="all")


def skipped(hosts: str, path: str, given: Given) -> tuple[str, ...]:
    """What a walk leaves out: the server's own znodes, if it would meet them."""
    has_chroot = bool(parse_hosts(hosts)[1])
    return () if has_chroot or path != "/" or given.has(ALL.key) else (RESERVED,)


async def walked(
    shell: Context,
    what: str,
    path: str,
    given: Given,
    *,
    data: bool = False,
    acl: bool = False,
    depth: int | None = None,
    streams: bool = False,
) -> AsyncGenerator[Znode, None]:
    """The znodes of a subtree, with the progress of reading them."""
    skip = skipped(shell.hosts, path, given)
    znodes = subtree(shell.zk, path, data=data, acl=acl, depth=depth, skip=skip)
    with shell.progress(what, streams=streams) as step:
        async with aclosing(znodes):
            async for znode in znodes:
                step(1)
                yield znode


def counted(number: int, one: str, many: str = "") -> str:
    """`1 znode`, `2 znodes`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def refuse_more(given: Given, most: int, usage: str) -> None:
    """Raise CommandError if there are more than so many arguments."""
    if len(given) > most:
        raise CommandError(usage)


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "": 1.0}


def size_of(text: str) -> int:
    """Bytes: a number, with k, M or G for KiB, MiB, GiB. Raises CommandError."""
    found = re.fullmatch(r"([0-9]{1,15})([kKmMgG]?)", text, re.ASCII)
    if found is None:
        raise CommandError(f"{text!r} is no size; write 100, 10k or 1M")
    return int(found[1]) * _UNITS[found[2].lower()]


def duration_of(text: str) -> float:
    """Seconds: a number, with s, m, h, d or w behind it. Raises CommandError."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhdw]?)", text, re.ASCII)
    if found is None:
        raise CommandError(f"{text!r} is no length of time; write 30s, 5m, 2h, 7d or 1w")
    return float(found[1]) * _SECONDS[found[2]]


def whole(given: Given, option: Option, least: int) -> int | None:
    """The value of an option that is a number from `least` on. Raises CommandError."""
    written = given.value(option.key)
    if written is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", written, re.ASCII) or int(written) < least:
        raise CommandError(f"--{option.key} must be a number from {least} on, not {written!r}")
    return int(written)
