"""Numbers that no setting has room for, and those that go badly together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.config.test_file import load_text


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("jute.maxbuffer=99999999999", "out of range, at most 2147483647; the default 1048575"),
        ("jute.maxbuffer=-0xffffffff", "out of range, at least -2147483648; the default 1048575"),
        ("autopurge.retainHours=-9999999999", "out of range, at least 0; the default 0"),
        (f"autopurge.retainBytes={'9' * 5000}", f"out of range, at most {(1 << 63) - 1}; "),
        ("snapCount=1k", "not a number; the default 100000"),
        ("disk.warnFreeBytes=1000", "less than disk.refuseFreeBytes=67108864: writes are refused"),
        (
            "disk.refuseFreeBytes=536870913",
            "more than disk.warnFreeBytes=536870912, the default: writes are refused",
        ),
    ],
)
def test_numbers_are_warned_of(tmp_path: Path, text: str, warning: str) -> None:
    (found,) = load_text(tmp_path, text).warnings
    assert f"{text}: {warning}" in found


@pytest.mark.parametrize("text", ["disk.warnFreeBytes=0", "disk.warnFreeBytes=67108864"])
def test_thresholds_that_go_together(tmp_path: Path, text: str) -> None:
    assert load_text(tmp_path, text).warnings == ()
