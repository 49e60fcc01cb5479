"""The command that follows a subtree: `watch`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import click

from kraal.client import (
    NULL,
    EventStream,
    EventType,
    NoAuthError,
    NoNodeError,
    WatchEvent,
)  # fmt: skip
from kraal.shell.command import command
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.options import PATH, Given, flag, text, value
from kraal.shell.results import JsonObject, JsonValue, Result, Results, data_json
from kraal.shell.selection import counted, duration_of, refuse_more, whole
from kraal.shell.walk import PATIENT

GROUP = "Subtrees"
WAITING_MAX = 100_000
"""Events that wait to be shown; more of them become a gap."""

DATA = flag("d", "with the data that the znode has now", long="data")
COUNT = value("c", "end after so many events", long="count", of=text("number"))
TIMEOUT = value("t", "end after this time: 30s, 5m", long="timeout", of=text("time"))

_NAMES: Mapping[EventType, str] = {
    EventType.CREATED: "created",
    EventType.CHANGED: "changed",
    EventType.DELETED: "deleted",
    EventType.GAP: "gap",
}
_COLOURS = {"created": "green", "changed": "yellow", "deleted": "red", "gap": "magenta"}


@dataclass(frozen=True)
class Happened(Result):
    """An event, and the data that was found afterwards."""

    is_live = True
    name: str
    event: WatchEvent
    at: datetime
    data: bytes | None
    """None: not asked for, or there is none to be had."""

    def text(self) -> Iterator[str]:
        head = f"{self.at:%H:%M:%S}.{self.at.microsecond // 1000:03}  {self.name}  "
        if self.name == "gap":
            yield f"{head}events may be missing: what is below {self.event.path} must be read again"
        elif self.data is None:
            yield f"{head}{self.event.path}"
        else:
            yield f"{head}{self.event.path}  {_shown(self.data)}"

    def coloured(self, line: str) -> str:
        before, name, after = line.partition(self.name)
        return f"{before}{click.style(name, fg=_COLOURS[self.name])}{after}"

    def json(self) -> JsonObject:
        fields: dict[str, JsonValue] = {
            "time": self.at.astimezone().isoformat(timespec="milliseconds"),
            "event": self.name, "path": self.event.path, "zxid": self.event.zxid,
        }  # fmt: skip
        return fields if self.data is None else {**fields, **data_json(self.data)}


@dataclass(frozen=True)
class Watching(Result):
    """From now on nothing is missed."""

    is_live = True
    path: str

    def text(self) -> Iterator[str]:
        yield from ()

    def notes(self) -> Iterator[str]:
        yield f"Watching {self.path}"

    def json(self) -> JsonObject:
        return {"watching": self.path}


def _shown(data: bytes) -> str:
    """Data on one line."""
    if data is NULL:
        return "null"
    try:
        return "\\n".join(data.decode().splitlines())
    except UnicodeDecodeError:
        return f"{counted(len(data), 'byte')}, no text"


@command(
    "watch", "[-d] [-c number] [-t time] path",
    PATH, DATA, COUNT, TIMEOUT,
    group=GROUP, own=True,
)  # fmt: skip
async def watch(shell: Context, given: Given) -> Results:
    """Follow a znode and all below it: what is created, changed or deleted, as it happens.

    The time is that of this machine. With -d comes the data that is found after the event, which
    may be newer than it. The znode need not exist. Lost connections are survived; a `gap` says
    that events may be missing since. Ctrl-C ends it, exit code 0; -c and -t end it with 0, or 1
    when the time is over before the events have come, and Ctrl-C before that with 130.
    """
    refuse_more(given, 1, watch.usage())
    count = whole(given, COUNT, 1)
    limit = given.value(TIMEOUT.key)
    deadline = None if limit is None else asyncio.get_running_loop().time() + duration_of(limit)
    seen = 0
    async with shell.zk.watch(given[0], recursive=True, limit=WAITING_MAX) as events:
        shell.is_endless = count is None and limit is None
        yield Watching(given[0])
        while count is None or seen < count:
            try:
                event = await _next(events, deadline)
            except TimeoutError:
                if count is None:
                    return
                told = counted(count, "event")
                raise CommandError(f"{seen} of {told} in {limit}") from None
            if event is None:
                raise CommandError("the session has ended")
            name = _NAMES.get(event.type)
            if name is None:
                continue
            at = datetime.now()
            data = await _data(shell, event) if given.has(DATA.key) else None
            yield Happened(name, event, at, data)
            seen += event.type is not EventType.GAP


async def _next(events: EventStream, deadline: float | None) -> WatchEvent | None:
    """The next event; None at the end of the session. Raises TimeoutError."""
    if deadline is not None and asyncio.get_running_loop().time() >= deadline:
        raise TimeoutError  # although events keep coming
    async with asyncio.timeout_at(deadline):
        return await anext(events, None)


async def _data(shell: Context, event: WatchEvent) -> bytes | None:
    if event.type not in (EventType.CREATED, EventType.CHANGED):
        return None
    try:
        return (await shell.zk.retrying(PATIENT).get(event.path)).data
    except (NoNodeError, NoAuthError):
        return None
