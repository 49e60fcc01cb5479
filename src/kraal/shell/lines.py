"""A line and its words: separated by blanks, in quotes of either kind where they have some."""

from __future__ import annotations

import re

_WORD = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^\s\"']\S*)", re.ASCII)
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""As `surrogateescape` writes it."""


def split(line: str) -> list[str]:
    """The words of a line, without their quotes.

    As in zkCli a quote means something only where a word begins, there is no escape, and a quote
    that is not closed is left out. Source: reference/operations.md section 5.1.
    """
    return [next(part for part in match.groups() if part is not None) for match in found(line)]


def found(line: str) -> list[re.Match[str]]:
    """The words where they stand, for completion."""
    return list(_WORD.finditer(line))


def readable(text: str) -> str:
    """What was typed, with its bytes that are no UTF-8 as `\\xff`."""
    return _ESCAPED_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)


def quoted(word: str) -> str:
    """A word as it has to be written, if it can be; one with both quotes cannot."""
    if word and not re.search(r"\s", word, re.ASCII) and word[0] not in "\"'":
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'
