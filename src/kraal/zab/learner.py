"""Learning: follow or observe one leader, from its epoch to its broadcast.

The learner's side of reference/quorum-protocol.md sections 4.2 to 4.7 and 5.3. What must be on
disk before which answer is in section 1.4: a promise before ACKEPOCH, the leader's history
before ACK of NEWLEADER, a proposal before its ACK.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from kraal.errors import DecodeError
from kraal.model.acl import Id
from kraal.model.limits import EPOCH_LEAP_MAX, LAST_EPOCH
from kraal.model.zxid import counter, epoch, make, show
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import Packet, PacketReader, PacketType
from kraal.zab.link import Link

logger = logging.getLogger("kraal.zab.learner")


class Transaction(Protocol):
    """A transaction as the server around Zab reads it; Zab looks at these two only."""

    @property
    def zxid(self) -> int: ...

    @property
    def payload(self) -> bytes: ...


T = TypeVar("T", bound=Transaction)


class SnapshotReader(Protocol):
    """Takes a snapshot stream as it arrives."""

    def feed(self, data: bytes) -> bytes | None:
        """None while there is more to come, else what follows the stream. DecodeError."""


class LearnerHost(Protocol[T]):
    """What a learner asks of the server around it."""

    def parse(self, zxid: int, payload: bytes) -> T:
        """Read a transaction once, before it is logged. DecodeError: it is none."""

    def save_accepted_epoch(self, epoch: int) -> None:
        """Make the promise durable before returning."""

    def save_current_epoch(self, epoch: int) -> None:
        """Make it durable before returning."""

    def snapshot_reader(self) -> SnapshotReader:
        """For the stream behind a SNAP packet."""

    def adopt(self, reader: SnapshotReader, zxid: int) -> None:
        """The tree that was read takes the place of the server's own."""

    def save_snapshot(self) -> None:
        """Write the adopted tree; `Learner.snapshot_saved` is the answer."""

    def truncate(self, zxid: int) -> None:
        """Cut the log behind zxid and load what is left.

        `Learner.truncated` is the answer, unless that cannot be done.
        """

    def append(self, zxid: int, payload: bytes) -> None:
        """Hand a transaction to the log; `Learner.logged` is the answer."""

    def apply(self, txns: Sequence[T]) -> None:
        """Apply committed transactions while nobody is served."""

    def configuration(self, text: str) -> None:
        """The leader's configuration, as NEWLEADER says it."""

    def established(self, now_ms: int, epoch: int) -> None:
        """In step with the leader: begin to serve, or `Learner.close` in another role."""

    def committed(self, now_ms: int, txns: Sequence[T]) -> None:
        """Apply these and answer those who wait for them."""

    def activate(self, now_ms: int, designated: int, txn: T) -> None:
        """A committed reconfiguration takes effect, then its transaction is applied."""

    def touched(self) -> list[tuple[int, int]]:
        """Sessions heard of since the last call, with their timeouts in ms."""

    def revalidated(self, now_ms: int, session_id: int, valid: bool) -> None:
        """The answer to `Learner.revalidate`."""

    def synced(self, now_ms: int) -> None:
        """The answer to the oldest sync request."""

    def give_up(self, reason: str) -> None:
        """Learning is over: back to the election."""

    def wake(self) -> None:
        """There is output: call `Learner.flush` at the end of this turn."""


class Phase(Enum):
    DISCOVERY = auto()
    """LEADERINFO is still to come."""
    OPENING = auto()
    """DIFF, TRUNC or SNAP is still to come."""
    SNAPSHOT = auto()
    """The stream is arriving."""
    TRUNCATING = auto()
    """The disk is busy cutting the log."""
    SYNCING = auto()
    """History is arriving, up to NEWLEADER."""
    ADOPTING = auto()
    """The disk is busy making the leader's history ours."""
    ADOPTED = auto()
    """NEWLEADER is acknowledged; UPTODATE is still to come."""
    SERVING = auto()
    OVER = auto()


# For every packet: looking up a member of an enumeration costs more than comparing it.
_PROPOSAL, _COMMIT = PacketType.PROPOSAL, PacketType.COMMIT
_DISK_IS_BUSY = (Phase.TRUNCATING, Phase.ADOPTING)


class Learner(Generic[T]):
    """One server's time with one leader."""

    def __init__(
        self,
        me: int,
        link: Link,
        *,
        is_observer: bool,
        init_limit_ms: int,
        sync_limit_ms: int,
        packet_limit: int,
        config_version: int,
        accepted_epoch: int,
        current_epoch: int,
        last_zxid: int,
        host: LearnerHost[T],
        now_ms: int,
        is_emptied: bool = False,
    ) -> None:
        """`is_emptied`: the host has put an empty tree in the place of its own.

        Then `last_zxid` is 0, whatever was there, and only the leader that this server has
        promised to follow may know it so: there it does not count.
        """
        self.is_observer = is_observer
        self.link = link
        self._host = host
        self._reader = PacketReader(packet_limit)
        self._init_limit_ms = init_limit_ms
        self._sync_limit_ms = sync_limit_ms
        self._accepted_epoch = accepted_epoch
        self._current_epoch = current_epoch
        self._last_zxid = last_zxid
        """Of what was received, here or from the leader; proposals must follow it."""
        self.epoch = 0
        self.phase = Phase.DISCOVERY
        self.began_ms = self.last_received_ms = now_ms
        """When the leader was heard of last."""
        self._pinged_zxid = 0
        self._is_past_newleader = False
        self._is_emptied = self._has_snapshot = is_emptied
        self._may_repeat = False
        """Whether the first transaction behind a snapshot is still to come."""
        self._snapshot: tuple[SnapshotReader, int] | None = None
        self._backlog: list[Packet] = []
        """Packets that came with the one that made the disk busy."""
        self._pending: deque[T] = deque()
        """Proposals that are not committed; logged only while serving."""
        self._committed: list[T] = []
        """Committed before this learner serves, and not yet applied."""
        self._awaited_zxid = 0
        self._unacked: deque[int] = deque()
        self._out: list[bytes] = []
        kind = PacketType.OBSERVER_INFO if is_observer else PacketType.FOLLOWER_INFO
        info = wire.LearnerInfo(me, wire.PROTOCOL_VERSION, config_version)
        link.send(wire.with_data(kind, make(accepted_epoch, 0), info.encode()))

    # Input from the leader

    def received(self, now_ms: int, data: bytes) -> None:
        """Bytes of the leader's connection."""
        self.last_received_ms = now_ms
        try:
            if self.phase == Phase.SNAPSHOT:
                rest = self._take_snapshot(data)
                if rest is None:
                    return
                data = rest
            self._take(now_ms, self._reader.feed(data))
        except DecodeError as error:
            self._end(f"the leader sent what cannot be read: {error}")

    def _take(self, now_ms: int, packets: list[Packet]) -> None:
        for at, packet in enumerate(packets):
            if self.phase == Phase.SERVING:
                self._serve(now_ms, packets[at:] if at else packets)
                return
            if self.phase == Phase.OVER:
                return
            if self.phase in _DISK_IS_BUSY:
                self._backlog += packets[at:]
                return
            _HANDLERS[self.phase](self, now_ms, packet)
        if self.phase == Phase.SNAPSHOT:
            rest = self._take_snapshot(self._reader.take_rest())
            if rest is not None:
                self._take(now_ms, self._reader.feed(rest))

    def _resume(self, now_ms: int) -> None:
        """The disk is done: take up what came meanwhile."""
        self.last_received_ms = now_ms
        backlog, self._backlog = self._backlog, []
        try:
            self._take(now_ms, backlog)
        except DecodeError as error:
            self._end(f"the leader sent what cannot be read: {error}")
        if self.phase not in _DISK_IS_BUSY:
            self.link.resume_reading()

    # Discovery (section 4.3)

    def _discover(self, _now_ms: int, packet: Packet) -> None:
        kind, zxid, data, _ = packet
        if kind != PacketType.LEADER_INFO:
            self._end(f"a packet of type {kind} where LEADERINFO is due")
            return
        wire.read_int(data)  # the protocol's version, of which there is one
        offered, accepted = epoch(zxid), self._accepted_epoch
        # Who has accepted none yet cannot know how far the others are.
        most = accepted + EPOCH_LEAP_MAX if accepted > 0 else LAST_EPOCH
        if not max(accepted, 0) <= offered <= most:
            self._end(f"epoch {offered} is offered, and {accepted} was accepted")
            return
        counted = self._current_epoch
        if self._is_emptied and offered != accepted:
            self._end(f"epoch {offered} is offered by another leader than that of {accepted}")
            return
        if offered > self._accepted_epoch:
            self._host.save_accepted_epoch(offered)
            self._accepted_epoch = offered
        else:
            counted = -1  # promised already: it may not count twice
        self.epoch = offered
        answer = counted.to_bytes(4, "big", signed=True)
        self.link.send(wire.with_data(PacketType.ACK_EPOCH, self._last_zxid, answer))
        self.phase = Phase.OPENING

    # Synchronisation (sections 4.6 and 4.7)

    def _open(self, _now_ms: int, packet: Packet) -> None:
        kind, zxid, _, _ = packet
        if kind == PacketType.DIFF:
            logger.info("The leader sends what is missing behind %s", show(self._last_zxid))
            self.phase = Phase.SYNCING
        elif kind == PacketType.SNAP:
            if not 0 <= epoch(zxid) <= self.epoch:
                raise DecodeError(f"a tree as of {show(zxid)} in epoch {self.epoch}")
            self._snapshot = (self._host.snapshot_reader(), zxid)
            self.phase = Phase.SNAPSHOT
        elif kind == PacketType.TRUNC:
            if not 0 <= zxid <= self._last_zxid or self._is_emptied:
                raise DecodeError(f"a cut at {show(zxid)} where {show(self._last_zxid)} is last")
            self._last_zxid = zxid
            self.phase = Phase.TRUNCATING
            self.link.pause_reading()
            self._host.truncate(zxid)
        elif kind != PacketType.PING:
            self._end(f"a packet of type {kind} where DIFF, TRUNC or SNAP is due")

    def _take_snapshot(self, data: bytes) -> bytes | None:
        assert self._snapshot is not None
        reader, zxid = self._snapshot
        rest = reader.feed(data)
        if rest is not None:
            self._snapshot = None
            self._has_snapshot = self._may_repeat = True
            self._last_zxid = zxid
            self._host.adopt(reader, zxid)
            self.phase = Phase.SYNCING
        return rest

    def truncated(self, now_ms: int) -> None:
        """The log ends where the leader wants it, and the tree is what it gives."""
        if self.phase == Phase.TRUNCATING:
            self.phase = Phase.SYNCING
            self._resume(now_ms)

    def _collect(self, now_ms: int, packet: Packet) -> None:
        """History between the opening packet and UPTODATE."""
        kind, zxid, data, _ = packet
        if kind == PacketType.PROPOSAL:
            self._pending.append(self._next(zxid, data))
        elif kind in (PacketType.COMMIT, PacketType.COMMIT_AND_ACTIVATE):
            self._committed.append(self._commit(zxid))
        elif kind == PacketType.INFORM:
            self._committed.append(self._informed(zxid, data))
        elif kind == PacketType.INFORM_AND_ACTIVATE:
            self._committed.append(self._informed(zxid, (data or b"")[8:]))
        elif kind == PacketType.NEW_LEADER and not self._is_past_newleader:
            self._adopt_history(packet)
        elif kind == PacketType.UP_TO_DATE and self._is_past_newleader:
            self._begin_serving(now_ms)
        elif kind != PacketType.PING:  # not answered before UPTODATE (pitfall P12)
            raise DecodeError(f"a packet of type {kind} while synchronising")

    def _next(self, zxid: int, payload: bytes | None) -> T:
        """The transaction that follows. DecodeError: a gap would be a lost write."""
        last = self._last_zxid
        # A snapshot is of a changing tree: a leader may repeat what it shows already, and
        # applying that again changes nothing (pitfall P29).
        is_repeated, self._may_repeat = self._may_repeat and 0 < zxid <= last, False
        if (
            zxid != last + 1
            and not is_repeated
            and not (epoch(last) < epoch(zxid) <= self.epoch and counter(zxid) == 1)
        ):
            raise DecodeError(f"{show(zxid)} is proposed after {show(last)}")
        if payload is None:
            raise DecodeError(f"{show(zxid)} is proposed without a transaction")
        txn = self._host.parse(zxid, payload)
        self._last_zxid = zxid
        return txn

    def _informed(self, zxid: int, payload: bytes | None) -> T:
        """A transaction that is committed already. DecodeError: it would overtake others."""
        if self._pending:
            raise DecodeError(f"{show(zxid)} is committed before {show(self._pending[0].zxid)}")
        return self._next(zxid, payload)

    def _commit(self, zxid: int) -> T:
        """The oldest proposal. DecodeError unless it is the one that is committed."""
        if not self._pending or self._pending[0].zxid != zxid:
            raise DecodeError(f"{show(zxid)} is committed out of its turn")
        return self._pending.popleft()

    def _adopt_history(self, packet: Packet) -> None:
        """NEWLEADER: the committed history becomes durable, then it is acknowledged."""
        _, _, data, _ = packet
        self._is_past_newleader, self._may_repeat = True, False
        host = self._host
        if data is not None and len(data) > 1:
            host.configuration(data.decode("utf-8", "replace"))
        txns, self._committed = self._committed, []
        self.phase = Phase.ADOPTING
        host.apply(txns)
        if self._has_snapshot:
            self.link.pause_reading()
            host.save_snapshot()
        elif txns:
            self.link.pause_reading()
            self._awaited_zxid = txns[-1].zxid
            for txn in txns:
                host.append(txn.zxid, txn.payload)
        else:
            self._adopted()

    def snapshot_saved(self, now_ms: int) -> None:
        """The snapshot of `LearnerHost.save_snapshot` is durable."""
        if self.phase == Phase.ADOPTING:
            self._adopted()
            self._resume(now_ms)

    def _adopted(self) -> None:
        self._host.save_current_epoch(self.epoch)
        self.link.send(wire.bare(PacketType.ACK, make(self.epoch, 0)))
        self.phase = Phase.ADOPTED

    def _begin_serving(self, now_ms: int) -> None:
        """UPTODATE: clients are served; what is in flight is logged and acknowledged."""
        self._host.established(now_ms, self.epoch)
        if self.phase == Phase.OVER:
            return
        self.phase = Phase.SERVING
        self.link.send(wire.bare(PacketType.ACK, make(self.epoch, 0)))
        txns, self._committed = self._committed, []
        for txn in (*txns, *self._pending):
            self._log(txn)
        if txns:
            self._host.committed(now_ms, txns)

    # Broadcast (section 5.3)

    def _log(self, txn: T) -> None:
        if not self.is_observer:
            self._unacked.append(txn.zxid)
        self._host.append(txn.zxid, txn.payload)

    def _serve(self, now_ms: int, packets: list[Packet]) -> None:
        """Runs of commits are applied together: one turn, one answer to each client."""
        pending, host = self._pending, self._host
        committed: list[T] = []
        try:
            for kind, zxid, data, _ in packets:
                if kind == _PROPOSAL:
                    txn = self._next(zxid, data)
                    pending.append(txn)
                    self._log(txn)
                elif kind == _COMMIT:
                    committed.append(self._commit(zxid))
                else:
                    if committed:
                        host.committed(now_ms, committed)
                        committed = []
                    self._serve_other(now_ms, kind, zxid, data)
                    if self.phase != Phase.SERVING:
                        return
        finally:
            if committed:
                host.committed(now_ms, committed)

    def _serve_other(self, now_ms: int, kind: int, zxid: int, data: bytes | None) -> None:
        host = self._host
        if kind == PacketType.PING:
            self._pinged_zxid = zxid
            self._send(wire.with_data(PacketType.PING, zxid, wire.touches(host.touched())))
        elif kind == PacketType.INFORM:
            txn = self._informed(zxid, data)
            self._log(txn)
            host.committed(now_ms, [txn])
        elif kind == PacketType.SYNC:
            host.synced(now_ms)
        elif kind == PacketType.REVALIDATE:
            host.revalidated(now_ms, *wire.read_validity(data))
        elif kind == PacketType.COMMIT_AND_ACTIVATE:
            designated = wire.read_long(data)
            host.activate(now_ms, designated, self._commit(zxid))
        elif kind == PacketType.INFORM_AND_ACTIVATE:
            designated = wire.read_long(data)
            txn = self._informed(zxid, (data or b"")[8:])
            self._log(txn)
            host.activate(now_ms, designated, txn)
        else:
            logger.warning("The leader sent a packet of type %d, which is ignored", kind)

    def logged(self, now_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable here."""
        if self.phase == Phase.ADOPTING and self._awaited_zxid and zxid >= self._awaited_zxid:
            self._awaited_zxid = 0
            self._adopted()
            self._resume(now_ms)
        unacked = self._unacked
        if unacked and unacked[0] <= zxid and self.phase == Phase.SERVING:
            durable = []
            while unacked and unacked[0] <= zxid:
                durable.append(unacked.popleft())
            self._send(wire.acks(durable))

    # Output

    def request(self, session_id: int, frame: bytes, identities: tuple[Id, ...] | None) -> None:
        """Forward a client's write; its commit, or an error transaction, is the answer."""
        self._send(wire.request(session_id, frame, identities))

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask whether a session lives."""
        data = wire.touches([(session_id, timeout_ms)])
        self._send(wire.with_data(PacketType.REVALIDATE, wire.NO_ZXID, data))

    def _send(self, data: bytes) -> None:
        if not self._out:
            self._host.wake()
        self._out.append(data)

    def flush(self) -> None:
        """The end of a turn: one piece to the leader."""
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self.link.send(data)

    # The end

    def tick(self, now_ms: int) -> None:
        """The leader must be heard of within a limit (section 4.9)."""
        if self.phase in _DISK_IS_BUSY or self.phase == Phase.OVER:
            return
        limit_ms = self._sync_limit_ms if self._is_past_newleader else self._init_limit_ms
        if now_ms - self.last_received_ms > limit_ms:
            self._end(f"nothing was heard of the leader for {limit_ms} ms")

    def disconnected(self) -> None:
        """The leader closed the connection, or it broke."""
        self._end("the connection to the leader is closed")

    def _end(self, reason: str) -> None:
        if self.phase != Phase.OVER:
            self.close()
            self._host.give_up(reason)

    def close(self) -> None:
        """Close the connection; nothing is sent or taken any more."""
        if self.phase != Phase.OVER:
            if self.phase != Phase.SERVING:
                self._pending.clear()  # not in the log yet
            self.phase = Phase.OVER
            self.link.close()

    @property
    def pending(self) -> int:
        """Proposals that are not committed yet."""
        return len(self._pending)

    @property
    def leader_zxid(self) -> int:
        """The highest zxid that the leader is known to have proposed."""
        return max(self._last_zxid, self._pinged_zxid)

    def tail(self) -> list[T]:
        """What was handed to the log and never committed."""
        return list(self._pending)


_HANDLERS = {
    Phase.DISCOVERY: Learner._discover,
    Phase.OPENING: Learner._open,
    Phase.SYNCING: Learner._collect,
    Phase.ADOPTED: Learner._collect,
}
