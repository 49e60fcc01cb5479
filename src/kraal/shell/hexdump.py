"""Data as a table of bytes, as `get -x` shows it (reference/operations.md section 5.3)."""

from __future__ import annotations

from collections.abc import Iterator

_RULE = "+--------+-------------------------------------------------+----------------+"


def hex_dump(data: bytes) -> Iterator[str]:
    """The lines of the table; no data has none."""
    if not data:
        return
    yield "         +-------------------------------------------------+"
    yield "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |"
    yield _RULE
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        shown = "".join(chr(byte) if 0x1F < byte < 0x7F else "." for byte in row)
        yield f"|{at:08x}| {row.hex(' '):<47} |{shown:<16}|"
    yield _RULE
