"""The reference of the Python API is what the code says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tools import client_reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "client-api.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == client_reference.text(), (
        "write it anew: .venv/bin/python -m tools.client_reference > docs/reference/client-api.md"
    )


def test_every_public_name_is_in_it() -> None:
    page = PAGE.read_text()
    for package in client_reference.PACKAGES:
        section = page.partition(f"\n## `{package}`\n")[2].partition("\n## `")[0]
        assert [name for name in import_module(package).__all__ if f"{name}`" not in section] == []
