"""A follower that serves observers, so that the leader need not (observer master).

Observers register as at a leader and hear of every commit of this follower. What their clients
write, and what only the leader can answer, goes on to the leader over the follower's own
connection; answers find back to who asked (reference/quorum-protocol.md section 5.11).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from kraal.errors import DecodeError
from kraal.model.acl import Id
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.model.zxid import counter, epoch, make, show
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import Packet, PacketType
from kraal.zab.history import CommittedLog, Entry
from kraal.zab.learner_handler import LearnerHandler, Stage
from kraal.zab.learner_master import LearnerMaster
from kraal.zab.synchronisation import OlderHistory

OP_SYNC = 9


class ObserverMasterHost(Protocol):
    """What an observer master asks of the follower around it."""

    @property
    def config(self) -> EnsembleConfig:
        """The committed configuration."""

    @property
    def last_seen(self) -> EnsembleConfig:
        """The newest one proposed."""

    def snapshot(self) -> Iterator[bytes]:
        """The stream of the tree as it is now (section 4.5)."""

    def relay_request(
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None:
        """Forward a write to the leader."""

    def relay_sync(
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None:
        """Forward a sync; `ObserverMaster.synced` is the answer."""

    def relay_revalidation(self, handler: LearnerHandler, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives; `ObserverMaster.revalidated` is the answer."""

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """A session was heard of; the leader is told with the next ping."""

    def wake(self) -> None:
        """There is output: call `ObserverMaster.flush` at the end of this turn."""


class ObserverMaster(LearnerMaster):
    """The observers of one follower during one term; `epoch` is the leader's."""

    def __init__(
        self,
        settings: EnsembleSettings,
        *,
        tick_ms: int,
        packet_limit: int,
        epoch: int,
        last_zxid: int,
        history: CommittedLog,
        host: ObserverMasterHost,
        now_ms: int,
        older: OlderHistory | None = None,
    ) -> None:
        super().__init__(
            settings, tick_ms=tick_ms, packet_limit=packet_limit, history=history, older=older
        )
        self._epoch = epoch
        self._host = host
        self.last_zxid = max(last_zxid, make(epoch, 0))
        """Last one applied here; what was before the epoch is all that its begin has."""
        self._next_ping_ms = now_ms

    # From the observers

    def received(self, now_ms: int, handler: LearnerHandler, data: bytes) -> None:
        """Bytes of an observer's connection."""
        try:
            packets = handler.reader.feed(data)
            handler.last_received_ms = now_ms
            handler.packets_received += len(packets)
            for packet in packets:
                if handler.stage == Stage.GONE or self.is_over:
                    return
                self._packet(now_ms, handler, packet)
        except DecodeError as error:
            self.drop(handler, str(error))

    def _packet(self, now_ms: int, handler: LearnerHandler, packet: Packet) -> None:
        kind, zxid, data, _ = packet
        stage = handler.stage
        if stage == Stage.SERVING:
            self._serve(handler, packet)
        elif stage == Stage.CONNECTED and kind == PacketType.OBSERVER_INFO:
            self._introduce(handler, packet, self._host.config.version)
            self._send_epoch(handler, self._epoch)
        elif stage == Stage.EPOCH_SENT and kind == PacketType.ACK_EPOCH:
            wire.read_int(data)  # it counts for nothing here, but it is due
            handler.last_zxid = zxid
            handler.stage = Stage.EPOCH_ACKED
            self._synchronise(now_ms, handler)
        elif stage == Stage.SYNCING and kind == PacketType.ACK:
            self._send_up_to_date(now_ms, handler)
        elif stage != Stage.EPOCH_ACKED or kind != PacketType.PING:
            raise DecodeError(f"a packet of type {kind} while it is {stage.name}")

    def _serve(self, handler: LearnerHandler, packet: Packet) -> None:
        kind, zxid, data, identities = packet
        host = self._host
        if kind == PacketType.REQUEST:
            session_id, _, op, frame = wire.split_request(data)
            handler.requests += 1
            relay = host.relay_sync if op == OP_SYNC else host.relay_request
            relay(handler, session_id, frame, identities)
        elif kind == PacketType.PING:
            for session_id, timeout_ms in wire.read_touches(data):
                host.touch(session_id, timeout_ms)
        elif kind == PacketType.REVALIDATE:
            host.relay_revalidation(handler, *wire.read_session(data))
        elif kind != PacketType.ACK:
            raise DecodeError(f"a packet of type {kind} of an observer")
        elif counter(zxid):
            raise DecodeError(f"it acknowledges {show(zxid)}, which no observer is asked for")

    # Synchronisation

    def _synchronise(self, now_ms: int, handler: LearnerHandler) -> None:
        """Queue the history that is missing and NEWLEADER, unless it has to wait.

        An observer that was served by others may be ahead of this follower, which has not heard
        yet what is committed. Nothing has to be cut: it waits for this follower.
        """
        if epoch(handler.last_zxid) == self._epoch and handler.last_zxid > self.last_zxid:
            return
        handler.last_received_ms = now_ms
        self._push()  # what was broadcast so far is not for the new one
        if self._send_history(handler, self.last_zxid, self._host.snapshot):
            self._send_new_leader(handler, self._epoch, self._host.last_seen.text())
            if handler.stage == Stage.SYNCING:
                self._observers[handler] = None

    def _is_ahead(self) -> list[LearnerHandler]:
        return [handler for handler in self.handlers if handler.stage == Stage.EPOCH_ACKED]

    # From the follower

    def committed(self, now_ms: int, entries: Sequence[Entry]) -> None:
        """This follower has applied these."""
        self._inform(entries)
        self._advance(now_ms, entries[-1][0])

    def activated(self, now_ms: int, entry: Entry, designated: int) -> None:
        """This follower has applied a reconfiguration; `designated` leads from here on."""
        zxid, payload = entry
        if self._observers:
            data = wire.long_data(designated) + payload
            self._to_observers.append(wire.with_data(PacketType.INFORM_AND_ACTIVATE, zxid, data))
        self._advance(now_ms, zxid)

    def _advance(self, now_ms: int, zxid: int) -> None:
        self.last_zxid = zxid
        if self._observers:
            self._host.wake()
        if len(self.handlers) > len(self._observers):
            for handler in self._is_ahead():
                self._synchronise(now_ms, handler)

    def synced(self, handler: LearnerHandler) -> None:
        """The leader answers a sync, behind the commits that it waited for."""
        if handler.stage == Stage.SERVING:
            self._send(handler, wire.bare(PacketType.SYNC, 0))

    def revalidated(self, handler: LearnerHandler, session_id: int, valid: bool) -> None:
        """The leader says whether a session lives."""
        if handler.stage == Stage.SERVING:
            data = wire.validity(session_id, valid)
            self._send(handler, wire.with_data(PacketType.REVALIDATE, wire.NO_ZXID, data))

    # Time

    def tick(self, now_ms: int) -> None:
        """Pings and time limits, as a leader has them (sections 4.9 and 5.4)."""
        self._drop_silent(now_ms)
        limit_ms = self._settings.init_limit_ticks * self._tick_ms
        for handler in self._is_ahead():
            if now_ms - handler.last_received_ms > limit_ms:
                self.drop(handler, f"it is ahead of this follower, at {show(handler.last_zxid)}")
        if now_ms >= self._next_ping_ms:
            self._next_ping_ms = now_ms + self._tick_ms // 2
            self._ping(self.last_zxid)
