"""The Java properties syntax, in which `zoo.cfg` and the text of a membership are written.

Source: reference/operations.md section 1.1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from kraal.errors import ConfigError

_NATURAL_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_UNWRITTEN = re.compile(r"[^ -\[\]-~]")
"""What stands as an escape in a written value: backslash, control and non-ASCII characters."""
_BLANKS = " \t\f"
_TRAILING_BACKSLASHES = re.compile(r"\\*\Z")
_KEY_END = re.compile(r"(?:[^\\=: \t\f]|\\.)*", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_TOLD_CHARACTERS = 200
"""So much of what is wrong is told."""
_TRIMMED = "".join(map(chr, range(0x21)))


class Entry(NamedTuple):
    """Natural lines that belong together: a key with its value, or a comment or blank line."""

    lines: str
    """As they are written, with their ends."""
    key: str | None
    value: str


def parse(data: bytes) -> dict[str, str]:
    """Read keys and values of a file, whose bytes are ISO-8859-1; see `parse_text`."""
    return parse_text(data.decode("latin-1"))


def parse_text(text: str) -> dict[str, str]:
    """Read keys and values, both trimmed; the last of several equal keys wins.

    Raises ConfigError where an escape is malformed.
    """
    return {entry.key: entry.value for entry in entries(text) if entry.key is not None}


def line_numbers(data: bytes) -> dict[str, int]:
    """On which line of a file each key begins; of several equal keys the last."""
    found: dict[str, int] = {}
    number = 1
    for entry in entries(data.decode("latin-1")):
        if entry.key is not None:
            found[entry.key] = number
        number += len(_NATURAL_LINE.findall(entry.lines))
    return found


def repeated(data: bytes) -> list[str]:
    """Keys of a file that are there more than once, each once."""
    counts = Counter(
        entry.key for entry in entries(data.decode("latin-1")) if entry.key is not None
    )
    return [key for key, count in counts.items() if count > 1]


def entries(text: str) -> Iterator[Entry]:
    """The text piece by piece, so that it can be edited; raises as `parse_text`."""
    lines = begun = ""
    for natural in _NATURAL_LINE.findall(text):
        line = natural.rstrip("\r\n").lstrip(_BLANKS)
        lines += natural
        if not begun and (not line or line[0] in "#!"):
            yield Entry(lines, None, "")
            lines = ""
            continue
        line = begun + line
        if _ends_with_escape(line):
            begun = line[:-1]
        else:
            yield _entry(lines, line)
            lines = begun = ""
    if begun:
        yield _entry(lines, begun)


def written(key: str, value: str) -> str:
    """A line, without its end, that reads back as this key and value; both are trimmed."""
    escaped = _UNWRITTEN.sub(_as_escape, value)
    return f"{key}={escaped}"


def _as_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _entry(lines: str, line: str) -> Entry:
    end = _KEY_END.match(line)
    separator = _SEPARATOR.match(line, end.end() if end else 0)
    assert end and separator, "both patterns match the empty string"
    key = _unescape(end[0]).strip(_TRIMMED)
    return Entry(lines, key, _unescape(line[separator.end() :]).strip(_TRIMMED))


def _ends_with_escape(line: str) -> bool:
    """A line goes on when it ends in an odd number of backslashes."""
    trailing = _TRAILING_BACKSLASHES.search(line)
    return trailing is not None and len(trailing[0]) % 2 == 1


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _SURROGATES.sub(_joined, _ESCAPE.sub(_escaped, text))


def _joined(match: re.Match[str]) -> str:
    """The character that two escapes stand for, each a UTF-16 unit as in Java."""
    return match[0].encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    if code == "u":
        written = match.string[:_TOLD_CHARACTERS].encode("unicode_escape").decode()
        readable = written.replace(r"\\", "\\")
        raise ConfigError(f"Malformed \\uxxxx encoding: {readable}")
    return _CONTROLS.get(code, code)
