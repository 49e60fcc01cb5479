"""Sessions that only the server knows that they connected to.

They cost no transaction, own no ephemerals and cannot move; the first ephemeral makes a session
global where that is allowed (reference/client-protocol.md section 9.4).
"""

from __future__ import annotations

from collections.abc import Collection

from kraal.errors import DecodeError
from kraal.model.create_mode import EPHEMERAL_MODES
from kraal.pipeline.prepare import multi
from kraal.pipeline.session_tracker import Session, SessionTracker
from kraal.wire.opcodes import OpCode
from kraal.wire.records import proto

_BODY = 8
_CREATES = (OpCode.CREATE, OpCode.CREATE2)


class LocalSessions:
    """The local sessions of one term of one server."""

    def __init__(self, tick_ms: int, *, may_upgrade: bool) -> None:
        self._tracker = SessionTracker(tick_ms)
        self.may_upgrade = may_upgrade

    @property
    def sessions(self) -> Collection[Session]:
        """All of them."""
        return self._tracker.sessions.values()

    def open(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """A new one, or one that comes back."""
        session = self._tracker.add(session_id, timeout_ms, now_ms)
        session.is_local = True
        return session

    def get(self, session_id: int) -> Session | None:
        """None: no local session has this id, or it is ending."""
        session = self._tracker.sessions.get(session_id)
        return None if session is None or session.closing else session

    def touch(self, session: Session, now_ms: int) -> None:
        """Its client was heard of."""
        self._tracker.touch(session, now_ms)

    def remove(self, session: Session) -> None:
        """It ended, or became global."""
        self._tracker.remove(session.id)
        session.is_local = False

    def expired(self, now_ms: int) -> list[Session]:
        """Those whose time is over; they are gone."""
        gone = self._tracker.expired(now_ms)
        for session in gone:
            self._tracker.remove(session.id)
        return gone


def creates_ephemeral(op: int, frame: bytes) -> bool:
    """Whether a write makes a local session global; what does not decode does not."""
    try:
        if op in _CREATES:
            return proto.CreateRequest.unpack(frame, _BODY)[0][3] in EPHEMERAL_MODES
        if op == OpCode.MULTI:
            return any(
                kind in _CREATES and values[3] in EPHEMERAL_MODES
                for kind, values in multi.decode(frame, _BODY)
            )
    except DecodeError:
        return False
    return False
