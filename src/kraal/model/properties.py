"""The Java properties syntax, in which `zoo.cfg` and the text of a membership are written.

Source: reference/operations.md section 1.1.
"""

from __future__ import annotations

import re

from kraal.errors import ConfigError

_NATURAL_LINE = re.compile(r"\r\n|\r|\n")
_BLANKS = " \t\f"
_TRAILING_BACKSLASHES = re.compile(r"\\*\Z")
_KEY_END = re.compile(r"(?:[^\\=: \t\f]|\\.)*", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_TRIMMED = "".join(map(chr, range(0x21)))


def parse(data: bytes) -> dict[str, str]:
    """Read keys and values of a file, whose bytes are ISO-8859-1; see `parse_text`."""
    return parse_text(data.decode("latin-1"))


def parse_text(text: str) -> dict[str, str]:
    """Read keys and values, both trimmed; the last of several equal keys wins.

    Raises ConfigError where an escape is malformed.
    """
    settings: dict[str, str] = {}
    for line in _logical_lines(text):
        end = _KEY_END.match(line)
        separator = _SEPARATOR.match(line, end.end() if end else 0)
        assert end and separator, "both patterns match the empty string"
        key = _unescape(end[0]).strip(_TRIMMED)
        settings[key] = _unescape(line[separator.end() :]).strip(_TRIMMED)
    return settings


def _logical_lines(text: str) -> list[str]:
    """Join continued lines and drop blank lines and comments."""
    lines: list[str] = []
    begun = ""
    for natural in _NATURAL_LINE.split(text):
        line = natural.lstrip(_BLANKS)
        if not begun and (not line or line[0] in "#!"):
            continue
        line = begun + line
        if _ends_with_escape(line):
            begun = line[:-1]
        else:
            lines.append(line)
            begun = ""
    return [*lines, begun] if begun else lines


def _ends_with_escape(line: str) -> bool:
    """A line goes on when it ends in an odd number of backslashes."""
    trailing = _TRAILING_BACKSLASHES.search(line)
    return trailing is not None and len(trailing[0]) % 2 == 1


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    if code == "u":
        raise ConfigError(f"Malformed \\uxxxx encoding: {match.string}")
    return _CONTROLS.get(code, code)
