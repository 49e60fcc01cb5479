"""Lines that strangers can cause: one a second, and none is forgotten."""

from __future__ import annotations

import logging

import pytest

from kraal.pipeline.complaints import Complaints


def test_one_a_second_and_the_number_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logging.getLogger("kraal.test"))
    for now_ms in (0, 1, 999, 1000, 1001, 2500, 9000):
        complaints.warn(now_ms, "at %d", now_ms)
    assert [record.getMessage() for record in caplog.records] == [
        "at 0",
        "at 1000 (left out since the last such line: 2)",
        "at 2500 (left out since the last such line: 1)",
        "at 9000",
    ]
