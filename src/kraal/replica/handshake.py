"""The first frame of a connection: what it asks for, and whether it may ask.

Order of checks: reference/client-protocol.md section 2.4, with the password before anything
that disturbs the session's present connection (section 13).
"""

from __future__ import annotations

from typing import NamedTuple

from kraal.errors import DecodeError
from kraal.model.config import ServerConfig
from kraal.model.session_id import password
from kraal.pipeline.session_tracker import Sessions
from kraal.tree.data_tree import DataTree
from kraal.wire.records.proto import ConnectRequest


class Decision(NamedTuple):
    """What the client asks for; only one that `is_proven` may have its session."""

    session_id: int
    is_proven: bool
    timeout_ms: int
    with_read_only: bool
    wants_read_only: bool
    """Whether a server without a leader will do."""

    @property
    def is_new(self) -> bool:
        return not self.session_id


class Handshake:
    """Decides about ConnectRequests and hands out session ids."""

    def __init__(
        self, config: ServerConfig, tree: DataTree, tracker: Sessions, first_id: int
    ) -> None:
        self._config = config
        self._tree = tree
        self._tracker = tracker
        self.next_id = first_id

    def negotiate(self, requested_ms: int) -> int:
        """The session timeout (section 2.5)."""
        config = self._config
        return min(max(requested_ms, config.min_session_timeout_ms), config.max_session_timeout_ms)

    def next_session_id(self) -> int:
        """The next id that no living session has."""
        while self.next_id in self._tree.sessions or self.next_id in self._tracker.sessions:
            self.next_id += 1
        session_id = self.next_id
        self.next_id += 1
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
        proven = request.password == password(request.session_id)
        read_only = with_read_only and frame[at] != 0
        return Decision(request.session_id, proven, timeout_ms, with_read_only, read_only)
