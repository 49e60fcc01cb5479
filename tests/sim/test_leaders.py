"""A leader among learners that behave well or badly, in virtual time."""

from __future__ import annotations

import struct

import pytest

from kraal.model.zxid import counter
from kraal.replica.leading_term import LeadingTerm
from kraal.replica.learning_term import LearningTerm
from kraal.sim import protocol
from kraal.sim.client import Request
from kraal.sim.server import SimServer
from kraal.sim.world import World
from kraal.wire.opcodes import OpCode
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import PacketType
from kraal.zab.state import State
from tests.sim.strangers import (
    Line,
    Stranger,
    ack,
    ack_epoch,
    client_of,
    follower_info,
    leader_of,
    observer_info,
    plan,
    started,
    without_judges,
    write,
)

EPOCH = 1 << 32

# Waiting for an epoch (reference/quorum-protocol.md section 3.9)


def elected_by_a_stranger(**settings: object) -> tuple[World, SimServer, Stranger, Stranger]:
    """A leader that nobody registers with: who voted for it, and who did not."""
    world = World(1, plan(3, 0, **settings))
    voter, other = Stranger(world, 1), Stranger(world, 3)
    leader = world.servers[2]
    leader.start()
    voter.backs, voter.claims = State.LOOKING, (0, 0)
    world.run(50)
    for _ in range(2):
        send_vote(voter, leader)
        world.run(250)
    assert state_of(leader) is State.LEADING
    return world, leader, voter, other


def state_of(server: SimServer) -> State:
    return server.peer.state


def send_vote(voter: Stranger, leader: SimServer) -> None:
    voter.backs = State.LOOKING
    voter.vote(leader.id, 1, leader=leader.id)
    voter.backs = None


def test_a_leader_whose_voter_looks_again_gives_up_early() -> None:
    world, leader, voter, _ = elected_by_a_stranger(max_time_to_wait_for_epoch_ms=600)
    send_vote(voter, leader)
    world.run(10)
    assert state_of(leader) is State.LEADING, "too early"
    world.run(500)
    assert state_of(leader) is State.LEADING, "nobody looks"
    assert leader.peer.counters.disloyal_voters == 0
    send_vote(voter, leader)
    world.run(10)
    assert state_of(leader) is State.LOOKING
    assert leader.peer.counters.disloyal_voters == 1


def test_without_the_setting_a_leader_waits_for_the_whole_init_limit() -> None:
    world, leader, voter, _ = elected_by_a_stranger()
    world.run(1300)
    send_vote(voter, leader)
    world.run(10)
    assert state_of(leader) is State.LEADING
    world.run(700)
    assert state_of(leader) is State.LOOKING


def test_who_did_not_vote_for_it_does_not_make_a_leader_give_up() -> None:
    world, leader, _, other = elected_by_a_stranger(max_time_to_wait_for_epoch_ms=600)
    world.run(700)
    send_vote(other, leader)
    world.run(10)
    assert state_of(leader) is State.LEADING


def test_an_established_leader_is_not_impressed() -> None:
    world = World(1, plan(3, max_time_to_wait_for_epoch_ms=100))
    leader = started(world, 1, 2, 3)
    stranger = Stranger(world, leader.id % 3 + 1)
    world.run(300)
    send_vote(stranger, leader)
    world.run(100)
    assert state_of(leader) is State.LEADING


def test_learners_know_how_far_the_leader_is_and_who_acknowledged_when() -> None:
    world = World(1, plan(3, 1, ack_logging_frequency=2))
    leader = started(world, 1, 2, 3, 4)
    client = client_of(world, leader.id)
    for number in range(6):
        write(client, b"/n%d" % number)
    world.run(1000)
    assert isinstance(leader.peer.term, LeadingTerm)
    proposed = leader.peer.term.leader.last_proposed
    assert counter(proposed) > 6
    for server in world.servers.values():
        if server is not leader:
            assert isinstance(server.peer.term, LearningTerm)
            assert server.peer.term.learner is not None
            assert server.peer.term.learner.leader_zxid == proposed
    latency = leader.peer.counters.ack_latency
    assert latency.keys() == {1, 2, 3}
    assert {summary.count for summary in latency.values()} == {counter(proposed) // 2}


# How many observers are brought in step at once (section 4.4)


def observing(stranger: Stranger, leader: SimServer, zxid: int) -> Line:
    """An observer that does not acknowledge what it is sent."""
    line = stranger.connect(leader)
    line.send(observer_info(stranger.id), ack_epoch(zxid, 0))
    stranger.world.run(50)
    return line


@pytest.mark.parametrize(
    ("zxid", "opening"), [(0, PacketType.SNAP), (1 << 32 | 1, PacketType.DIFF)]
)
def test_observers_that_are_brought_in_step_at_once_are_limited(
    zxid: int, opening: PacketType
) -> None:
    world = World(1, plan(3, 1, max_concurrent_snap_syncs=2, max_concurrent_diff_syncs=2))
    leader = started(world, 1, 2, 3)
    client = client_of(world, 1)
    write(client, b"/a")
    stranger = Stranger(world, 4)
    lines = [observing(stranger, leader, zxid) for _ in range(3)]
    assert [line.is_closed for line in lines] == [False, False, True]
    assert lines[0].kinds()[1] == opening
    # The other way is not taken, and followers are let in whatever is going on.
    other_way = observing(stranger, leader, 0 if zxid else 1 << 32 | 1)
    assert not other_way.is_closed
    follower = stranger.learn(leader, zxid)
    assert not follower.is_closed
    # Who is in step makes room for the next one.
    lines[0].send(ack(1 << 32))
    world.run(50)
    assert lines[0].kinds()[-1] == PacketType.UP_TO_DATE
    assert not observing(stranger, leader, zxid).is_closed
    write(client, b"/b")


# Learners that say what they should not


@pytest.fixture
def stage() -> tuple[World, SimServer, Stranger]:
    """An ensemble that serves, and somebody in the place of a third voter."""
    world = World(1, plan(3))
    stranger = Stranger(world, 1)
    return world, started(world, 2, 3), stranger


Stage = tuple[World, SimServer, Stranger]


def assert_unharmed(world: World, leader: SimServer) -> None:
    """It leads as before, in the same term, and commits."""
    assert leader_of(world) is leader
    assert leader.peer.current_epoch == 1
    write(client_of(world, leader.id), b"/still-%d" % world.now_ms())


FIRST = {
    "an ACK": ack(EPOCH),
    "an empty packet": wire.bare(0, 0),
    "no id": wire.bare(PacketType.FOLLOWER_INFO, 0),
    "half an id": wire.with_data(PacketType.FOLLOWER_INFO, 0, b"1234"),
    "an id only": wire.with_data(PacketType.FOLLOWER_INFO, 0, struct.pack(">q", 1)),
    "an old version": follower_info(1, version=0xFFFF),
    "the leader's id": follower_info(3),
    "a newer configuration": follower_info(1, config=1),
    "a large buffer": struct.pack(">iqi", PacketType.FOLLOWER_INFO, 0, 2000) + bytes(2000),
    "a gigantic buffer": struct.pack(">iqi", PacketType.FOLLOWER_INFO, 0, 0x7FFF_FFFF) + bytes(9),
    "a negative buffer": struct.pack(">iqi", PacketType.FOLLOWER_INFO, 0, -2) + bytes(9),
    "many identities": struct.pack(">iqii", PacketType.FOLLOWER_INFO, 0, 0, 0x7FFF_FFFF) + bytes(9),
    "another protocol": b"GET / HTTP/1.1\r\nHost: zookeeper\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(100),
    "SASL": bytes.fromhex("5f2435013501edcc0000000000000000") + bytes(20),
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_who_registers_wrongly_is_cut_off(stage: Stage, first: bytes) -> None:
    world, leader, stranger = stage
    line = stranger.connect(leader)
    line.send(first)
    world.run(100)
    assert line.is_closed
    assert_unharmed(world, leader)


def test_before_there_is_an_epoch_nobody_can_use_up_the_epochs() -> None:
    world, leader, voter, other = elected_by_a_stranger()
    for accepted in (0x7FFF_FFFF, 1 << 25):
        line = other.connect(leader)
        line.send(follower_info(3, accepted))
        world.run(20)
        assert line.is_closed
    line = voter.connect(leader)
    line.send(follower_info(1, 7))
    world.run(20)
    assert [(kind, zxid) for kind, zxid, _, _ in line.take()] == [(PacketType.LEADER_INFO, 8 << 32)]


def test_an_observer_and_strangers_do_not_make_a_quorum_of_epochs() -> None:
    world, leader, voter, other = elected_by_a_stranger()
    lines = [other.connect(leader) for _ in range(4)]
    for line, info in zip(
        lines, (observer_info(1), follower_info(77), follower_info(78), observer_info(3)),
        strict=True,
    ):  # fmt: skip
        line.send(info)
    world.run(100)
    assert [line.kinds() for line in lines] == [[], [], [], []]
    assert not any(line.is_closed for line in lines)
    line = voter.connect(leader)
    line.send(follower_info(1))
    world.run(100)
    for told in (*lines, line):
        assert told.kinds() == [PacketType.LEADER_INFO]


def test_who_is_ahead_of_the_leader_is_turned_away() -> None:
    world, leader, voter, _ = elected_by_a_stranger()
    for zxid, current in ((5, 0), (0, 1)):
        line = voter.connect(leader)
        line.send(follower_info(1), ack_epoch(zxid, current))
        world.run(100)
        assert line.is_closed
    assert state_of(leader) is State.LEADING


@pytest.mark.parametrize(
    "second",
    [ack(EPOCH), wire.bare(PacketType.ACK_EPOCH, 0), follower_info(1),
     wire.with_data(PacketType.ACK_EPOCH, 0, b"123"), wire.with_data(PacketType.PING, 0, b"")],
    ids=["an ACK", "null", "registering again", "short", "a ping"],
)  # fmt: skip
def test_the_epoch_must_be_acknowledged(stage: Stage, second: bytes) -> None:
    world, leader, stranger = stage
    line = stranger.connect(leader)
    line.send(follower_info(1), second)
    world.run(100)
    assert line.is_closed
    assert_unharmed(world, leader)


@pytest.mark.parametrize(
    "third",
    [wire.with_data(PacketType.PING, 0, b""), ack_epoch(0, 0), follower_info(1),
     wire.request(1, bytes(8), None), wire.bare(PacketType.UP_TO_DATE, -1)],
    ids=["a ping", "ACKEPOCH", "registering again", "a request", "UPTODATE"],
)  # fmt: skip
def test_nothing_but_an_ack_follows_newleader(stage: Stage, third: bytes) -> None:
    world, leader, stranger = stage
    line = stranger.connect(leader)
    line.send(follower_info(1), ack_epoch(0, 0))
    world.run(50)
    assert line.kinds()[-1] == PacketType.NEW_LEADER
    line.send(third)
    world.run(100)
    assert line.is_closed
    assert_unharmed(world, leader)


WHILE_SERVING = {
    "a request without data": wire.bare(PacketType.REQUEST, -1),
    "a request that is cut off": wire.with_data(PacketType.REQUEST, -1, b"123"),
    "half a touched session": wire.with_data(PacketType.PING, 0, b"123"),
    "a revalidation without data": wire.bare(PacketType.REVALIDATE, -1),
    "a revalidation that is cut off": wire.with_data(PacketType.REVALIDATE, -1, b"123"),
    "an ACK of what was never proposed": ack(EPOCH | 1000),
    "an ACK of another epoch": ack(7 << 32 | 1),
    "a gigantic buffer": struct.pack(">iqi", PacketType.REQUEST, -1, 0x7FFF_FFFF) + bytes(9),
    "bad identities": struct.pack(">iqiiii", 1, -1, -1, 1, -5, 0),
}


@pytest.mark.parametrize("bad", WHILE_SERVING.values(), ids=WHILE_SERVING)
def test_a_learner_that_breaks_the_rules_is_cut_off(stage: Stage, bad: bytes) -> None:
    world, leader, stranger = stage
    line = stranger.learn(leader)
    line.send(bad)
    world.run(100)
    assert line.is_closed
    assert_unharmed(world, leader)


HARMLESS = {
    "pings without data": wire.bare(PacketType.PING, 0),
    "pings of nobody": wire.with_data(PacketType.PING, -1, wire.touches([(12345, -1), (0, 0)])),
    "ACKs that say nothing new": ack(EPOCH) + ack(0) + ack(-1) + ack(5) + ack(-(1 << 63)),
    "unknown packets": wire.bare(77, 0) + wire.bare(-1, 0) + wire.with_data(0, 0, b"x"),
    "a leader's packets": wire.proposal(EPOCH | 1, b"x") + wire.bare(PacketType.COMMIT, EPOCH | 1),
    "more of a leader's": b"".join(wire.bare(kind, 5) for kind in (8, 9, 10, 12, 13, 14, 17, 19)),
    "a read": wire.request(1, struct.pack(">iii", 7, OpCode.GET_DATA, 1) + b"/\0", ()),
    "an unknown request": wire.request(1, struct.pack(">ii", 7, 9999), ()),
    "nobody's session": wire.with_data(PacketType.REVALIDATE, -1, struct.pack(">qi", 5, -1)),
    "a sync of nobody": wire.request(5, struct.pack(">iii", 7, OpCode.SYNC, 1) + b"/", ()),
    "a write of nobody": wire.request(5, struct.pack(">ii", 7, OpCode.CREATE), ()),
    "the end of nobody": wire.request(5, struct.pack(">ii", 7, OpCode.CLOSE_SESSION), ()),
    "a session without a timeout": wire.request(5, struct.pack(">ii", 0, -10), None),
    "a session that ends at once": wire.request(5, struct.pack(">iii", 0, -10, -1000), None),
}


@pytest.mark.parametrize("packets", HARMLESS.values(), ids=HARMLESS)
def test_what_does_no_harm_is_borne(stage: Stage, packets: bytes) -> None:
    world, leader, stranger = stage
    without_judges(world)
    line = stranger.learn(leader)
    for _ in range(3):
        line.send(packets)
        world.run(50)
    assert not line.is_closed
    assert_unharmed(world, leader)


def test_requests_of_nobody_get_one_transaction_each(stage: Stage) -> None:
    """A learner waits for every answer: one that is missing stalls its clients for good."""
    world, leader, stranger = stage
    without_judges(world)
    line = stranger.learn(leader)
    line.take()
    asked = [
        struct.pack(">ii", number, op)
        for number, op in enumerate((1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21, -10, -11), 1)
    ]
    for request in asked:
        line.send(wire.request(5, request, ()))
    world.run(100)
    proposals = [data for kind, _, data, _ in line.take() if kind == PacketType.PROPOSAL]
    assert len(proposals) == len(asked)
    for request, data in zip(asked, proposals, strict=True):
        assert data is not None
        assert struct.unpack_from(">qi", data) == (5, struct.unpack_from(">i", request)[0])


# What counts and what does not


def held_up(world: World, leader: SimServer) -> list[object]:
    """A write whose followers hear nothing: a list that gets its reply."""
    client = client_of(world, leader.id)
    for server in world.servers.values():
        if not server.is_idle and server is not leader:
            world.network.block(leader, server)
    replies: list[object] = []
    client.request(Request(OpCode.CREATE, b"/held-up", then=replies.append))
    world.run(30)
    return replies


def test_connections_with_the_same_id_count_once() -> None:
    """Only the last one is kept: what the others acknowledged may be cut since."""
    world = World(1, plan(5))
    stranger = Stranger(world, 1)
    leader = started(world, 3, 4, 5)
    lines = [stranger.learn(leader) for _ in range(3)]
    assert [line.is_closed for line in lines] == [True, True, False]
    replies = held_up(world, leader)
    for line in lines:
        line.send(ack(lines[-1].packets[-1][1]))
    world.run(100)
    assert replies == []
    world.network.heal()
    world.run(100)
    assert len(replies) == 1


@pytest.mark.parametrize("who", ["an observer", "an unknown id", "a voter"])
def test_who_counts_for_a_quorum(who: str) -> None:
    world = World(1, plan(3, 1))
    voter = Stranger(world, 1)
    unknown = Stranger(world, 4)
    unknown.id = 99
    leader = started(world, 2, 3)
    line = {
        "an observer": lambda: voter.learn(leader, is_observer=True),
        "an unknown id": lambda: unknown.learn(leader),
        "a voter": lambda: voter.learn(leader),
    }[who]()
    replies = held_up(world, leader)
    line.send(ack(leader.peer.term.leader.last_proposed))  # type: ignore[union-attr]
    world.run(100)
    assert len(replies) == (who == "a voter")


def test_acks_come_in_order_or_speak_for_what_is_before_them(stage: Stage) -> None:
    world, leader, stranger = stage
    line = stranger.learn(leader)
    first = held_up(world, leader)
    client = world.clients[-1]
    client.request(Request(OpCode.CREATE, b"/second", then=first.append))
    world.run(30)
    proposed = [zxid for kind, zxid, _, _ in line.take() if kind == PacketType.PROPOSAL]
    line.send(ack(proposed[-1]), ack(proposed[-2]), ack(proposed[-1]))
    world.run(50)
    assert len(first) == 2
    assert [zxid for kind, zxid, _, _ in line.take() if kind == PacketType.COMMIT] == proposed[-2:]
    assert not line.is_closed


# Silence


@pytest.mark.parametrize("stops_at", ["connected", "half", "registered", "in step", "serving"])
def test_a_learner_that_falls_silent_is_cut_off_in_time(stage: Stage, stops_at: str) -> None:
    world, leader, stranger = stage
    if stops_at == "serving":
        line = stranger.learn(leader)
    else:
        line = stranger.connect(leader)
        if stops_at == "half":
            line.send(follower_info(1)[:-3])
        if stops_at in ("registered", "in step"):
            line.send(follower_info(1))
        if stops_at == "in step":
            line.send(ack_epoch(0, 0))
    world.run(800)
    assert not line.is_closed
    assert_unharmed(world, leader)
    world.run(1500)
    assert line.is_closed
    assert_unharmed(world, leader)


def test_who_pings_and_never_acknowledges_is_cut_off(stage: Stage) -> None:
    world, leader, stranger = stage
    line = stranger.learn(leader)
    client = client_of(world, leader.id)
    write(client, b"/a")
    for _ in range(20):
        line.send(wire.with_data(PacketType.PING, 0, b""))
        world.run(100)
    assert line.is_closed
    assert_unharmed(world, leader)


def test_one_that_acknowledges_the_epoch_and_no_more_holds_nobody_up() -> None:
    world, leader, voter, other = elected_by_a_stranger()
    silent, good = voter.connect(leader), other.connect(leader)
    silent.send(follower_info(1), ack_epoch(0, 0))
    world.run(50)
    assert silent.kinds()[-1] == PacketType.NEW_LEADER
    good.send(follower_info(3), ack_epoch(0, 0))
    world.run(50)
    good.send(ack(EPOCH))
    world.run(50)
    assert good.kinds()[-1] == PacketType.UP_TO_DATE
    assert leader.peer.replica is not None
    for _ in range(25):
        good.send(wire.with_data(PacketType.PING, 0, b""))
        world.run(100)
    assert silent.is_closed
    assert leader.peer.replica is not None


def test_silent_connections_are_bounded_and_others_are_served(stage: Stage) -> None:
    world, leader, stranger = stage
    silent = [stranger.connect(leader) for _ in range(600)]
    world.run(50)
    handlers = leader.peer.term.leader.handlers  # type: ignore[union-attr]
    assert len(handlers) <= 260
    assert sum(line.is_closed for line in silent) >= 350
    assert not stranger.learn(leader).is_closed
    assert_unharmed(world, leader)
    world.run(2500)
    assert len(handlers) == 1


def test_sessions_of_a_learner_that_vanished_expire(stage: Stage) -> None:
    world, leader, stranger = stage
    without_judges(world)
    line = stranger.learn(leader)
    session = 0x0100_0000_0000_0001
    body = protocol.create(b"/e", b"", 1)
    line.send(
        wire.request(session, struct.pack(">iii", 0, -10, 1000), None),
        wire.request(session, struct.pack(">ii", 1, OpCode.CREATE) + body, ()),
    )
    world.run(100)
    assert b"/e" in leader.peer.tree.nodes
    line.close()
    world.run(500)
    assert b"/e" in leader.peer.tree.nodes
    world.run(2000)
    assert b"/e" not in leader.peer.tree.nodes
    assert session not in leader.peer.tree.sessions
