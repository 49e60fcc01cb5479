"""What befell each session, in bounded memory: why it ended is asked when it is over."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum

SESSIONS_MAX = 4096
EVENTS_MAX = 24
"""Of each session, the newest."""


class What(StrEnum):
    """Kinds of events."""

    CREATED = "created"
    CONNECTED = "connected"
    """It goes on with a connection of this server."""
    DISCONNECTED = "disconnected"
    EXPIRED = "expired"
    CLOSED = "closed"
    REFUSED = "refused"
    """A client wanted to go on with it, but it is over or not its own."""


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One event; `detail` says why or where, in words."""

    wall_ms: int
    what: What
    detail: str


class SessionJournal:
    """Events of the sessions that this server heard of last."""

    def __init__(self) -> None:
        self.wall_ms = 0
        """The time that events are noted with, as of the last tick or handshake."""
        self._sessions: OrderedDict[int, deque[SessionEvent]] = OrderedDict()

    def note(self, session_id: int, what: What, detail: str = "") -> None:
        """Note an event; the sessions that nothing was noted of for longest are forgotten."""
        events = self._sessions.get(session_id)
        if events is None:
            if len(self._sessions) >= SESSIONS_MAX:
                self._sessions.popitem(last=False)
            events = self._sessions[session_id] = deque(maxlen=EVENTS_MAX)
        else:
            self._sessions.move_to_end(session_id)
        events.append(SessionEvent(self.wall_ms, what, detail))

    def sessions(self) -> list[int]:
        """Those that are remembered, the one that something was noted of last first."""
        return list(reversed(self._sessions))

    def events(self, session_id: int) -> list[SessionEvent]:
        """Oldest first; empty for a session that is not remembered."""
        return list(self._sessions.get(session_id, ()))
