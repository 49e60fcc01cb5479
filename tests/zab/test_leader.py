"""The leader alone, with learners written out packet by packet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import Address, EnsembleConfig, Member
from kraal.model.zxid import make
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import Packet, PacketReader, PacketType
from kraal.zab.history import CommittedLog
from kraal.zab.leader import LAST_COUNTER, Leader
from kraal.zab.learner_handler import LearnerHandler

LIMIT = 1 << 20


def config(voters: int) -> EnsembleConfig:
    return EnsembleConfig(
        members={
            number: Member(
                id=number,
                quorum=(Address("zk", 2000 + number),),
                election=(Address("zk", 3000 + number),),
            )
            for number in range(1, voters + 1)
        }
    )


@dataclass
class Wire:
    """The learner's end of a link."""

    packets: list[Packet] = field(default_factory=list)
    is_open: bool = True
    reader: PacketReader = field(default_factory=lambda: PacketReader(LIMIT))

    def send(self, data: bytes) -> None:
        assert self.is_open
        self.packets += self.reader.feed(data)
        if self.packets and self.packets[-1][0] == PacketType.SNAP:
            self.packets += self.reader.feed(self.reader.take_rest())

    def stream(self, slices: Iterator[bytes]) -> None:
        for piece in slices:
            self.send(piece)

    def close(self) -> None:
        self.is_open = False

    finish = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def kinds(self) -> list[int]:
        return [kind for kind, _, _, _ in self.packets]


class Host:
    """Remembers what the leader asks of it."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []
        self.log: list[int] = []
        self.committed_zxid = 0
        self.established_epoch = 0
        self.ended = ""

    def save_accepted_epoch(self, epoch: int) -> None:
        self.epochs.append(("accepted", epoch))

    def save_current_epoch(self, epoch: int) -> None:
        self.epochs.append(("current", epoch))

    def append(self, zxid: int, _payload: bytes) -> None:
        self.log.append(zxid)

    def established(self, _now_ms: int, epoch: int) -> None:
        self.established_epoch = epoch

    def committed(self, _now_ms: int, zxid: int) -> None:
        self.committed_zxid = zxid

    def snapshot(self) -> Iterator[bytes]:
        yield b""

    def give_up(self, reason: str) -> None:
        self.ended = reason

    def wake(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the leader asks for {name}")


class Bench:
    def __init__(self, voters: int = 3, last_zxid: int = 0) -> None:
        self.host = Host()
        self.now_ms = 0
        settings = EnsembleSettings(config=config(voters), init_limit_ticks=10, sync_limit_ticks=5)
        self.leader = Leader(
            1,
            settings,
            tick_ms=100,
            packet_limit=LIMIT,
            reconfig_enabled=False,
            committed=settings.config,
            last_seen=settings.config,
            accepted_epoch=0,
            current_epoch=0,
            last_zxid=last_zxid,
            history=CommittedLog(500),
            host=self.host,
            now_ms=0,
        )
        self.leader.start(0)

    def connect(self) -> tuple[Wire, LearnerHandler]:
        link = Wire()
        handler = self.leader.connected(self.now_ms, link, "learner")
        assert handler is not None
        return link, handler

    def hear(self, handler: LearnerHandler, *packets: bytes) -> None:
        self.leader.received(self.now_ms, handler, b"".join(packets))

    def join(self, server_id: int, zxid: int = 0, epoch: int = 0) -> tuple[Wire, LearnerHandler]:
        """A follower that does all that is due up to its ACK of NEWLEADER."""
        return self.join_all(server_id, zxid=zxid, epoch=epoch)[0]

    def join_all(
        self, *server_ids: int, zxid: int = 0, epoch: int = 0
    ) -> list[tuple[Wire, LearnerHandler]]:
        """The same for several: each step of one waits for a quorum."""
        joined = [self.connect() for _ in server_ids]
        for server_id, (_, handler) in zip(server_ids, joined, strict=True):
            info = wire.LearnerInfo(server_id, wire.PROTOCOL_VERSION, 0).encode()
            self.hear(handler, wire.with_data(PacketType.FOLLOWER_INFO, 0, info))
        data = epoch.to_bytes(4, "big", signed=True)
        for packet in (
            wire.with_data(PacketType.ACK_EPOCH, zxid, data),
            wire.acks([make(1, 0)]),
        ):
            for _, handler in joined:
                self.hear(handler, packet)
        return joined

    def propose(self, number: int) -> int:
        zxid = make(1, number)
        self.leader.propose(zxid, b"transaction %d" % number)
        self.leader.flush()
        return zxid


def test_the_epoch_is_promised_and_adopted_before_anybody_is_told() -> None:
    bench = Bench()
    link, _ = bench.join(2)
    assert bench.host.epochs == [("accepted", 1), ("current", 1)]
    assert bench.host.established_epoch == 1
    assert link.kinds() == [
        PacketType.LEADER_INFO,
        PacketType.DIFF,
        PacketType.NEW_LEADER,
        PacketType.UP_TO_DATE,
    ]


def test_a_write_needs_a_quorum_on_disk_the_leader_counts_like_any_voter() -> None:
    bench = Bench(voters=5)
    (_, second), (_, third) = bench.join_all(2, 3)
    zxid = bench.propose(1)
    bench.hear(second, wire.acks([zxid]))
    bench.hear(third, wire.acks([zxid - 1]))
    assert bench.host.committed_zxid == 0
    bench.leader.logged(0, zxid)
    assert bench.host.committed_zxid == 0
    bench.hear(third, wire.acks([zxid]))
    assert bench.host.committed_zxid == zxid


def test_two_followers_commit_what_the_leader_has_yet_to_write() -> None:
    bench = Bench()
    _, second = bench.join(2)
    _, third = bench.join(3)
    zxid = bench.propose(1)
    bench.hear(second, wire.acks([zxid]))
    bench.hear(third, wire.acks([zxid]))
    assert bench.host.committed_zxid == zxid


def test_an_acknowledgement_does_not_outlive_what_the_learner_gives_up() -> None:
    bench = Bench(voters=5)
    (_, second), (_, third) = bench.join_all(2, 3)
    zxid = bench.propose(1)
    bench.hear(second, wire.acks([zxid]))
    # It comes back, and what it had is cut from its log before it is proposed again.
    bench.leader.disconnected(second)
    link, again = bench.join(2, zxid, -1)
    assert PacketType.TRUNC in link.kinds()
    bench.leader.logged(0, zxid)
    bench.hear(third, wire.acks([zxid]))
    assert bench.host.committed_zxid == 0
    bench.hear(again, wire.acks([zxid]))
    assert bench.host.committed_zxid == zxid


def test_an_acknowledgement_of_what_was_never_proposed_ends_that_learner_only() -> None:
    bench = Bench()
    link, second = bench.join(2)
    other, _ = bench.join(3)
    bench.hear(second, wire.acks([make(1, 9)]))
    assert not link.is_open
    assert other.is_open
    assert not bench.host.ended


def test_a_learner_ahead_of_the_leader_is_refused() -> None:
    bench = Bench(last_zxid=make(0, 5))
    link, _ = bench.join(2, zxid=make(0, 6))
    assert not link.is_open
    assert bench.host.established_epoch == 0


def test_the_last_zxid_of_an_epoch_ends_the_term() -> None:
    """It is never proposed: the next leader begins a new epoch."""
    bench = Bench()
    bench.join(2)
    last = bench.propose(LAST_COUNTER - 1)
    assert not bench.host.ended
    bench.propose(LAST_COUNTER)
    assert "the epoch has no more zxids" in bench.host.ended
    assert bench.leader.last_proposed == last


def test_without_a_quorum_leading_ends_at_a_tick() -> None:
    bench = Bench()
    _, second = bench.join(2)
    bench.leader.disconnected(second)
    assert not bench.host.ended
    bench.leader.tick(200)
    assert "no quorum" in bench.host.ended


def test_nobody_comes_within_init_limit() -> None:
    bench = Bench()
    bench.leader.tick(999)
    assert not bench.host.ended
    bench.leader.tick(1000)
    assert "no quorum has registered" in bench.host.ended


def test_a_late_follower_gets_what_is_in_flight_and_its_ack_counts() -> None:
    bench = Bench(voters=3)
    _, second = bench.join(2)
    zxid = bench.propose(1)
    link, third = bench.join(3)
    assert (PacketType.PROPOSAL, zxid) in [(kind, zxid) for kind, zxid, _, _ in link.packets]
    bench.hear(third, wire.acks([zxid]))
    bench.hear(second, wire.acks([zxid]))
    assert bench.host.committed_zxid == zxid


def test_commits_reach_followers_in_order_and_once() -> None:
    bench = Bench()
    link, second = bench.join(2)
    zxids = [bench.propose(number) for number in (1, 2, 3)]
    bench.leader.logged(0, zxids[-1])
    bench.hear(second, wire.acks(zxids[:2]))
    bench.hear(second, wire.acks(zxids[:2]), wire.acks(zxids[2:]))
    bench.leader.flush()
    commits = [zxid for kind, zxid, _, _ in link.packets if kind == PacketType.COMMIT]
    assert commits == zxids


def test_followers_get_a_commit_before_the_leader_applies_it() -> None:
    bench = Bench()
    link, second = bench.join(2)
    zxid = bench.propose(1)
    known: list[bool] = []

    def committed(_now_ms: int, zxid: int) -> None:
        commits = [of for kind, of, _, _ in link.packets if kind == PacketType.COMMIT]
        known.append(commits == [zxid])

    bench.host.committed = committed  # type: ignore[method-assign]
    bench.leader.logged(0, zxid)
    bench.hear(second, wire.acks([zxid]))
    assert known == [True]


def test_syncs_are_answered_in_their_turn_between_writes() -> None:
    bench = Bench()
    bench.join(2)
    bench.leader.propose(make(1, 1), b"one")
    answers: list[tuple[str, int]] = []
    leader = bench.leader
    assert not leader.sync(None, lambda: answers.append(("first", bench.host.committed_zxid)))
    leader.propose(make(1, 2), b"two")
    handler = next(iter(leader.handlers))

    def committed(_now_ms: int, zxid: int) -> None:
        """A client that had to wait for room asks now, before the first is answered."""
        bench.host.committed_zxid = zxid
        if not answers and zxid == make(1, 1):
            assert not leader.sync(None, lambda: answers.append(("second", zxid)))

    bench.host.committed = committed  # type: ignore[method-assign]
    leader.logged(0, make(1, 2))
    bench.hear(handler, wire.acks([make(1, 1), make(1, 2)]))
    # Both writes are committed at once; the first sync was asked for before the second one.
    assert [name for name, _ in answers] == ["first", "second"]
    assert answers[0][1] == make(1, 1)
