"""What commands answer: results that know how they are shown to people and to programs."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import click

from kraal.client import NULL, Stat

JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
JsonObject = Mapping[str, JsonValue]


_STAT_KEYS = frozenset(
    {
        "cZxid", "ctime", "mZxid", "mtime", "pZxid", "cversion", "dataVersion", "aclVersion",
        "ephemeralOwner", "dataLength", "numChildren",
    }
)  # fmt: skip


class Result(ABC):
    """An answer, or a part of one, rendered as often and in whichever form it is wanted."""

    is_live: ClassVar[bool] = False
    """Whether it is to be seen at once, although its command goes on."""

    @abstractmethod
    def text(self) -> Iterable[str]:
        """The lines of standard output, as zkCli writes them; without line ends."""

    def coloured(self, line: str) -> str:
        """One of those lines, as it looks on a terminal: the keys of a stat stand out."""
        key, equals, value = line.partition(" = ")
        return f"{click.style(key, fg='cyan')}{equals}{value}" if key in _STAT_KEYS else line

    def notes(self) -> Iterable[str]:
        """Lines of standard error, which are written before."""
        return ()

    @abstractmethod
    def json(self) -> JsonObject:
        """The same for a program; one object on one line."""


Results = AsyncGenerator[Result, None]
"""What a command gives: its answer, as a whole or in pieces as they are found."""


class Done(Result):
    """A command that says nothing when all is well; programs are told what was done."""

    def __init__(self, **fields: JsonValue) -> None:
        self._fields = fields

    def text(self) -> Iterable[str]:
        return ()

    def json(self) -> JsonObject:
        return self._fields


@dataclass(frozen=True)
class Lines(Result):
    """Lines as they stand, and what a program is told instead."""

    lines: Sequence[str]
    value: JsonObject

    def text(self) -> Iterable[str]:
        return self.lines

    def json(self) -> JsonObject:
        return self.value


@dataclass(frozen=True)
class StatBlock(Result):
    """The stat of a znode, or nothing to be seen if it was not asked for."""

    path: str
    stat: Stat
    is_shown: bool = True

    def text(self) -> Iterator[str]:
        if self.is_shown:
            yield from stat_lines(self.stat)

    def json(self) -> JsonObject:
        return {"path": self.path, "stat": stat_json(self.stat)}


def stat_lines(stat: Stat) -> Iterator[str]:
    """The eleven lines of a stat (reference/operations.md section 5.3)."""
    yield f"cZxid = 0x{_unsigned(stat.czxid):x}"
    yield f"ctime = {java_date(stat.ctime)}"
    yield f"mZxid = 0x{_unsigned(stat.mzxid):x}"
    yield f"mtime = {java_date(stat.mtime)}"
    yield f"pZxid = 0x{_unsigned(stat.pzxid):x}"
    yield f"cversion = {stat.cversion}"
    yield f"dataVersion = {stat.version}"
    yield f"aclVersion = {stat.aversion}"
    yield f"ephemeralOwner = 0x{_unsigned(stat.ephemeral_owner):x}"
    yield f"dataLength = {stat.data_length}"
    yield f"numChildren = {stat.num_children}"


def stat_json(stat: Stat) -> JsonObject:
    """The fields as `kraal.client.Stat` names them; times are milliseconds since 1970."""
    return stat._asdict()


def data_json(data: bytes) -> dict[str, JsonValue]:
    """Data for programs: as text if it is UTF-8, otherwise in base64, or null."""
    if data is NULL:
        return {"data": None}
    try:
        return {"data": data.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"data": base64.b64encode(data).decode(), "encoding": "base64"}


def _unsigned(number: int) -> int:
    return number & 0xFFFF_FFFF_FFFF_FFFF


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def java_date(milliseconds: int) -> str:
    """A time in the local zone, as Java writes it and whatever the locale."""
    try:
        at = datetime.fromtimestamp(milliseconds // 1000).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"  # no calendar goes so far
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day} {month} {at.day:02} {at:%H:%M:%S} {at.tzname()} {at.year:04}"
