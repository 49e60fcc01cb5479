"""Options of the whole suite."""

from __future__ import annotations

import pytest

from tests.support import choice


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--kraal-servers`."""
    parser.addoption(
        choice.OPTION,
        choices=choice.CHOICES,
        default=choice.DEFAULT,
        help="what tests/client and tests/recipes run against; an ensemble has three members",
    )
