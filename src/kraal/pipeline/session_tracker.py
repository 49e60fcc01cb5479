"""Who is alive: sessions in expiry buckets of one tick.

A session expires between its timeout and one tick later (reference/client-protocol.md
section 9.1). Times are monotonic milliseconds, handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kraal.pipeline.connection import ClientConnection


class Session:
    """One tracked session; `connection` is the client's, if it is connected here."""

    __slots__ = ("closing", "connection", "deadline_ms", "id", "timeout_ms")

    def __init__(self, session_id: int, timeout_ms: int) -> None:
        self.id = session_id
        self.timeout_ms = timeout_ms
        self.deadline_ms = 0
        self.closing = False
        self.connection: ClientConnection | None = None


class SessionTracker:
    """Expiry of sessions by buckets, so that a touch is cheap and usually nothing at all."""

    def __init__(self, tick_ms: int) -> None:
        self.tick_ms = tick_ms
        self.sessions: dict[int, Session] = {}
        self._buckets: dict[int, dict[int, Session]] = {}

    def add(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Track a session; one that is tracked already is re-armed with the timeout."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, timeout_ms)
        session.timeout_ms = timeout_ms
        self.touch(session, now_ms)
        return session

    def touch(self, session: Session, now_ms: int) -> None:
        """Set the deadline anew, unless the session is closing."""
        deadline = ((now_ms + session.timeout_ms) // self.tick_ms + 1) * self.tick_ms
        if deadline == session.deadline_ms or session.closing:
            return
        self._leave_bucket(session)
        session.deadline_ms = deadline
        self._buckets.setdefault(deadline, {})[session.id] = session

    def mark_closing(self, session: Session) -> None:
        """Its closeSession is on the way: nothing extends it any more."""
        session.closing = True
        self._leave_bucket(session)

    def remove(self, session_id: int) -> Session | None:
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self._leave_bucket(session)
        return session

    def expired(self, now_ms: int) -> list[Session]:
        """Sessions whose deadline has passed, marked closing, in order of deadline."""
        due = [deadline for deadline in self._buckets if deadline <= now_ms]
        gone = [session for deadline in sorted(due) for session in self._buckets[deadline].values()]
        for session in gone:
            self.mark_closing(session)
        return gone

    def _leave_bucket(self, session: Session) -> None:
        bucket = self._buckets.get(session.deadline_ms)
        if bucket is not None:
            bucket.pop(session.id, None)
            if not bucket:
                del self._buckets[session.deadline_ms]
