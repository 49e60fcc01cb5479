"""What commands get and give."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeAlias, TypeVar

from kraal.admin.json_text import Json
from kraal.errors import KraalError

T = TypeVar("T")
Reply: TypeAlias = dict[str, Json]
"""Members of the answer, before `command` and `error`."""


NUMBER_MAX = (1 << 64) - 1
_NUMBER = re.compile(r"0[xX]([0-9a-fA-F]{1,40})|-?[0-9]{1,40}")


class CommandError(KraalError):
    """The request cannot be answered; the text is the answer's `error`."""


class Parameters:
    """What follows the question mark; of a name that is given twice the last one counts."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def number(self, name: str, default: int | None = None) -> int | None:
        """A number of at least 0, decimal or with 0x. Raises CommandError."""
        text = self._values.get(name)
        if text is None:
            return default
        found = _NUMBER.fullmatch(text)
        if found is None:
            raise CommandError(f"{name} is no number: {text}")
        value = int(found[1], 16) if found[1] else int(text)
        if not 0 <= value <= NUMBER_MAX:
            raise CommandError(f"{name} is negative or too large: {text}")
        return value

    def page(self, rows: Iterable[T]) -> Iterable[T]:
        """Of many rows those that `offset` and `limit` ask for. Raises CommandError."""
        offset, limit = self.number("offset", 0) or 0, self.number("limit")
        if not offset and limit is None:
            return rows
        end = None if limit is None else min(offset + limit, sys.maxsize)
        return islice(rows, min(offset, sys.maxsize), end)
