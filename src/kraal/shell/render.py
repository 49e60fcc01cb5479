"""Writing: results as text or as JSON lines, errors and notes on standard error.

Nothing else in the shell prints. The streams are looked up at each line, because a prompt that is
being edited puts its own in their place.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

import click

from kraal.shell.lines import readable
from kraal.shell.results import JsonObject, Result

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """Standard output and standard error, in one of the two forms."""

    def __init__(self, *, is_json: bool = False) -> None:
        self.is_json = is_json

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sits there and reads what is wrong."""
        return sys.stderr.isatty()

    def result(self, result: Result) -> None:
        """Write an answer or a piece of one; `flush` when it is whole."""
        if self.is_json:
            self._write([_json(result.json(), sys.stdout)])
        else:
            self.notes(result.notes())
            self._write(result.text(), result.coloured)
        if result.is_live:
            self.flush()

    def lines(self, lines: Iterable[str]) -> None:
        """Write what is no answer, such as a greeting; only to people."""
        if not self.is_json:
            self._write(lines)
            self.flush()

    def event(self, lines: Iterable[str], event: JsonObject) -> None:
        """Write what happens by itself: the events of watches and of the session."""
        if self.is_json:
            self._write([_json(event, sys.stdout)])
        else:
            self._write(lines)
        self.flush()

    def notes(self, lines: Iterable[str]) -> None:
        """Write to standard error; programs get each line as `note`."""
        lines = map(readable, lines)
        if self.is_json:
            lines = [_json({"note": line}, sys.stderr) for line in lines]
        self._complain(lines, None)

    def error(self, message: str, fields: JsonObject) -> None:
        """Write why a command has failed, to standard error."""
        message = readable(message)
        if self.is_json:
            message = _json({"error": message, **fields}, sys.stderr)
        self._complain([message], "red")

    def flush(self) -> None:
        sys.stdout.flush()

    def _write(self, lines: Iterable[str], coloured: Callable[[str], str] = str) -> None:
        out = sys.stdout
        if not out.isatty():
            out.writelines(f"{line}\n" for line in lines)
            return
        for line in lines:
            out.write(f"{coloured(visible(line))}\n")

    def _complain(self, lines: Iterable[str], colour: str | None) -> None:
        err = sys.stderr
        for line in lines:
            sys.stdout.flush()
            is_terminal = err.isatty()
            shown = visible(line) if is_terminal else line
            err.write(f"{click.style(shown, fg=colour) if is_terminal and colour else shown}\n")
            err.flush()


def _json(value: JsonObject, stream: TextIO) -> str:
    """A line that the encoding of its stream can hold."""
    is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not is_utf8)


def visible(text: str) -> str:
    """Text that cannot drive a terminal: control characters are written as escapes."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
