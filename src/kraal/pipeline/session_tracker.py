"""Who is alive: sessions in expiry buckets of one tick.

A session expires between its timeout and one tick later (reference/client-protocol.md
section 9.1). Times are monotonic milliseconds, handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kraal.pipeline.connection import ClientConnection


class Session:
    """One tracked session; `connection` is the client's, if it is connected here."""

    __slots__ = ("closing", "connection", "deadline_ms", "id", "is_local", "owner", "timeout_ms")

    def __init__(self, session_id: int, timeout_ms: int) -> None:
        self.id = session_id
        self.timeout_ms = timeout_ms
        self.deadline_ms = 0
        self.closing = False
        self.connection: ClientConnection | None = None
        self.is_local = False
        """Whether only this server knows it."""
        self.owner: object | None = None
        """Who speaks for it: a learner's connection, or a leading replica for a client of its own.
        None: nobody did since the term began, or the session is local."""


class Sessions(Protocol):
    """The sessions that a server knows of."""

    sessions: dict[int, Session]

    def add(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Track a session; one that is tracked already is re-armed with the timeout."""
        ...

    def touch(self, session: Session, now_ms: int) -> None:
        """The session was heard of."""
        ...

    def mark_closing(self, session: Session) -> None:
        """Its closeSession is on the way: nothing extends it any more."""
        ...

    def remove(self, session_id: int) -> Session | None: ...

    def adopt(self, session: Session, now_ms: int) -> None:
        """Track a session that was a local one."""
        ...


class TouchTable:
    """On a learner: sessions with a client here, and who was heard of since the last ping.

    The leader alone lets sessions expire (reference/quorum-protocol.md sections 5.4 and 5.7).
    """

    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}
        self._touched: dict[int, int] = {}

    def add(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Track a session that has a client here."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, timeout_ms)
        session.timeout_ms = timeout_ms
        self.touch(session, now_ms)
        return session

    def touch(self, session: Session, _now_ms: int) -> None:
        if not session.closing:
            self._touched[session.id] = session.timeout_ms

    def heard(self, session_id: int, timeout_ms: int) -> None:
        """A session began on whichever server, or another server heard of it."""
        self._touched[session_id] = timeout_ms

    def mark_closing(self, session: Session) -> None:
        """Its closeSession is on the way: nothing extends it any more."""
        session.closing = True
        self._touched.pop(session.id, None)

    def remove(self, session_id: int) -> Session | None:
        self._touched.pop(session_id, None)
        return self.sessions.pop(session_id, None)

    def adopt(self, session: Session, now_ms: int) -> None:
        """Track a session that was a local one."""
        self.sessions[session.id] = session
        self.touch(session, now_ms)

    def take(self) -> list[tuple[int, int]]:
        """Ids and timeouts in ms of what was touched since the last call."""
        touched = list(self._touched.items())
        self._touched.clear()
        return touched


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

    def adopt(self, session: Session, now_ms: int) -> None:
        """Track a session that was a local one."""
        self.sessions[session.id] = session
        session.deadline_ms = 0
        self.touch(session, now_ms)

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
