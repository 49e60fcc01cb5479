"""What befell sessions is remembered, and not without bound."""

from __future__ import annotations

from kraal.pipeline.session_journal import EVENTS_MAX, SESSIONS_MAX, SessionJournal, What


def test_events_stay_in_their_order() -> None:
    journal = SessionJournal()
    for wall_ms, what in ((5, What.CREATED), (6, What.DISCONNECTED), (9, What.EXPIRED)):
        journal.wall_ms = wall_ms
        journal.note(1, what, f"at {wall_ms}")
    assert [(event.wall_ms, event.what, event.detail) for event in journal.events(1)] == [
        (5, What.CREATED, "at 5"), (6, What.DISCONNECTED, "at 6"), (9, What.EXPIRED, "at 9"),
    ]  # fmt: skip
    assert journal.events(2) == []


def test_the_newest_events_of_the_newest_sessions_are_kept() -> None:
    journal = SessionJournal()
    for number in range(EVENTS_MAX + 10):
        journal.note(1, What.CONNECTED, str(number))
    assert [event.detail for event in journal.events(1)][-1] == str(EVENTS_MAX + 9)
    assert len(journal.events(1)) == EVENTS_MAX
    for session_id in range(2, SESSIONS_MAX + 1):
        journal.note(session_id, What.CREATED)
    journal.note(1, What.EXPIRED)
    journal.note(SESSIONS_MAX + 1, What.CREATED)
    assert journal.events(1)
    assert not journal.events(2)
    assert journal.sessions()[:2] == [SESSIONS_MAX + 1, 1]
