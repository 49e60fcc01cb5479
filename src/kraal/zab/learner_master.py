"""What a leader and an observer master have in common: learners register and are brought in step.

Source: reference/quorum-protocol.md sections 4.3 to 4.9 and 5.11.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from kraal.errors import DecodeError
from kraal.model.config import EnsembleSettings
from kraal.model.zxid import make, show
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import Packet, PacketType
from kraal.zab.history import CommittedLog, Entry
from kraal.zab.learner_handler import LearnerHandler, Stage
from kraal.zab.link import Link
from kraal.zab.synchronisation import OlderHistory, decide, replayed

logger = logging.getLogger("kraal.zab.learner_master")
SILENT_LEARNERS_MAX = 250
"""Connections that have not said who they are; the oldest goes when there is one more."""
REGISTRATION_MAX_BYTES = 1024
"""Largest buffer that is taken of somebody who has not registered."""
_WAITING = (Stage.REGISTERED, Stage.EPOCH_ACKED, Stage.SYNCED)
"""Stages of learners that wait for others: nothing is due from them."""


class LearnerMaster:
    """Whom learners connect to."""

    def __init__(
        self,
        settings: EnsembleSettings,
        *,
        tick_ms: int,
        packet_limit: int,
        history: CommittedLog,
        older: OlderHistory | None,
    ) -> None:
        self._settings = settings
        self._tick_ms = tick_ms
        self._packet_limit = packet_limit
        self._history = history
        self._older = older
        self.is_over = False
        self.handlers: dict[LearnerHandler, None] = {}
        self._observers: dict[LearnerHandler, None] = {}
        """Those that get live INFORM packets."""
        self._to_observers: list[bytes] = []
        self.synchronised: Callable[[bool, int], None] = lambda _with_snapshot, _under_way: None
        """Called when a learner begins to be brought in step: whether with the whole tree, and
        how many are then under way in that way."""

    # Learners come and go

    def connected(self, now_ms: int, link: Link, name: str) -> LearnerHandler | None:
        """A learner dialled; None: refused and closed."""
        if self.is_over:
            link.close()
            return None
        silent = [handler for handler in self.handlers if handler.stage == Stage.CONNECTED]
        if len(silent) >= SILENT_LEARNERS_MAX:
            self.drop(silent[0], "it says nothing, and others wait")
        handler = LearnerHandler(link, name, now_ms, REGISTRATION_MAX_BYTES)
        self.handlers[handler] = None
        return handler

    def disconnected(self, handler: LearnerHandler) -> None:
        """The connection is gone."""
        handler.stage = Stage.GONE
        self.handlers.pop(handler, None)
        self._observers.pop(handler, None)

    def drop(self, handler: LearnerHandler, reason: str) -> None:
        """Close the connection of a learner that cannot be served."""
        if handler.stage != Stage.GONE:
            logger.warning("Closing the connection of %s: %s", handler, reason)
            self.disconnected(handler)
            handler.link.close()

    def close(self) -> None:
        """Close every learner's connection; nothing is sent or counted any more."""
        self.is_over = True
        for handler in list(self.handlers):
            self.disconnected(handler)
            handler.link.close()

    def finish(self) -> None:
        """As `close`, but what was sent arrives."""
        self._push()
        self.is_over = True
        for handler in list(self.handlers):
            self.disconnected(handler)
            handler.link.finish()

    # Registration and synchronisation

    def _introduce(self, handler: LearnerHandler, packet: Packet, config_version: int) -> None:
        """FOLLOWERINFO or OBSERVERINFO. DecodeError: who sends this cannot be served."""
        kind, _, data, _ = packet
        info = wire.LearnerInfo.decode(data)
        handler.server_id = info.server_id
        handler.is_observer = kind == PacketType.OBSERVER_INFO
        if info.protocol_version < wire.PROTOCOL_VERSION:
            raise DecodeError(f"its protocol version {info.protocol_version:#x} is too old")
        if info.config_version > config_version:
            raise DecodeError(f"its configuration {info.config_version:x} is newer than ours")
        handler.reader.limit = self._packet_limit
        handler.stage = Stage.REGISTERED

    def _send_epoch(self, handler: LearnerHandler, epoch: int) -> None:
        handler.stage = Stage.EPOCH_SENT
        version = wire.PROTOCOL_VERSION.to_bytes(4, "big")
        handler.link.send(wire.with_data(PacketType.LEADER_INFO, make(epoch, 0), version))

    def _send_history(
        self, handler: LearnerHandler, last_zxid: int, snapshot: Callable[[], Iterator[bytes]]
    ) -> bool:
        """What it misses up to `last_zxid`, if it may have that now; else it is dropped."""
        plan = decide(
            handler.last_zxid,
            self._history,
            last_zxid,
            force_snapshot=self._settings.force_snapshot_sync,
            older=self._older,
        )
        handler.is_sent_snapshot = plan.kind == PacketType.SNAP
        under_way = self._under_way(handler.is_sent_snapshot)
        if handler.is_observer and under_way >= self._under_way_max(handler.is_sent_snapshot):
            self.drop(handler, "too many learners are brought in step already")
            return False
        self.synchronised(handler.is_sent_snapshot, under_way + 1)
        logger.info("Synchronising %s at %s: %s", handler, show(handler.last_zxid), plan)
        link = handler.link
        link.send(wire.bare(plan.kind, plan.zxid))
        if handler.is_sent_snapshot:
            link.stream(handler.counted(snapshot()))
        elif plan.proposals:
            link.stream(handler.counted(replayed(plan.proposals)))
        return True

    def _under_way(self, with_snapshots: bool) -> int:
        """How many are being synchronised in this way."""
        return sum(
            handler.stage in (Stage.SYNCING, Stage.SYNCED)
            and handler.is_sent_snapshot == with_snapshots
            for handler in self.handlers
        )

    def _under_way_max(self, with_snapshots: bool) -> int:
        """From how many on observers have to wait (section 4.4)."""
        settings = self._settings
        if with_snapshots:
            return settings.max_concurrent_snap_syncs
        return settings.max_concurrent_diff_syncs

    def _send_new_leader(self, handler: LearnerHandler, epoch: int, config_text: str) -> None:
        handler.stage = Stage.SYNCING
        data = config_text.encode()
        handler.link.send(wire.with_data(PacketType.NEW_LEADER, make(epoch, 0), data))

    def _send_up_to_date(self, now_ms: int, handler: LearnerHandler) -> None:
        logger.info("%s is in step", handler)
        handler.stage = Stage.SERVING
        handler.last_received_ms = now_ms
        self._send(handler, wire.bare(PacketType.UP_TO_DATE, wire.NO_ZXID))

    # Output

    def _inform(self, entries: Iterable[Entry]) -> None:
        if self._observers:
            self._to_observers += [wire.inform(*entry) for entry in entries]

    def _send(self, handler: LearnerHandler, data: bytes) -> None:
        """To one learner, behind what was broadcast before."""
        if self._to_observers:
            self._push()
        handler.packets_sent += 1
        handler.link.send(data)

    def _push(self) -> None:
        """What was broadcast leaves."""
        broadcast(self._to_observers, self._observers)

    def flush(self) -> None:
        """The end of a turn: what was broadcast in it leaves."""
        self._push()

    def _ping(self, zxid: int) -> None:
        ping = wire.bare(PacketType.PING, zxid)
        self._push()
        for handler in list(self.handlers):
            if handler.stage >= Stage.SYNCING:
                handler.link.send(ping)

    # Time

    def _drop_silent(self, now_ms: int) -> None:
        """Who owes something must be heard of within a limit (section 4.9)."""
        init_ms = self._settings.init_limit_ticks * self._tick_ms
        sync_ms = self._settings.sync_limit_ticks * self._tick_ms
        for handler in list(self.handlers):
            if handler.has_taken_history():
                handler.last_received_ms = now_ms
            limit_ms = sync_ms if handler.stage == Stage.SERVING else init_ms
            if handler.stage not in _WAITING and now_ms - handler.last_received_ms > limit_ms:
                self.drop(handler, f"nothing was heard of it for {limit_ms} ms")


def broadcast(packets: list[bytes], handlers: Iterable[LearnerHandler]) -> None:
    """One piece for all: every one of them gets the same bytes, and `packets` is empty then."""
    if packets:
        count = len(packets)
        data = packets[0] if count == 1 else b"".join(packets)
        packets.clear()
        for handler in list(handlers):
            handler.packets_sent += count
            handler.link.send(data)
