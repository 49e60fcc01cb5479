"""A term as leader: Zab's leader on one side, the replica that orders writes on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kraal.model.acl import Id
from kraal.model.ensemble import EnsembleConfig
from kraal.model.zxid import make
from kraal.replica.leading import Leading
from kraal.tree.snapshot import encode_stream
from kraal.zab.leader import Leader
from kraal.zab.learner_handler import LearnerHandler

if TYPE_CHECKING:
    from kraal.replica.peer import Peer


class _Proposals:
    """The leading replica's `LogSink`: its transactions are proposed."""

    def __init__(self, propose: Callable[[int, bytes], None]) -> None:
        self.append = propose


class LeadingTerm:
    """Implements `LeaderHost`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.replica: Leading | None = None
        self.leader = Leader(
            peer.me,
            peer.settings,
            tick_ms=peer.server_config.tick_time_ms,
            packet_limit=peer.packet_limit,
            reconfig_enabled=peer.server_config.reconfig_enabled,
            committed=peer.config,
            last_seen=peer.last_seen,
            accepted_epoch=peer.accepted_epoch,
            current_epoch=peer.current_epoch,
            last_zxid=peer.tree.last_zxid,
            history=peer.history,
            host=self,
            now_ms=peer.now_ms,
            older=peer.older_history,
        )
        self.leader.synchronised = peer.counters.synchronised
        self.leader.acknowledged = self._acknowledged
        self._frequency = peer.settings.ack_logging_frequency
        self._timed = 0
        """The zxid of a proposal whose acknowledgements are timed."""
        self._timed_ms: int | None = None
        """When it was made, once somebody has acknowledged it."""
        self._timed_by: set[int] = set()
        """Who has acknowledged it."""

    def start(self) -> None:
        """Let learners register."""
        self._peer.shell.listen()
        self.leader.start(self._peer.now_ms)

    # Inputs

    def logged(self, now_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable here."""
        self.leader.logged(now_ms, zxid)

    def tick(self, now_ms: int) -> None:
        """Time passed."""
        self.leader.tick(now_ms)

    def flush(self, _now_ms: int) -> None:
        """The end of a turn."""
        self.leader.flush()

    def close(self) -> None:
        """Close every connection without an election after it."""
        self.leader.close()

    # What the leader asks

    def save_accepted_epoch(self, epoch: int) -> None:
        """Durable before it returns."""
        self._peer.save_accepted_epoch(epoch)

    def save_current_epoch(self, epoch: int) -> None:
        """Durable before it returns."""
        self._peer.save_current_epoch(epoch)

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction, which is proposed."""
        counters = self._peer.counters
        counters.proposals += 1
        counters.proposal_sizes.add(len(payload))
        if not zxid % self._frequency:
            self._timed, self._timed_ms = zxid, None
            self._timed_by.clear()
        self._peer.append(zxid, payload)

    def _acknowledged(self, now_ms: int, server_id: int, zxid: int) -> None:
        """One timed proposal at a time: the next one comes in a while."""
        timed, replica = self._timed, self.replica
        if not timed or zxid < timed or server_id in self._timed_by or replica is None:
            return
        if self._timed_ms is None:
            self._timed_ms = replica.proposed_ms(timed)
        if self._timed_ms is not None:
            self._timed_by.add(server_id)
            self._peer.counters.ack_latency[server_id].add(now_ms - self._timed_ms)

    def snapshot(self) -> Iterator[bytes]:
        """The tree as it is now."""
        return encode_stream(self._peer.tree)

    def established(self, now_ms: int, epoch: int) -> None:
        """A quorum is in step: order writes."""
        peer = self._peer
        peer.tree.last_zxid = make(epoch, 0)
        if self.leader.config is not peer.config:
            peer.adopt_config(self.leader.config)
        peer.show_config()
        self.replica = Leading(
            peer.server_config,
            peer.tree,
            _Proposals(self.leader.propose),
            first_session_id=peer.next_session_id,
            now_ms=now_ms,
            counters=peer.counters,
            ensemble=self.leader,
        )
        peer.begin_serving(self.replica, epoch)
        self.replica.close_orphans(now_ms, peer.wall_ms)

    def committed(self, now_ms: int, zxid: int) -> None:
        """A quorum has everything up to zxid."""
        assert self.replica is not None, "nothing is committed before the term is established"
        self._peer.counters.commits += zxid - self.replica.tree.last_zxid  # without a gap
        self.replica.committed(now_ms, self._peer.wall_ms, zxid)

    def request(
        self,
        now_ms: int,
        handler: LearnerHandler,
        session_id: int,
        frame: bytes,
        identities: tuple[Id, ...],
    ) -> None:
        """A write of a learner's client."""
        assert self.replica is not None, "learners are served once the term is established"
        self.replica.request(now_ms, self._peer.wall_ms, handler, session_id, frame, identities)

    def revalidate(self, now_ms: int, handler: LearnerHandler, session_id: int) -> bool:
        """Whether a session lives."""
        assert self.replica is not None, "learners are served once the term is established"
        self._peer.counters.sessions_revalidated += 1
        return self.replica.revalidate(now_ms, session_id, handler)

    def touch(self, now_ms: int, session_id: int, timeout_ms: int) -> None:
        """A session was heard of."""
        assert self.replica is not None, "learners are served once the term is established"
        self.replica.touch(now_ms, session_id, timeout_ms)

    def see_config(self, config: EnsembleConfig) -> None:
        """A configuration is proposed."""
        self._peer.see_config(config)

    def activate(self, config: EnsembleConfig, designated: int) -> None:
        """A reconfiguration is committed; another server may lead from here on."""
        peer = self._peer
        peer.adopt_config(config)
        if designated != peer.me:
            self.leader.hand_over()
            peer.change_role(designated, self.leader.tail())

    def give_up(self, reason: str) -> None:
        """Leading is over."""
        self._peer.end_term(reason, self.leader.tail())

    def wake(self) -> None:
        """There is output."""
        self._peer.shell.wake()
