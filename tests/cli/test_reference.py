"""The reference of the commands is the one that the commands give."""

from __future__ import annotations

from pathlib import Path

from kraal.cli.main import main
from kraal.cli.reference import text

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == text(), (
        "write it anew: .venv/bin/python -m kraal.cli.reference > docs/reference/cli.md"
    )


def test_every_command_is_in_it() -> None:
    for name in main.commands:
        assert f"`kraal {name}`" in text()
