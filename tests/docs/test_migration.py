"""The page for users of kazoo names all that kazoo has, and only what kraal has."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Coroutine
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from kraal.testing import Server
from tests.docs import kazoo_names
from tests.docs.tables import missing, names, rows

PAGE = Path(__file__).parents[2] / "docs" / "migration-from-kazoo.md"
ROWS = [row for row in rows(PAGE) if row.heading.startswith("`kazoo.")]
NONE = "—"

FOR_TASKS = ("kraal.client", "kraal.recipes", "kraal.testing")
FOR_THREADS = ("kraal.sync", "kraal.sync.recipes", "kraal.testing")


def listed() -> dict[str, dict[str, set[str]]]:
    """Of each module of kazoo: the names or patterns of its table, with their arguments."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in ROWS:
        for name in names(row.cells[0]):
            found[row.heading.strip("`")][name.dotted].update(name.arguments)
    return found


def test_every_module_of_kazoo_has_a_table() -> None:
    tables = {module for module in listed() if kazoo_names.is_importable(module)}
    found = {module for module in kazoo_names.modules() if kazoo_names.is_importable(module)}
    assert found == tables


def test_every_name_and_argument_of_kazoo_is_in_its_table() -> None:
    absent: list[str] = []
    unknown: list[str] = []
    for module, table in listed().items():
        if set(table) == {"*"} or not kazoo_names.is_importable(module):
            continue
        public = kazoo_names.public_names(module)
        patterns = [name for name in table if "*" in name]
        for name, arguments in public.items():
            if not any(fnmatchcase(name, pattern) for pattern in patterns):
                left: set[str] = set(arguments - table[name]) if name in table else {"(the name)"}
                absent += [f"{module}: {name}: {each}" for each in left]
        for name, given in table.items():
            if "*" not in name:
                left = given - public[name] if name in public else {"(the name)"}
                unknown += [f"{module}: {name}: {each}" for each in left]
    assert (absent, unknown) == ([], [])


def test_every_name_of_kraal_exists_for_tasks_and_for_threads() -> None:
    absent = []
    for row in ROWS:
        for_tasks, _, for_threads = row.cells[1].partition("; threads:")
        for cell, homes in ((for_tasks, FOR_TASKS), (for_threads or for_tasks, FOR_THREADS)):
            absent += [
                (row.heading, left) for name in names(cell) if (left := missing(name, homes))
            ]
    assert absent == []


def test_what_has_no_counterpart_says_why() -> None:
    silent = [row.cells[0] for row in ROWS if row.cells[1].endswith(NONE) and not row.cells[2]]
    assert silent == []


def test_the_example_of_the_page_runs() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    space: dict[str, object] = {}
    exec(compile(block, PAGE.name, "exec"), space)
    in_tasks = cast(Callable[[str], Coroutine[None, None, list[str]]], space["asyncio_style"])
    in_threads = cast(Callable[[str], list[str]], space["thread_style"])
    with Server() as server:
        assert len(asyncio.run(in_tasks(server.hosts))) == 1
        assert len(in_threads(server.hosts)) == 2
