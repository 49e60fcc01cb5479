"""What follows the question mark of a command."""

from __future__ import annotations

import pytest

from kraal.admin.http.reply import NUMBER_MAX, CommandError, Parameters


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("010", 10), ("0x1F", 31), ("0X1f", 31), (f"{NUMBER_MAX}", NUMBER_MAX)],
)
def test_numbers_are_decimal_or_hexadecimal(text: str, number: int) -> None:
    assert Parameters({"limit": text}).number("limit") == number


@pytest.mark.parametrize(
    "text", ["", "1_0", "٣", "-1", "0b1", "0o7", " 1", "1e3", "9" * 30, "9" * 5000]
)
def test_other_digits_are_refused(text: str) -> None:
    with pytest.raises(CommandError):
        Parameters({"limit": text}).number("limit")
