"""Every import of every room is allowed by the table in tests/layers.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import layers

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "kraal"
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room of a module of the package; the package's own top files have none."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports hide the room"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def layer_faults(room: str, source: str, file: str = "") -> list[str]:
    """Imports of `source`, a module of `room`, that the table does not allow."""
    allowed = (*layers.OPEN_TO_ALL, room, *layers.MAY_IMPORT[room])
    return [
        f"line {line}: {room} may not import {name}"
        for line, name in imported_names(ast.parse(source, file))
        if is_within(name, "kraal")
        and not any(is_within(name, f"kraal.{module}") for module in allowed)
    ]


def purity_faults(source: str, file: str = "") -> list[str]:
    """What a pure room must not touch: impure modules and built-in functions."""
    tree = ast.parse(source, file)
    faults = [
        f"line {line}: a pure room may not import {name}"
        for line, name in imported_names(tree)
        if name.partition(".")[0] in layers.IMPURE_MODULES and name not in layers.HARMLESS_NAMES
    ]
    return faults + [
        f"line {node.lineno}: a pure room may not call {node.func.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in layers.IMPURE_CALLS
    ]


def test_every_room_stands_in_the_table() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert rooms <= layers.MAY_IMPORT.keys()


@pytest.mark.parametrize("room", layers.MAY_IMPORT)
def test_rooms_import_only_what_the_table_allows(room: str) -> None:
    faults = [
        f"{path.relative_to(PACKAGE)} {fault}"
        for path in MODULES
        if room_of(path) == room
        for fault in layer_faults(room, path.read_text(), str(path))
    ]
    assert faults == []


@pytest.mark.parametrize("room", layers.PURE_ROOMS)
def test_pure_rooms_touch_nothing_outside(room: str) -> None:
    faults = [
        f"{path.relative_to(PACKAGE)} {fault}"
        for path in MODULES
        if room_of(path) == room
        for fault in purity_faults(path.read_text(), str(path))
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("model", "import kraal.wire.framing"),
        ("tree", "from kraal import pipeline"),
        ("zab", "from kraal.wire.records import proto"),
        ("admin", "def f():\n    from kraal.server.main import run"),
        ("server", "from kraal.cli.main import main"),
    ],
)
def test_forbidden_imports_are_found(room: str, source: str) -> None:
    assert len(layer_faults(room, source)) == 1


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("zab", "from kraal.wire.records.quorum import Proposal"),
        ("wire", "from kraal.model import limits\nfrom kraal.errors import DecodeError"),
        ("admin", "from kraal.replica.status import Mode"),
        ("tree", "import statistics"),
    ],
)
def test_allowed_imports_are_not(room: str, source: str) -> None:
    assert layer_faults(room, source) == []


@pytest.mark.parametrize(
    "source",
    ["import time", "from random import random", "from pathlib import Path", "open('f')",
     "def f():\n    import os.path"],
)  # fmt: skip
def test_impurity_is_found(source: str) -> None:
    assert len(purity_faults(source)) == 1


def test_harmless_names_are_pure() -> None:
    assert purity_faults("from pathlib import PurePath\nfrom random import Random") == []
