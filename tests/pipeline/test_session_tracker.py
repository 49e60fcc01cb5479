"""Sessions expire between their timeout and one tick later (client-protocol.md section 9.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraal.pipeline.session_tracker import SessionTracker

TICK_MS = 2000


def expired_ids(tracker: SessionTracker, now_ms: int) -> list[int]:
    return [session.id for session in tracker.expired(now_ms)]


@pytest.mark.parametrize(
    ("timeout_ms", "now_ms", "deadline_ms"),
    [(4000, 0, 6000), (4000, 1, 6000), (4000, 1999, 6000), (4000, 2000, 8000), (5000, 1500, 8000)],
)
def test_deadlines_are_rounded_up_to_ticks(timeout_ms: int, now_ms: int, deadline_ms: int) -> None:
    tracker = SessionTracker(TICK_MS)
    assert tracker.add(1, timeout_ms, now_ms).deadline_ms == deadline_ms
    assert expired_ids(tracker, deadline_ms - 1) == []
    assert expired_ids(tracker, deadline_ms) == [1]


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**4))
@settings(derandomize=True, database=None)
def test_never_before_the_timeout_nor_a_tick_behind(
    now_ms: int, timeout_ms: int, tick_ms: int
) -> None:
    tracker = SessionTracker(tick_ms)
    tracker.add(1, timeout_ms, now_ms)
    assert expired_ids(tracker, now_ms + timeout_ms) == []
    assert expired_ids(tracker, now_ms + timeout_ms + tick_ms) == [1]


def test_a_touch_puts_it_off() -> None:
    tracker = SessionTracker(TICK_MS)
    session = tracker.add(1, 4000, 0)
    tracker.touch(session, 5999)
    assert expired_ids(tracker, 9999) == []
    assert expired_ids(tracker, 10_000) == [1]


def test_a_touch_never_brings_it_forward() -> None:
    tracker = SessionTracker(TICK_MS)
    session = tracker.add(1, 4000, 0)
    for now_ms in range(0, 100_000, 500):
        tracker.touch(session, now_ms)
        assert session.deadline_ms > now_ms + 4000


def test_they_expire_in_the_order_of_their_deadlines() -> None:
    tracker = SessionTracker(TICK_MS)
    for session_id, timeout_ms in ((1, 20_000), (2, 4000), (3, 10_000), (4, 4000)):
        tracker.add(session_id, timeout_ms, 0)
    assert expired_ids(tracker, 50_000) == [2, 4, 3, 1]
    assert expired_ids(tracker, 50_000) == []


def test_one_that_is_closing_is_neither_touched_nor_expired() -> None:
    tracker = SessionTracker(TICK_MS)
    session = tracker.add(1, 4000, 0)
    tracker.mark_closing(session)
    tracker.touch(session, 3000)
    assert expired_ids(tracker, 10**9) == []
    assert tracker.sessions == {1: session}
    assert tracker.remove(1) is session
    assert tracker.sessions == {}


def test_an_expired_one_is_closing() -> None:
    tracker = SessionTracker(TICK_MS)
    session = tracker.add(1, 4000, 0)
    assert tracker.expired(6000) == [session]
    assert session.closing


def test_adding_again_keeps_the_session_and_takes_the_timeout() -> None:
    tracker = SessionTracker(TICK_MS)
    session = tracker.add(1, 4000, 0)
    assert tracker.add(1, 30_000, 1000) is session
    assert session.timeout_ms == 30_000
    assert expired_ids(tracker, 31_000) == []
    assert expired_ids(tracker, 32_000) == [1]


def test_removing_what_is_unknown() -> None:
    assert SessionTracker(TICK_MS).remove(7) is None
