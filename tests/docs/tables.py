"""Tables of a page, and what the names in their cells stand for."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

_SPAN = re.compile(r"`([^`]+)`")
_MODULES = ("asyncio", "kraal", "logging", "ssl")
_NAME = re.compile(r"([\w.*]+)(?:\((.*)\))?")


class Row(NamedTuple):
    """One line of a table, below the nearest heading."""

    heading: str
    cells: tuple[str, ...]


class Name(NamedTuple):
    """A name in a cell: `dotted(first, second=)`."""

    dotted: str
    arguments: tuple[str, ...]


def rows(page: Path) -> Iterator[Row]:
    """All lines of all tables, their heads left out."""
    heading, lines = "", page.read_text().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        is_head = following.startswith("|--")
        if line.startswith("| ") and not is_head:
            yield Row(heading, tuple(cell.strip() for cell in line.strip("|").split("|")))


def names(cell: str) -> list[Name]:
    """The names in a cell's code spans. Raises ValueError for a span that is none."""
    found = []
    for span in _SPAN.findall(cell):
        match = _NAME.fullmatch(span)
        if match is None:
            raise ValueError(f"not a name: `{span}`")
        given = (match[2] or "").split(",")
        found.append(Name(match[1], tuple(each.strip(" =") for each in given if each.strip())))
    return found


def missing(name: Name, homes: Sequence[str]) -> str | None:
    """What of a name none of the modules has; None if all of it is there.

    A name that begins with the name of a module is looked up there alone.
    """
    if name.dotted.partition(".")[0] in _MODULES:
        try:
            value = pkgutil.resolve_name(name.dotted)
        except (AttributeError, ImportError):
            return name.dotted
        return _missing_argument(name, value)
    for home in homes:
        try:
            value = import_module(home)
            for part in name.dotted.split("."):
                value = _member(value, part)
        except AttributeError:
            continue
        return _missing_argument(name, value)
    return name.dotted


def _member(owner: object, name: str) -> object:
    """A member; of a class, also an attribute that only its instances have."""
    if hasattr(owner, name) or not inspect.isclass(owner):
        return getattr(owner, name)
    for base in owner.__mro__:
        if not base.__module__.startswith("kraal."):
            continue
        if name in inspect.get_annotations(base) or _sets(base, name):
            return None
    raise AttributeError(name)


def _sets(cls: type, name: str) -> bool:
    return re.search(rf"\bself\.{name}(:.+)? = ", inspect.getsource(cls)) is not None


def _missing_argument(name: Name, value: object) -> str | None:
    if not name.arguments:
        return None
    assert callable(value), name
    taken = inspect.signature(value).parameters
    return next((f"{name.dotted}({each})" for each in name.arguments if each not in taken), None)
