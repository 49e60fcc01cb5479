"""The first frame of a connection: new session, known session, or neither.

Order of checks: reference/client-protocol.md section 2.4, with the password before anything
that disturbs the session's present connection (section 13).
"""

from __future__ import annotations

from typing import NamedTuple

from kraal.errors import DecodeError
from kraal.model.config import ServerConfig
from kraal.model.session_id import password
from kraal.pipeline.session_tracker import Session, SessionTracker
from kraal.tree.data_tree import DataTree
from kraal.wire.records.proto import ConnectRequest


class Decision(NamedTuple):
    """`session` is one that the client proved; neither that nor `is_new` is a refusal."""

    session: Session | None
    is_new: bool
    timeout_ms: int
    with_read_only: bool


class Handshake:
    """Decides about ConnectRequests and hands out session ids."""

    def __init__(
        self, config: ServerConfig, tree: DataTree, tracker: SessionTracker, first_id: int
    ) -> None:
        self._config = config
        self._tree = tree
        self._tracker = tracker
        self._next_id = first_id

    def negotiate(self, requested_ms: int) -> int:
        """The session timeout (section 2.5)."""
        config = self._config
        return min(max(requested_ms, config.min_session_timeout_ms), config.max_session_timeout_ms)

    def next_session_id(self) -> int:
        """The next id that no living session has."""
        while self._next_id in self._tracker.sessions:
            self._next_id += 1
        session_id = self._next_id
        self._next_id += 1
        return session_id

    def decide(self, frame: bytes) -> Decision | None:
        """None: close without a reply."""
        try:
            request, at = ConnectRequest.decode(frame)
        except DecodeError:
            return None
        if request.last_zxid_seen > self._tree.last_zxid:
            return None  # the client has seen a state that this server has not
        timeout_ms = self.negotiate(request.timeout_ms)
        with_read_only = at < len(frame)
        if not request.session_id:
            return Decision(None, True, timeout_ms, with_read_only)
        session = self._tracker.sessions.get(request.session_id)
        proven = request.password == password(request.session_id)
        if session is None or session.closing or not proven:
            session = None
        return Decision(session, False, timeout_ms, with_read_only)
