"""Sessions: none ends too early, and what belongs to one ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.model.session_id import show
from kraal.replica.status import Mode
from kraal.sim.checks.history import History
from kraal.sim.checks.watcher import Watcher
from kraal.sim.scheduler import MS
from kraal.sim.violation import violated
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import HEADER, Txn

if TYPE_CHECKING:
    from kraal.pipeline.connection import ClientConnection
    from kraal.replica.replica import Replica
    from kraal.sim.client import SimClient
    from kraal.sim.server import SimServer
    from kraal.sim.world import World


class SessionCheck(Watcher):
    """Expiry, and ephemerals."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self._heard_by: dict[int, tuple[SimServer, Replica, int]] = {}
        """By session: the server whose client sent something last, its term, its local time."""
        self._heard_us: dict[int, int] = {}
        self._revived_us: dict[int, int] = {}
        """By session, when it was heard of after a silence of its timeout or more."""
        self._closing: set[int] = set()
        """Sessions whose end was proposed at least."""
        self.ended_on_request: set[int] = set()
        """Sessions that somebody wanted to end before their time."""
        history.before.append(self._committing)
        history.after.append(self._committed)

    # Ephemerals

    def _committing(self, txn: Txn) -> None:
        tree = self._history.tree
        if txn.kind == OpCode.CREATE_SESSION and txn.client_id in tree.sessions:
            violated("a session is created once", "%s is created again", show(txn.client_id))

    def _committed(self, txn: Txn) -> None:
        tree = self._history.tree
        for owner in tree.ephemerals:
            if owner not in tree.sessions:
                violated(
                    "ephemerals end with their session", "%s is over, but owns %s",
                    show(owner), list(tree.ephemerals[owner]),
                )  # fmt: skip

    # Expiry

    def heard(self, server: SimServer, conn: ClientConnection) -> None:
        session, replica = conn.session, server.peer.replica
        if session is not None and replica is not None:
            now_us = server.scheduler.now_us
            silence_us = now_us - self._heard_us.get(session.id, now_us)
            if silence_us >= session.timeout_ms * MS:
                self._revived_us[session.id] = now_us
            self._heard_by[session.id] = server, replica, server.now_ms
            self._heard_us[session.id] = now_us

    def appended(self, server: SimServer, zxid: int, payload: bytes) -> None:
        session_id, cxid, _, _, kind = HEADER.unpack_from(payload)
        if kind != OpCode.CLOSE_SESSION:
            return
        self._closing.add(session_id)
        replica = server.peer.replica
        if cxid or session_id in self.ended_on_request:
            return
        if replica is None or replica.mode != Mode.LEADER:
            return
        timeout_ms = self._history.tree.sessions.get(session_id)
        if timeout_ms is not None and session_id in self._heard_by:
            self._check_expiry(server, replica, session_id, timeout_ms)

    def _check_expiry(
        self, leader: SimServer, replica: Replica, session_id: int, timeout_ms: int
    ) -> None:
        heard_by, term, heard_ms = self._heard_by[session_id]
        if heard_by is leader and term is replica:
            silence_ms = leader.now_ms - heard_ms
        else:
            heard_us = self._heard_us[session_id]
            if heard_us <= self._world.disturbed_us:
                return  # what its server knew may not have reached the leader
            if leader.peer.current_epoch < max(self._history.bases):
                return  # it leads nobody any more, and what it proposes comes to nothing
            # A learner reports with its answer to a ping.
            tick_ms = leader.config.tick_time_ms
            late_ms = 2 * self._world.network.conditions.late_us // MS + tick_ms
            revived_us = self._revived_us.get(session_id)
            if revived_us is not None and heard_us - revived_us < late_ms * MS:
                return  # a leader that did not hear of it yet had waited long enough
            silence_ms = (self._world.scheduler.now_us - heard_us) // MS + late_ms
        if silence_ms < timeout_ms:
            violated(
                "no session ends too early", "%s is ended %d ms after it was heard of",
                show(session_id), silence_ms,
            )  # fmt: skip

    def is_ending(self, session_id: int) -> bool:
        """Whether somebody has proposed, at least, to end it."""
        return session_id in self._closing

    def session_over(self, client: SimClient) -> None:
        session_id = client.session.id
        if client.session.is_read_only:
            return  # it was known to one server, and only until that had a leader
        if session_id and session_id not in self._closing:
            violated("no session ends too early", "%s is told that it is over", show(session_id))
