"""The live table of a local ensemble: what is shown, and which key does what."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from kraal.local.process import ServerProcess, State
from kraal.local.status import Seen

_FIXED_LINES = 8
"""Title, which may wrap, head and borders of the table, and the footer after a blank line."""
_EVENT_LINES = 4
_KEYS = (
    ("1-9 ↑↓", "select"), ("k", "kill"), ("p", "pause or continue"), ("r", "restart"),
    ("l", "log"), ("q", "quit"),
)  # fmt: skip
_ARROWS = {b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down"}
_MODE_STYLES = {"leader": "bold green", "follower": "green", "observer": "cyan"}
_STATE_STYLES = {
    State.RUNNING: "",
    State.PAUSED: "yellow",
    State.STOPPING: "yellow",
    State.STOPPED: "dim",
    State.KILLED: "red",
    State.FAILED: "bold red",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One server as it is now."""

    process: ServerProcess
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that the screen shows."""

    connect_string: str
    rows: Sequence[Row]
    selected: int
    """Index of a row."""
    events: Sequence[str]
    shows_log: bool


def render(view: View, height: int) -> RenderableType:
    """The screen, cut to `height` lines as well as it can be."""
    room = max(0, height - _FIXED_LINES - len(view.rows))
    parts: list[RenderableType] = [
        Text.assemble(("kraal ensemble", "bold"), "   connect to ", (view.connect_string, "bold")),
        _table(view),
    ]
    if view.shows_log and room:
        process = view.rows[view.selected].process
        parts.append(Rule(Text(f"{process.place.log}"), align="left", style="dim"))
        parts += [_line(line) for line in process.log_tail(room - 1)]
    elif room:
        parts += [_line(event) for event in view.events[-min(room, _EVENT_LINES) :]]
    parts.append(Padding(_footer(), (1, 0, 0, 0)))
    return Group(*parts)


def describe(process: ServerProcess, seen: Seen) -> str:
    """The state of a server in words."""
    if process.state is State.RUNNING:
        return seen.reason or "running"
    if process.state is State.FAILED and process.exit_code is not None:
        return ended(process.exit_code)
    return str(process.state)


def ended(exit_code: int) -> str:
    """How a process ended by itself."""
    return f"ended by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"


def _table(view: View) -> Table:
    """Fits a terminal of 80 columns; where even that is too wide, the state gives way."""
    table = Table(expand=False, padding=0)
    for heading in ("id", "port"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("role", min_width=8, no_wrap=True)
    for heading in ("epoch", "zxid", "clients", "ms", "req/s", "pid"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state")
    for index, row in enumerate(view.rows):
        table.add_row(*_cells(row), style="reverse" if index == view.selected else "")
    return table


def _cells(row: Row) -> Iterator[Text]:
    process, seen = row.process, row.seen
    figures = seen.figures if process.state is State.RUNNING else None
    place = process.place
    yield Text(str(place.id))
    yield Text(str(place.client_port))
    if figures is None:
        yield Text("-", "dim")
    else:
        yield Text(figures.mode, _MODE_STYLES.get(figures.mode, ""))
    yield Text("" if seen.epoch is None else str(seen.epoch))
    if figures is None:
        yield from (Text() for _ in range(4))
    else:
        yield Text(f"{figures.zxid:#x}")
        yield Text(str(figures.clients))
        yield Text(f"{figures.average_ms:.1f}")
        yield Text("" if seen.requests_per_s is None else f"{seen.requests_per_s:.0f}")
    yield Text("" if process.pid is None else str(process.pid))
    text = describe(process, seen).removeprefix("ended by ").removeprefix("ended with ")
    yield Text(text, _STATE_STYLES[process.state], no_wrap=True, overflow="ellipsis")


def _line(text: str) -> Text:
    """One line, whatever a log contains."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return Text(plain, no_wrap=True, overflow="ellipsis")


def _footer() -> Text:
    text = Text()
    for key, what in _KEYS:
        text.append(key, "bold").append(f" {what}   ")
    return text


# The keyboard


@contextmanager
def keyboard(descriptor: int) -> Iterator[None]:
    """Keys arrive at once and are not echoed; Ctrl-C stays a signal, Ctrl-Z means nothing."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        mode = termios.tcgetattr(descriptor)
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def read_keys(descriptor: int) -> list[str] | None:
    """The keys that were pressed: characters, `up`, `down`. None: the terminal is gone."""
    try:
        data = os.read(descriptor, 256)
    except BlockingIOError:
        return []
    except OSError:
        return None
    return parse_keys(data) if data else None


def parse_keys(data: bytes) -> list[str]:
    """The keys in what a terminal sent; those that mean nothing here are left out."""
    keys = []
    at = 0
    while at < len(data):
        if data[at : at + 1] == b"\x1b":
            sequence = data[at : at + 3]
            at += 3
            if sequence in _ARROWS:
                keys.append(_ARROWS[sequence])
        else:
            keys.append(chr(data[at]).lower())
            at += 1
    return keys
