"""The pages that are written from the code are those that the code would write."""

from __future__ import annotations

from pathlib import Path

import pytest

from kraal.admin.reference import PAGES

DOCS = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_current(page: str) -> None:
    command = f"python -m kraal.admin.reference {page} > docs/reference/{page}.md"
    assert (DOCS / f"{page}.md").read_text() == PAGES[page](), f"run: {command}"
