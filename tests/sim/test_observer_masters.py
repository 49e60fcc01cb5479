"""Observers that followers serve, in virtual time (reference/quorum-protocol.md section 5.11)."""

from __future__ import annotations

import struct

import pytest

from kraal.model.session_id import password
from kraal.sim import protocol
from kraal.sim.client import Request, SimClient
from kraal.sim.protocol import Reply
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
    call,
    client_of,
    follower_info,
    leader_of,
    observer_info,
    plan,
    started,
    without_judges,
    write,
)

PORT = 2191
EPOCH = 1 << 32


def world_with(voters: int = 3, observers: int = 1, seed: int = 1, **settings: object) -> World:
    return World(seed, plan(voters, observers, observer_master_port=PORT, **settings))


def master_of(world: World, observer: int) -> SimServer:
    """Whom an observer is served by, which is a follower."""
    master = world.servers[observer].peer.learner_master
    assert master is not None
    server = world.servers[master]
    assert server is not world.leader()
    assert server.takes_observers
    return server


def observers_at(server: SimServer) -> int:
    term = server.peer.term
    observers = getattr(term, "observers", None)
    return len(observers.master.handlers) if observers is not None else 0


def assert_same_trees(world: World) -> None:
    world.run(500)
    trees = [server.peer.tree for server in world.servers.values() if not server.is_idle]
    assert len({(tree.last_zxid, tree.digest) for tree in trees}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_observers_are_served_by_followers_and_their_clients_write(seed: int) -> None:
    world = world_with(3, 2, seed)
    leader = started(world, 1, 2, 3, 4, 5)
    world.run(5000)
    assert observers_at(master_of(world, 4)) >= 1
    assert observers_at(master_of(world, 5)) >= 1
    handlers = leader.peer.term.leader.handlers  # type: ignore[union-attr]
    assert {handler.server_id for handler in handlers} == {1, 2}
    clients = [client_of(world, server_id) for server_id in (4, 5, 1)]
    replies: list[Reply] = []
    for number in range(20):
        for at, client in enumerate(clients):
            path = b"/%d-%d" % (at, number)
            client.request(Request(OpCode.CREATE, path, then=replies.append))
            client.request(Request(OpCode.SYNC, path, then=replies.append))
            client.request(Request(OpCode.GET_DATA, path, then=replies.append))
    world.run(1000)
    assert [reply.err for reply in replies] == [0] * 180
    assert_same_trees(world)


def test_a_late_observer_gets_history_or_the_whole_tree() -> None:
    world = world_with(3, 2)
    started(world, 1, 2, 3, 4)
    world.run(2000)
    client = client_of(world, 1)
    for number in range(10):
        write(client, b"/%d" % number)
    world.servers[4].crash(power=False)
    for number in range(10, 20):
        write(client, b"/%d" % number)
    world.servers[4].start()  # has a part of it
    world.servers[5].start()  # has nothing
    world.run(5000)
    master_of(world, 4), master_of(world, 5)
    assert_same_trees(world)


def test_when_the_follower_dies_its_observers_go_to_another_one() -> None:
    world = world_with(5, 2)
    started(world, *range(1, 8))
    world.run(5000)
    client = client_of(world, 6)
    session_id = client.session.id
    write(client, b"/before")
    master = master_of(world, 6)
    master.crash(power=False)
    world.run(5000)
    assert master_of(world, 6) is not master
    world.run(500)
    assert client.is_connected
    assert client.session.id == session_id
    write(client, b"/after")
    master.start()
    world.run(2000)
    assert_same_trees(world)


def test_sessions_live_on_what_observers_hear_of_them() -> None:
    world = world_with()
    started(world, 1, 2, 3, 4)
    world.run(3000)
    client = client_of(world, 4, timeout_ms=1000)
    assert call(client, Request(OpCode.CREATE, b"/e", flags=1)).err == 0
    world.run(20_000)
    assert b"/e" in world.servers[1].peer.tree.nodes
    client.kill()
    world.run(3000)
    assert b"/e" not in world.servers[1].peer.tree.nodes


def test_a_session_moves_between_a_follower_and_its_observer() -> None:
    world = world_with()
    started(world, 1, 2, 3, 4)
    world.run(3000)
    master = master_of(world, 4)
    client = client_of(world, 4)
    session_id = client.session.id
    for server_id in (master.id, 4, 3, master.id, 3, 4):
        client.server_ids = [server_id]
        client.hang_up()
        world.run(500)
        assert client.is_connected
        assert client.session.id == session_id
        write(client, b"/to-%d-%d" % (server_id, world.now_ms()))


def test_who_is_left_at_the_follower_when_the_session_goes_to_the_observer_is_cut_off() -> None:
    world = world_with()
    started(world, 1, 2, 3, 4)
    world.run(3000)
    master = master_of(world, 4)
    stays, goes = client_of(world, master.id), client_of(world, 4)
    session = stays.session
    goes.session.id, goes.session.password = session.id, session.password
    stays.server_ids = [99]
    world.servers[99] = Stranger(World(0, plan()), 1)
    world.servers[99].is_up = False
    goes.hang_up()
    world.run(500)
    assert goes.is_connected
    assert goes.session.id == session.id
    assert not stays.is_connected


def test_without_followers_the_leader_serves_its_observers_itself() -> None:
    world = world_with(voters=1)
    started(world, 1, 2)
    world.run(5000)
    client = client_of(world, 2)
    write(client, b"/a")
    assert world.servers[2].peer.learner_master == 1


def test_observers_wait_a_random_time_before_they_look_and_dial() -> None:
    """Not all at once: the leader or the masters would be flooded."""
    world = world_with(3, 6, observer_election_delay_ms=2000)
    leader = started(world, *range(1, 10))
    world.run(5000)
    leader.crash(power=False)
    looked: dict[int, int] = {}
    began = world.now_ms()
    while len(looked) < 6 and world.now_ms() < began + 10_000:
        world.run(50)
        for server_id in range(4, 10):
            peer = world.servers[server_id].peer
            if peer.counters.elections > 1 and server_id not in looked:
                looked[server_id] = world.now_ms() - began
    assert len(looked) == 6
    assert max(looked.values()) <= 2000 + 1000 + 200  # and what a dead leader is noticed after
    assert max(looked.values()) - min(looked.values()) > 300


def test_observers_wait_before_a_further_pass() -> None:
    """Nobody serves them here: without the delay they would ask all the time."""
    passes = {}
    for delay_ms in (0, 20_000):
        world = World(
            1, plan(1, 3, observer_reconnect_delay_ms=delay_ms, observer_master_port=PORT)
        )
        lone = Stranger(world, 1)
        lone.backs, lone.claims, lone.is_listening = State.LEADING, (5, 5), False
        for server_id in (2, 3, 4):
            world.servers[server_id].start()
        world.run(20_000)
        passes[delay_ms] = max(
            world.servers[server_id].peer.counters.elections for server_id in (2, 3, 4)
        )
    assert passes[20_000] < 10
    assert passes[0] > 2 * passes[20_000]


# What observers say that they should not


@pytest.fixture
def stage() -> tuple[World, SimServer, Stranger]:
    """A follower that takes observers, and somebody in an observer's place."""
    world = world_with(3, 1)
    leader = started(world, 1, 2, 3)
    (follower, _) = (server for server in world.servers.values()
                     if server.is_up and server is not leader)  # fmt: skip
    return world, follower, Stranger(world, 4)


def assert_unharmed(world: World, follower: SimServer, client: SimClient | None = None) -> None:
    assert follower.peer.replica is not None
    assert follower.peer.current_epoch == 1
    write(client or client_of(world, follower.id), b"/still-%d" % world.now_ms())


def test_what_a_good_observer_is_told(stage: tuple[World, SimServer, Stranger]) -> None:
    world, follower, stranger = stage
    client = client_of(world, follower.id)
    line = stranger.learn(follower, is_observer=True)
    line.take()
    zxid = write(client, b"/a")
    ((kind, told, data, _),) = line.take()
    assert (kind, told) == (PacketType.INFORM, zxid)
    assert data is not None
    assert b"/a" in data
    session_id = client.session.id
    line.send(wire.with_data(PacketType.REVALIDATE, -1, struct.pack(">qi", session_id, 1000)))
    line.send(wire.with_data(PacketType.REVALIDATE, -1, struct.pack(">qi", 12345, 1000)))
    request = struct.pack(">iii", 7, OpCode.SYNC, 1) + b"/"
    line.send(wire.request(session_id, request, ()))
    world.run(100)
    assert [(kind, data) for kind, _, data, _ in line.take()] == [
        (PacketType.REVALIDATE, struct.pack(">q?", session_id, True)),
        (PacketType.REVALIDATE, struct.pack(">q?", 12345, False)),
        (PacketType.SYNC, None),
    ]


def test_answers_go_to_who_asked(stage: tuple[World, SimServer, Stranger]) -> None:
    """Own clients and two observers ask the leader through one connection."""
    world, follower, stranger = stage
    client = client_of(world, follower.id)
    one = stranger.learn(follower, is_observer=True)
    other = stranger.learn(follower, is_observer=True)
    one.take(), other.take()
    sync = wire.request(client.session.id, struct.pack(">iii", 7, OpCode.SYNC, 1) + b"/", ())
    replies: list[Reply] = []
    one.send(sync, sync)
    client.request(Request(OpCode.SYNC, b"/", then=replies.append))
    other.send(sync)
    client.request(Request(OpCode.SYNC, b"/", then=replies.append))
    one.send(sync)
    world.run(200)
    assert one.kinds() == [PacketType.SYNC] * 3
    assert other.kinds() == [PacketType.SYNC]
    assert [reply.err for reply in replies] == [0, 0]
    # One that is gone leaves its place in the order.
    one.take(), other.take()
    one.send(sync)
    one.close()
    other.send(sync)
    world.run(200)
    assert other.kinds() == [PacketType.SYNC]
    assert call(client, Request(OpCode.SYNC, b"/")).err == 0


def set_data(session_id: int, cxid: int, data: bytes) -> bytes:
    head = struct.pack(">ii", cxid, OpCode.SET_DATA)
    return wire.request(session_id, head + protocol.set_data(b"/a", data, -1), ())


@pytest.mark.parametrize("goes_to", ["another observer", "the follower"])
def test_what_comes_late_from_where_a_session_was_has_no_effect(
    stage: tuple[World, SimServer, Stranger], goes_to: str
) -> None:
    """To the leader it is one and the same: all of it comes through the follower."""
    world, follower, stranger = stage
    without_judges(world)
    client = client_of(world, follower.id)
    write(client, b"/a")
    former = stranger.learn(follower, is_observer=True)
    session = follower.peer.next_session_id + 1000
    former.send(wire.request(session, struct.pack(">iii", 0, -10, 4000), None))
    former.send(set_data(session, 1, b"first"))
    world.run(100)
    assert follower.peer.tree.nodes[b"/a"].data == b"first"
    if goes_to == "another observer":
        present = stranger.learn(follower, is_observer=True)
        revalidation = struct.pack(">qi", session, 4000)
        present.send(wire.with_data(PacketType.REVALIDATE, -1, revalidation))
        world.run(50)
        present.send(set_data(session, 2, b"second"))
    else:
        client.session.id, client.session.password = session, password(session)
        client.hang_up()
        world.run(500)
        assert client.is_connected
        call(client, Request(OpCode.SET_DATA, b"/a", b"second"))
    world.run(50)
    former.take()
    former.send(set_data(session, 2, b"late"), set_data(session, 3, b"later"))
    world.run(100)
    assert follower.peer.tree.nodes[b"/a"].data == b"second"
    # Each has its answer all the same: what waits behind it there must go on.
    answers = [data for kind, _, data, _ in former.take() if kind == PacketType.INFORM]
    heads = [struct.unpack_from(">qiqqi", data or b"") for data in answers]
    assert [(head[0], head[1], head[4]) for head in heads] == [(session, 2, -1), (session, 3, -1)]
    # It may come back.
    client.kill()
    former.send(wire.with_data(PacketType.REVALIDATE, -1, struct.pack(">qi", session, 4000)))
    world.run(50)
    former.send(set_data(session, 4, b"back"))
    world.run(50)
    assert follower.peer.tree.nodes[b"/a"].data == b"back"
    # And end, which is taken from anywhere.
    former.send(wire.request(session, struct.pack(">ii", 5, -11), ()))
    world.run(50)
    assert session not in follower.peer.tree.sessions


BAD_PACKETS = {
    "an ACK of a transaction": ack(EPOCH | 1),
    "a request that is cut off": wire.with_data(PacketType.REQUEST, -1, b"123"),
    "a request without data": wire.bare(PacketType.REQUEST, -1),
    "half a touched session": wire.with_data(PacketType.PING, 0, b"123"),
    "a revalidation that is cut off": wire.with_data(PacketType.REVALIDATE, -1, b"123"),
    "a revalidation without data": wire.bare(PacketType.REVALIDATE, -1),
    "a proposal": wire.proposal(EPOCH | 1, b"x"),
    "an unknown packet": wire.bare(77, 0),
    "registering again": observer_info(4),
    "a huge buffer": struct.pack(">iqi", PacketType.REQUEST, -1, 0x7FFF_FFFF) + bytes(4),
    "a negative buffer": struct.pack(">iqi", PacketType.REQUEST, -1, -2) + bytes(4),
}


@pytest.mark.parametrize("bad", BAD_PACKETS.values(), ids=BAD_PACKETS)
def test_an_observer_that_breaks_the_rules_is_cut_off(
    stage: tuple[World, SimServer, Stranger], bad: bytes
) -> None:
    world, follower, stranger = stage
    line = stranger.learn(follower, is_observer=True)
    line.send(bad)
    world.run(100)
    assert line.is_closed
    assert observers_at(follower) == 0
    assert_unharmed(world, follower)


@pytest.mark.parametrize(
    "first",
    [follower_info(4), ack(0), wire.bare(PacketType.OBSERVER_INFO, 0), b"GET / HTTP/1.1" + bytes(9),
     observer_info(4, config=5), struct.pack(">iqi", PacketType.OBSERVER_INFO, 0, 2000) + bytes(9)],
    ids=["a follower", "an ACK", "no id", "not the protocol", "newer config", "large"],
)  # fmt: skip
def test_only_observers_may_register(
    stage: tuple[World, SimServer, Stranger], first: bytes
) -> None:
    world, follower, stranger = stage
    line = stranger.connect(follower, of_observers=True)
    line.send(first)
    world.run(100)
    assert line.is_closed
    assert_unharmed(world, follower)


@pytest.mark.parametrize(
    "second",
    [ack(0), wire.bare(PacketType.ACK_EPOCH, 0), wire.bare(PacketType.PING, 0)],
    ids=["an ACK", "without data", "a ping"],
)
def test_the_epoch_must_be_acknowledged(
    stage: tuple[World, SimServer, Stranger], second: bytes
) -> None:
    world, follower, stranger = stage
    line = stranger.connect(follower, of_observers=True)
    line.send(observer_info(4), second)
    world.run(100)
    assert line.is_closed
    assert PacketType.DIFF not in line.kinds()
    assert_unharmed(world, follower)


@pytest.mark.parametrize("stops_at", ["connected", "registered", "epoch", "history", "serving"])
def test_an_observer_that_falls_silent_is_cut_off_in_time(
    stage: tuple[World, SimServer, Stranger], stops_at: str
) -> None:
    world, follower, stranger = stage
    if stops_at == "serving":
        line = stranger.learn(follower, is_observer=True)
    else:
        line = stranger.connect(follower, of_observers=True)
        if stops_at != "connected":
            line.send(observer_info(4))
        if stops_at == "history":
            line.send(ack_epoch(0, 0))
    world.run(800)
    assert not line.is_closed
    world.run(2000)
    assert line.is_closed
    assert observers_at(follower) == 0
    assert_unharmed(world, follower)


def test_an_observer_ahead_of_the_follower_waits_for_it() -> None:
    """What it has is committed; this follower has not heard of it yet."""
    world = world_with(3, 1)
    leader = started(world, 1, 2, 3)
    slow = next(s for s in world.servers.values() if s.is_up and s is not leader)
    stranger = Stranger(world, 4)
    client = client_of(world, leader.id)
    write(client, b"/a")
    world.network.block(leader, slow)
    zxid = write(client, b"/b")
    assert slow.peer.tree.last_zxid < zxid
    line = stranger.connect(slow, of_observers=True)
    line.send(observer_info(4), ack_epoch(zxid, 0))
    world.run(100)
    assert line.kinds() == [PacketType.LEADER_INFO]
    world.network.heal()
    world.run(500)
    assert line.kinds()[1:] == [PacketType.DIFF, PacketType.NEW_LEADER]
    # One that claims what never comes does not wait for good.
    line = stranger.connect(slow, of_observers=True)
    line.send(observer_info(4), ack_epoch(zxid + 1000, 0))
    world.run(4000)
    assert line.is_closed
    assert_unharmed(world, slow, client)


def test_observers_go_when_the_follower_has_no_leader(
    stage: tuple[World, SimServer, Stranger],
) -> None:
    world, follower, stranger = stage
    line = stranger.learn(follower, is_observer=True)
    leader_of(world).crash(power=False)
    world.run(300)
    assert line.is_closed
    refused = stranger.connect(follower, of_observers=True)
    world.run(20)
    assert refused.is_closed or not follower.takes_observers


def test_too_many_silent_connections_make_room_for_others(
    stage: tuple[World, SimServer, Stranger],
) -> None:
    world, follower, stranger = stage
    silent: list[Line] = [stranger.connect(follower, of_observers=True) for _ in range(300)]
    world.run(50)
    assert observers_at(follower) <= 250
    assert sum(line.is_closed for line in silent) >= 50
    line = stranger.learn(follower, is_observer=True)
    assert not line.is_closed
    assert_unharmed(world, follower)
