"""The page that compares clients names what there is: kraal's names, and tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.tables import Row, missing, names, rows

ROOT = Path(__file__).parents[2]
ROWS = list(rows(ROOT / "docs" / "comparison.md"))
COMPLAINTS = [row for row in ROWS if row.heading.startswith("Complaints")]
FEATURES = [row for row in ROWS if row not in COMPLAINTS]
HOMES = ("kraal.client", "kraal.recipes", "kraal.testing", "kraal")
NOT_OURS = frozenset(("nc", "py.typed", "zkCli", "zlib.compress"))


def absent(cell: str) -> list[str]:
    """Names of a cell that are nowhere in kraal."""
    cell = re.sub(r"`([^`]+)`", lambda span: "" if span[1] in NOT_OURS else span[0], cell)
    cell = re.sub(r"`(python -m )?kraal\.sync`|`python -m [\w.]+`", "", cell)
    return [left for name in names(cell) if (left := missing(name, HOMES))]


def functions_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_what_kraal_has_is_there() -> None:
    cells = [row.cells[-1] for row in FEATURES] + [row.cells[2] for row in COMPLAINTS]
    assert [left for cell in cells for left in absent(cell)] == []


def test_nothing_is_missing_without_a_reason() -> None:
    def is_silent(row: Row) -> bool:
        mark, _, reason = row.cells[-1].partition(" ")
        return mark not in "●◐–" or (mark != "●" and len(reason) < 10)

    assert [row.cells[0] for row in FEATURES if is_silent(row)] == []


def test_every_complaint_has_an_answer_and_a_test() -> None:
    assert COMPLAINTS
    for row in COMPLAINTS:
        shown = re.findall(r"`([\w/]+\.py)::(\w+)`", row.cells[3])
        assert row.cells[2] and shown, row.cells[0]
        for file, function in shown:
            assert function in functions_in(ROOT / file), (file, function)
