"""Leading: agree on an epoch, bring learners in step, then broadcast.

The three phases of Zab 1.0 after the election (reference/quorum-protocol.md sections 1.3 and
4.2 to 5.5). Transactions are opaque bytes with a zxid. The acknowledgements of a learner are
taken as cumulative: it sends them in order and only for what is on its disk.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.model.limits import EPOCH_LEAP_MAX, LAST_EPOCH
from kraal.model.zxid import counter, epoch, make, show
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import Packet, PacketType
from kraal.zab import reconfig
from kraal.zab.history import CommittedLog, Entry
from kraal.zab.leader_host import LeaderHost
from kraal.zab.learner_handler import LearnerHandler, Stage
from kraal.zab.learner_master import LearnerMaster, broadcast
from kraal.zab.synchronisation import OlderHistory
from kraal.zab.twins import Twins

logger = logging.getLogger("kraal.zab.leader")
LAST_COUNTER = 0xFFFF_FFFF
# For every packet: looking up a member of an enumeration costs more than comparing it.
_ACK, _REQUEST = PacketType.ACK, PacketType.REQUEST
_SERVING, _GONE = Stage.SERVING, Stage.GONE
OP_SYNC = 9


class Leader(LearnerMaster):
    """One server's term as leader; `me` counts for the quorum like any voter."""

    def __init__(
        self,
        me: int,
        settings: EnsembleSettings,
        *,
        tick_ms: int,
        packet_limit: int,
        reconfig_enabled: bool,
        committed: EnsembleConfig,
        last_seen: EnsembleConfig,
        accepted_epoch: int,
        current_epoch: int,
        last_zxid: int,
        history: CommittedLog,
        host: LeaderHost,
        now_ms: int,
        older: OlderHistory | None = None,
    ) -> None:
        super().__init__(
            settings, tick_ms=tick_ms, packet_limit=packet_limit, history=history, older=older
        )
        self.me = me
        self.config = committed
        self.last_seen = last_seen
        self._reconfig_enabled = reconfig_enabled
        self._host = host
        self._summary = (current_epoch, last_zxid)
        self._highest_accepted = accepted_epoch
        self.epoch: int | None = None
        """Known once a quorum has registered."""
        self.last_zxid = last_zxid
        """Last one applied here."""
        self.last_proposed = last_zxid
        self._started_ms = now_ms
        self._registered = {me}
        self._accepted = {me}
        self._synced: set[int] = set()
        self._is_epoch_accepted = False
        self.is_established = False
        self._followers: dict[LearnerHandler, None] = {}
        """Those that get live PROPOSAL and COMMIT packets."""
        self._twins = Twins()
        self._acked: dict[int, int] = {me: last_zxid}
        self._outstanding: deque[Entry] = deque()
        self._to_followers: list[bytes] = []
        self.acknowledged: Callable[[int, int, int], None] | None = None
        """Called with the time, the id of a voter and the zxid up to which it has all on disk."""
        self._syncs: deque[tuple[int, LearnerHandler | None, Callable[[], None] | None]] = deque()
        self._deadline_ms = now_ms + settings.init_limit_ticks * tick_ms
        self._next_ping_ms = now_ms
        self._next_check_ms = now_ms + tick_ms

    def start(self, now_ms: int) -> None:
        """Alone this may already be a quorum."""
        self._agree_on_epoch(now_ms)

    def elector_is_looking(self, now_ms: int) -> bool:
        """Who elected this leader looks again; it may be in vain to wait for it (section 3.9).

        Returns whether this leader has given up for that.
        """
        limit_ms = self._settings.max_time_to_wait_for_epoch_ms
        if self.epoch is None and 0 <= limit_ms < now_ms - self._started_ms:
            self._end(f"a voter is looking, and no quorum has registered for {limit_ms} ms")
            return True
        return False

    # Learners come and go

    def disconnected(self, handler: LearnerHandler) -> None:
        """The connection is gone. Whether a quorum is left shows at the next tick."""
        super().disconnected(handler)
        self._followers.pop(handler, None)

    def received(self, now_ms: int, handler: LearnerHandler, data: bytes) -> None:
        """Bytes of a learner's connection."""
        try:
            packets = handler.reader.feed(data)
        except DecodeError as error:
            self.drop(handler, str(error))
            return
        handler.last_received_ms = now_ms
        handler.packets_received += len(packets)
        acked = handler.acked
        for packet in packets:
            if packet[0] == _ACK and handler.stage == _SERVING:
                if packet[1] > handler.acked and counter(packet[1]):
                    handler.acked = packet[1]
                continue
            if handler.stage == _GONE or self.is_over:
                return
            try:
                self._packet(now_ms, handler, packet)
            except DecodeError as error:
                self.drop(handler, str(error))
                return
        if handler.acked > acked:
            self._take_acks(now_ms, handler)

    def _packet(self, now_ms: int, handler: LearnerHandler, packet: Packet) -> None:
        kind, _, _, _ = packet
        stage = handler.stage
        if stage == _SERVING:
            self._serve(now_ms, handler, packet)
        elif stage == Stage.CONNECTED:
            self._register(now_ms, handler, packet)
        elif stage == Stage.EPOCH_SENT:
            self._epoch_acked(now_ms, handler, packet)
        elif stage == Stage.SYNCING:
            self._synced_with(now_ms, handler, packet)
        elif stage == Stage.SYNCED and kind in (PacketType.ACK, PacketType.PING):
            return  # an answer to a ping, or the acknowledgements of an older release
        else:
            self.drop(handler, f"a packet of type {kind} while it is {stage.name}")

    # Discovery (section 4.3)

    def _register(self, now_ms: int, handler: LearnerHandler, packet: Packet) -> None:
        kind, zxid, _, _ = packet
        if kind not in (PacketType.FOLLOWER_INFO, PacketType.OBSERVER_INFO):
            raise DecodeError(f"its first packet is of type {kind}")
        self._introduce(handler, packet, self.config.version)
        if handler.server_id == self.me:
            raise DecodeError("it calls itself by this server's id")
        if self.epoch is None:
            accepted = epoch(zxid)
            if accepted > self._highest_accepted + EPOCH_LEAP_MAX:
                raise DecodeError(f"it claims to have accepted the epoch {accepted}")
            self._highest_accepted = max(self._highest_accepted, accepted)
            if not handler.is_observer:
                self._registered.add(handler.server_id)
            self._agree_on_epoch(now_ms)
        else:
            self._send_epoch(handler, self.epoch)

    def _agree_on_epoch(self, now_ms: int) -> None:
        if self.epoch is not None or not self.config.contains_quorum(self._registered):
            return
        if self._highest_accepted >= LAST_EPOCH:
            self._end("there are no more epochs")
            return
        self.epoch = self._highest_accepted + 1
        self._host.save_accepted_epoch(self.epoch)
        for handler in list(self.handlers):
            if handler.stage == Stage.REGISTERED:
                self._send_epoch(handler, self.epoch)
        self._accept_epoch(now_ms)

    def _epoch_acked(self, now_ms: int, handler: LearnerHandler, packet: Packet) -> None:
        kind, zxid, data, _ = packet
        if kind != PacketType.ACK_EPOCH:
            raise DecodeError(f"a packet of type {kind} where ACKEPOCH is due")
        current_epoch = wire.read_int(data)
        handler.last_zxid = zxid
        handler.stage = Stage.EPOCH_ACKED
        if self._is_epoch_accepted:
            self._synchronise(now_ms, handler)
            return
        if current_epoch != -1:
            if (current_epoch, zxid) > self._summary:
                raise DecodeError("it is ahead of this leader")
            if zxid != wire.NO_ZXID and not handler.is_observer:
                self._accepted.add(handler.server_id)
        self._accept_epoch(now_ms)

    def _accept_epoch(self, now_ms: int) -> None:
        """With a quorum that has promised to follow no older leader, histories are merged."""
        if self._is_epoch_accepted or not self.config.contains_quorum(self._accepted):
            return
        assert self.epoch is not None
        self._is_epoch_accepted = True
        self._host.save_current_epoch(self.epoch)
        if self._reconfig_enabled and not (self.config.version or self.last_seen.version):
            self.last_seen = self.config.with_version(make(self.epoch, 0))
        for handler in list(self.handlers):
            if handler.stage == Stage.EPOCH_ACKED:
                self._synchronise(now_ms, handler)
        self._synced.add(self.me)
        self._check_synced(now_ms)

    @staticmethod
    def _is_same(one: LearnerHandler, other: LearnerHandler) -> bool:
        return one is not other and one.server_id == other.server_id

    # Synchronisation (sections 4.4, 4.7 and 4.8)

    def _synchronise(self, now_ms: int, handler: LearnerHandler) -> None:
        """Queue the history that is missing, what is in flight, and NEWLEADER."""
        assert self.epoch is not None
        self._push()  # what was broadcast so far is not for the new one
        if not self._send_history(handler, self.last_zxid, self._host.snapshot):
            return
        if not handler.is_observer:
            # A TRUNC takes what it had acknowledged and nobody committed: it is asked again, and
            # an ACK that is still on its way in an earlier connection must not answer.
            for other in [other for other in self._followers if self._is_same(other, handler)]:
                self._replace(now_ms, other, handler)
            self._acked.pop(handler.server_id, None)
            for zxid, payload in self._outstanding:
                handler.link.send(wire.proposal(zxid, payload))
        self._send_new_leader(handler, self.epoch, self.last_seen.text())
        handler.acked = self.last_zxid  # no ACK is due for what is committed
        if handler.stage == Stage.SYNCING:
            (self._observers if handler.is_observer else self._followers)[handler] = None

    def _replace(self, now_ms: int, old: LearnerHandler, new: LearnerHandler) -> None:
        """Who connected last is served, as the reference has it."""
        if self._twins.replaced(now_ms, old.server_id):
            logger.warning(
                "Server id %d is used by two servers: %s and %s; each ends the connection of the"
                " other, and the last one is served. Give one of them another myid",
                old.server_id, old.name, new.name,
            )  # fmt: skip
        logger.info("Closing the connection of %s: it has connected again, from %s", old, new.name)
        self.disconnected(old)
        old.link.close()

    def _synced_with(self, now_ms: int, handler: LearnerHandler, packet: Packet) -> None:
        kind, zxid, _, _ = packet
        assert self.epoch is not None
        if kind != PacketType.ACK:
            raise DecodeError(f"a packet of type {kind} where an ACK is due")
        handler.stage = Stage.SYNCED
        if self.is_established:
            self._up_to_date(now_ms, handler)
            return
        if zxid != make(self.epoch, 0):
            raise DecodeError(f"it acknowledges {show(zxid)} instead of this epoch")
        # An observer may vote in the configuration that is pending: quorums go by id.
        self._synced.add(handler.server_id)
        self._check_synced(now_ms)

    def _check_synced(self, now_ms: int) -> None:
        if self.is_established or not self._is_quorum(self._synced):
            return
        assert self.epoch is not None
        self.is_established = True
        self.last_zxid = self.last_proposed = make(self.epoch, 0)
        self._acked[self.me] = self.last_zxid
        self.config = self.last_seen
        self._next_check_ms = now_ms + self._tick_ms
        self._host.established(now_ms, self.epoch)
        for handler in list(self.handlers):
            if handler.stage == Stage.SYNCED:
                self._up_to_date(now_ms, handler)
        if self.me not in self.config.voters:
            # Voters that look for a leader would not find one who is none of them (section 3.4).
            self.hand_over()
            self._host.give_up("the configuration that was pending has another server lead")

    def _up_to_date(self, now_ms: int, handler: LearnerHandler) -> None:
        assert self.epoch is not None
        handler.acked = max(handler.acked, make(self.epoch, 0))
        self._send_up_to_date(now_ms, handler)

    def _is_quorum(self, server_ids: set[int]) -> bool:
        """In the committed configuration and in the one that may follow it."""
        return self.config.contains_quorum(server_ids) and (
            self.last_seen is self.config or self.last_seen.contains_quorum(server_ids)
        )

    # Broadcast (section 5)

    def propose(self, zxid: int, payload: bytes) -> None:
        """Send a transaction to the followers and log it, in zxid order."""
        if zxid & LAST_COUNTER == LAST_COUNTER:
            self._end("the epoch has no more zxids")
            return
        self.last_proposed = zxid
        self._outstanding.append((zxid, payload))
        if self._followers:
            if not self._to_followers:
                self._host.wake()
            self._to_followers.append(wire.proposal(zxid, payload))
        # Behind `wake`: the proposals leave before this server is busy with its own disk.
        self._host.append(zxid, payload)

    def logged(self, now_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable here."""
        if zxid > self._acked[self.me]:
            self._acked[self.me] = zxid
            if self.acknowledged is not None:
                self.acknowledged(now_ms, self.me, zxid)
            if self.is_established:
                self._advance(now_ms)

    def _take_acks(self, now_ms: int, handler: LearnerHandler) -> None:
        if handler.is_observer:
            return
        if handler.acked > self.last_proposed:
            self.drop(handler, f"it acknowledges {show(handler.acked)}, which was never proposed")
            return
        if handler.acked > self._acked.get(handler.server_id, 0):
            self._acked[handler.server_id] = handler.acked
            if self.acknowledged is not None:
                self.acknowledged(now_ms, handler.server_id, handler.acked)
            self._advance(now_ms)

    def _commit_point(self) -> int:
        point = self.config.quorum_zxid(self._acked)
        if self._is_reconfiguring:
            pending = self.last_seen.version
            if point >= pending:
                point = max(min(point, self.last_seen.quorum_zxid(self._acked)), pending - 1)
        return point

    @property
    def _is_reconfiguring(self) -> bool:
        return self.is_established and self.last_seen is not self.config

    def _advance(self, now_ms: int) -> None:
        """Commit what a quorum has on disk: followers, observers, here, then the syncs."""
        outstanding = self._outstanding
        point = self._commit_point()
        if not outstanding or outstanding[0][0] > point:
            return
        if self._is_reconfiguring and point >= self.last_seen.version:
            self._commit_up_to(now_ms, self.last_seen.version - 1)
            self._activate(now_ms)
            if not self.is_over:
                self._advance(now_ms)
            return
        self._commit_up_to(now_ms, point)

    def _commit_up_to(self, now_ms: int, point: int) -> None:
        """In runs that end where a sync waits: it is answered before what came after it."""
        outstanding = self._outstanding
        while outstanding and outstanding[0][0] <= point and not self.is_over:
            self._commit_run(now_ms, min(point, self._syncs[0][0]) if self._syncs else point)

    def _commit_run(self, now_ms: int, point: int) -> None:
        outstanding, observed, zxids = self._outstanding, bool(self._observers), []
        while outstanding and outstanding[0][0] <= point:
            entry = outstanding.popleft()
            zxids.append(entry[0])
            self._history.append(entry)
            if observed:
                self._to_observers.append(wire.inform(*entry))
        if self._followers:
            self._to_followers.append(wire.commits(zxids))
        self._push()  # the followers apply and answer while this server does
        self._apply_up_to(now_ms, zxids[-1])

    def _apply_up_to(self, now_ms: int, zxid: int) -> None:
        self.last_zxid = zxid
        self._host.committed(now_ms, zxid)
        if self._answer_syncs():  # their answers leave
            self._host.committed(now_ms, zxid)

    # Reconfiguration (section 6)

    def plan(
        self, joining: str | None, leaving: str | None, new_members: str | None, from_version: int
    ) -> EnsembleConfig:
        """The membership that is asked for; RequestError for all that speaks against it."""
        if self._is_reconfiguring:
            raise RequestError(ErrorCode.RECONFIG_IN_PROGRESS)
        if from_version not in (-1, self.last_seen.version):
            raise RequestError(ErrorCode.BAD_VERSION)
        config = reconfig.requested(self.last_seen, joining, leaving, new_members, self._settings)
        synced = {handler.server_id for handler in self._followers if handler.stage >= Stage.SYNCED}
        if not config.contains_quorum(synced | {self.me}):
            raise RequestError(ErrorCode.NEW_CONFIG_NO_QUORUM)
        return config

    def proposed(self, config: EnsembleConfig) -> None:
        """The transaction that brings it is proposed next; it needs a quorum of both."""
        self.last_seen = config
        self._host.see_config(config)

    def _activate(self, now_ms: int) -> None:
        """Commit the reconfiguration; who leads from here on is part of the message."""
        config = self.last_seen
        entry = zxid, payload = self._outstanding.popleft()
        assert zxid == config.version, "a configuration is named after its transaction"
        designated = self._designate(config)
        data = wire.long_data(designated)
        self._to_followers.append(wire.with_data(PacketType.COMMIT_AND_ACTIVATE, zxid, data))
        self._to_observers.append(
            wire.with_data(PacketType.INFORM_AND_ACTIVATE, zxid, data + payload)
        )
        self._push()
        self._history.append(entry)
        self.config = config
        self._apply_up_to(now_ms, zxid)
        self._host.activate(config, designated)

    def _designate(self, config: EnsembleConfig) -> int:
        """This server if it still votes at the same address, else the voter that has most."""
        mine = config.members.get(self.me)
        before = self.config.members.get(self.me)
        if self.me in config.voters and mine and before and mine.quorum == before.quorum:
            return self.me
        live = {handler.server_id for handler in self._followers}
        candidates = sorted(config.voters & live - {self.me})
        return max(candidates, key=lambda sid: self._acked.get(sid, 0), default=self.me)

    def hand_over(self) -> None:
        """Another server leads: its followers leave by themselves, and nothing is committed."""
        self.finish()

    def freeze(self) -> None:
        """Nothing is sent or counted any more, and nobody is told: `close` is still to come."""
        self.is_over = True

    def sync(
        self, handler: LearnerHandler | None, released: Callable[[], None] | None = None
    ) -> bool:
        """Whether everything proposed so far is committed; else answered when it is.

        The answer is a SYNC packet, or for this server's own clients `released`.
        """
        if not self._outstanding and not self._syncs:
            if handler is not None:
                self._send(handler, wire.bare(PacketType.SYNC, 0))
            return True
        self._syncs.append((self.last_proposed, handler, released))
        return False

    @property
    def pending_syncs(self) -> int:
        """Syncs that are not answered yet."""
        return len(self._syncs)

    def _answer_syncs(self) -> bool:
        syncs, is_own = self._syncs, False  # of this server's clients
        while syncs and syncs[0][0] <= self.last_zxid:
            _, handler, released = syncs.popleft()
            if released is not None:
                released()
                is_own = True
            elif handler is not None and handler.stage == Stage.SERVING:
                self._send(handler, wire.bare(PacketType.SYNC, 0))
        return is_own

    def _serve(self, now_ms: int, handler: LearnerHandler, packet: Packet) -> None:
        kind, _, data, identities = packet
        host = self._host
        if kind == _REQUEST:
            session_id, _, op, frame = wire.split_request(data)
            handler.requests += 1
            if op == OP_SYNC:
                self.sync(handler)
            else:
                host.request(now_ms, handler, session_id, frame, identities)
        elif kind == PacketType.PING:
            for session_id, timeout_ms in wire.read_touches(data):
                host.touch(now_ms, session_id, timeout_ms)
        elif kind == PacketType.REVALIDATE:
            session_id, _ = wire.read_session(data)
            valid = wire.validity(session_id, host.revalidate(now_ms, handler, session_id))
            self._send(handler, wire.with_data(kind, wire.NO_ZXID, valid))
        else:
            logger.warning("%s sent a packet of type %d, which is ignored", handler, kind)

    # Output

    def _send(self, handler: LearnerHandler, data: bytes) -> None:
        if self._to_observers if handler.is_observer else self._to_followers:
            self._push()
        handler.packets_sent += 1
        handler.link.send(data)

    def _push(self) -> None:
        broadcast(self._to_followers, self._followers)
        broadcast(self._to_observers, self._observers)

    # Time

    def tick(self, now_ms: int) -> None:
        """Pings, time limits, and whether a quorum still follows (sections 4.9, 5.4, 5.5)."""
        settings = self._settings
        init_ms = settings.init_limit_ticks * self._tick_ms
        sync_ms = settings.sync_limit_ticks * self._tick_ms
        if not self.is_established and now_ms >= self._deadline_ms:
            phase = "synced" if self._is_epoch_accepted else "registered"
            self._end(f"no quorum has {phase} within {init_ms} ms")
            return
        self._drop_silent(now_ms)
        for handler in list(self._followers):
            if handler.stage == Stage.SERVING:
                self._check_acks(now_ms, handler, sync_ms)
        if now_ms >= self._next_ping_ms:
            self._next_ping_ms = now_ms + self._tick_ms // 2
            self._ping(self.last_proposed)
        if self.is_established and now_ms >= self._next_check_ms:
            self._next_check_ms = now_ms + self._tick_ms
            alive = self._alive(now_ms)
            if not self._is_quorum(alive):
                self._end(f"only {sorted(alive)} are left, which is no quorum")

    def _check_acks(self, now_ms: int, handler: LearnerHandler, limit_ms: int) -> None:
        if handler.acked >= self.last_proposed:
            handler.unacked_since_ms = None
        elif handler.unacked_since_ms is None or handler.acked > handler.acked_before:
            handler.unacked_since_ms = now_ms
        elif now_ms - handler.unacked_since_ms > limit_ms:
            self.drop(handler, f"it has acknowledged nothing for {limit_ms} ms")
        handler.acked_before = handler.acked

    def _alive(self, now_ms: int) -> set[int]:
        """Who is in step and was heard of within syncLimit, and this server."""
        sync_ms = self._settings.sync_limit_ticks * self._tick_ms
        return {self.me} | {
            handler.server_id
            for handler in self._followers
            if handler.stage >= Stage.SYNCED and now_ms - handler.last_received_ms <= sync_ms
        }

    def has_quorum(self, now_ms: int) -> bool:
        """Whether a quorum follows as far as is known; a leader of the past has none soon."""
        return self._is_quorum(self._alive(now_ms))

    def _end(self, reason: str) -> None:
        if not self.is_over:
            self.close()
            self._host.give_up(reason)

    def tail(self) -> list[Entry]:
        """What was logged here and never committed."""
        return list(self._outstanding)
