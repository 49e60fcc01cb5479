"""The page of known troubles names tests and pages that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "known-troubles.md"


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 30
    for file, function in named:
        text = (ROOT / file).read_text()
        assert f"def {function}(" in text if function else "def test_" in text, (file, function)


def test_every_page_that_is_named_exists() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE.read_text()):
        assert (PAGE.parent / link).exists(), link


def test_every_trouble_has_a_verdict() -> None:
    rows = [
        line
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| (\d+ )?\| (?!trouble)", line)
    ]
    assert len(rows) == 30
    verdicts = [re.search(r"\*\*(done|partly|not yet)\*\*", row) for row in rows]
    assert all(verdicts)
    # What is done is shown.
    assert all("`tests/" in row for row, found in zip(rows, verdicts, strict=True)
               if found and found[1] != "not yet")  # fmt: skip
