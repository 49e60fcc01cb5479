"""The reference of the shell's commands is the one that the commands give."""

from __future__ import annotations

from pathlib import Path

import pytest

from kraal.shell.command import Command
from kraal.shell.reference import text
from kraal.shell.registry import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "shell.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == text(), (
        "write it anew: .venv/bin/python -m kraal.shell.reference > docs/reference/shell.md"
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_every_command_is_described(command: Command) -> None:
    assert f"### `{command.name}`" in text()
    assert command.summary.endswith((".", "`"))
    assert all(option.meaning for option in command.options)
