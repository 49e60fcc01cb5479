"""JSON as the reference's admin server prints it, in pieces that are soon made.

Objects have a member on each line, lists are on one line. Long lists and objects are given as
iterators, so that nobody waits while a large answer is put together.
Source: reference/operations.md section 3.2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kraal.admin import java_text


class Pause:
    """Stands in a list for work that was done without a result: others may have a turn."""


PAUSE = Pause()


@dataclass(frozen=True, slots=True)
class Rows:
    """A list that is made while it is printed."""

    items: Iterable[Json | Pause]


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object that is made while it is printed."""

    items: Iterable[tuple[str, Json]]


@dataclass(frozen=True, slots=True)
class Late:
    """A value that is known once what stands before it has been printed."""

    value: Callable[[], str | None]


Json: TypeAlias = (
    bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | Rows | Pairs | Late | None
)


def pieces(value: Json, indent: str = "") -> Iterator[str]:
    """The text of a value, to be joined."""
    if isinstance(value, Rows):
        yield from _list(value.items, indent)
    elif isinstance(value, Pairs):
        yield from _object(value.items, indent)
    elif isinstance(value, Late):
        yield from pieces(value.value())
    elif isinstance(value, Mapping):
        yield from _object(value.items(), indent)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _list(value, indent)
    elif isinstance(value, float):
        yield java_text.number(value) if value == value else '"NaN"'  # noqa: PLR0124 - NaN
    else:
        yield json.dumps(value, ensure_ascii=False)


def _list(items: Iterable[Json | Pause], indent: str) -> Iterator[str]:
    separator = "[ "
    for item in items:
        if isinstance(item, Pause):
            yield ""
            continue
        yield separator
        yield from pieces(item, indent)
        separator = ", "
    yield "[ ]" if separator == "[ " else " ]"


def _object(items: Iterable[tuple[str, Json]], indent: str) -> Iterator[str]:
    separator = "{\n"
    for name, value in items:
        yield f"{separator}{indent}  {json.dumps(name, ensure_ascii=False)} : "
        yield from pieces(value, f"{indent}  ")
        separator = ",\n"
    yield "{ }" if separator == "{\n" else f"\n{indent}}}"
