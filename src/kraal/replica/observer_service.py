"""A follower's observers: Zab's observer master on one side, the following replica on the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from kraal.model.acl import Id
from kraal.model.ensemble import EnsembleConfig
from kraal.replica.following import Following
from kraal.tree.snapshot import encode_stream
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import Txn
from kraal.zab.history import Entry
from kraal.zab.learner import Learner
from kraal.zab.learner_handler import LearnerHandler
from kraal.zab.observer_master import ObserverMaster

if TYPE_CHECKING:
    from kraal.replica.peer import Peer

_unpack_op = struct.Struct(">i").unpack_from
_NO_WRITE = struct.pack(">i", OpCode.SET_DATA)
"""A write without a body: the leader answers it, as every write, with a transaction: an error."""


class ObserverService:
    """Implements `ObserverMasterHost` for one term of a follower."""

    def __init__(self, peer: Peer, learner: Learner[Txn], replica: Following, now_ms: int) -> None:
        self._peer = peer
        self._learner = learner
        self._replica = replica
        replica.session_returns = self._session_returns
        self._speakers: dict[int, LearnerHandler | None] = {}
        """Which observer speaks for a session that came from one; None: this server.

        The leader takes all that comes through this follower for the follower's own, so it does
        not notice when a session moves between those. What the former place still sends is older
        than what the client does in the new one, and must have no effect.
        """
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
        self.master.synchronised = peer.counters.synchronised

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
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None:
        """Forward a write, which no client of this server waits for."""
        (op,) = _unpack_op(frame, 4)
        if op == OpCode.CREATE_SESSION:
            self._speakers[session_id] = handler
            self._learner.request(session_id, frame, None)  # as the reference has it
            return
        if op != OpCode.CLOSE_SESSION and self._speakers.get(session_id, handler) is not handler:
            frame = frame[:4] + _NO_WRITE
        self._learner.request(session_id, frame, identities)

    def relay_sync(
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None:
        """Forward a sync; answers come in the order of the questions, whoever asked."""
        self._replica.sync(session_id, frame, identities, partial(self.master.synced, handler))

    def relay_revalidation(self, handler: LearnerHandler, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives; from here on it is this observer's."""
        self._replica.cut_off(session_id)
        self._speakers[session_id] = handler
        answered = partial(self._revalidated, handler, session_id)
        self._replica.revalidate(session_id, timeout_ms, answered)

    def _revalidated(
        self, handler: LearnerHandler, session_id: int, _now_ms: int, valid: bool
    ) -> None:
        if not valid:
            self._speakers.pop(session_id, None)
        self.master.revalidated(handler, session_id, valid)

    def _session_returns(self, session_id: int) -> None:
        """A client of this server goes on with a session that an observer may have had."""
        if session_id in self._speakers:
            self._speakers[session_id] = None

    def committed(self, now_ms: int, txns: Sequence[Txn], entries: Sequence[Entry]) -> None:
        """This follower has applied these."""
        if self._speakers:
            for txn in txns:
                if txn.kind == OpCode.CLOSE_SESSION:
                    self._speakers.pop(txn.client_id, None)
        self.master.committed(now_ms, entries)

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """The leader is told with the next ping."""
        self._replica.touch(session_id, timeout_ms)

    def wake(self) -> None:
        """There is output."""
        self._peer.shell.wake()
