"""A follower's observers: Zab's observer master on one side, the following replica on the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kraal.model.acl import Id
from kraal.model.ensemble import EnsembleConfig
from kraal.replica.following import Following
from kraal.tree.snapshot import encode_stream
from kraal.wire.records.txn import Txn
from kraal.zab.learner import Learner
from kraal.zab.learner_handler import LearnerHandler
from kraal.zab.observer_master import ObserverMaster

if TYPE_CHECKING:
    from kraal.replica.peer import Peer


class ObserverService:
    """Implements `ObserverMasterHost` for one term of a follower."""

    def __init__(self, peer: Peer, learner: Learner[Txn], replica: Following, now_ms: int) -> None:
        self._peer = peer
        self._learner = learner
        self._replica = replica
        self.master = ObserverMaster(
            peer.settings,
            tick_ms=peer.server_config.tick_time_ms,
            packet_limit=peer.packet_limit,
            epoch=learner.epoch,
            last_zxid=peer.tree.last_zxid,
            history=peer.history,
            host=self,
            now_ms=now_ms,
            older=peer.older_history,
        )

    # What the observer master asks

    @property
    def config(self) -> EnsembleConfig:
        """The committed configuration."""
        return self._peer.config

    @property
    def last_seen(self) -> EnsembleConfig:
        """The newest one proposed."""
        return self._peer.last_seen

    def snapshot(self) -> Iterator[bytes]:
        """The tree as it is now."""
        return encode_stream(self._peer.tree)

    def relay_request(
        self, session_id: int, frame: bytes, identities: tuple[Id, ...] | None
    ) -> None:
        """Forward a write, which no client of this server waits for."""
        self._learner.request(session_id, frame, identities)

    def relay_sync(
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None:
        """Forward a sync; answers come in the order of the questions, whoever asked."""
        self._replica.sync(session_id, frame, identities, partial(self.master.synced, handler))

    def relay_revalidation(self, handler: LearnerHandler, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""
        answered = partial(self._revalidated, handler, session_id)
        self._replica.revalidate(session_id, timeout_ms, answered)

    def _revalidated(
        self, handler: LearnerHandler, session_id: int, _now_ms: int, valid: bool
    ) -> None:
        if valid:
            self._replica.moved_away(session_id)
        self.master.revalidated(handler, session_id, valid)

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """The leader is told with the next ping."""
        self._replica.touch(session_id, timeout_ms)

    def wake(self) -> None:
        """There is output."""
        self._peer.shell.wake()
