"""A leader among learners that behave well or badly, in virtual time."""

from __future__ import annotations

import pytest

from kraal.sim.server import SimServer
from kraal.sim.world import World
from kraal.wire.records.quorum import PacketType
from kraal.zab.state import State
from tests.sim.strangers import (
    Line,
    Stranger,
    ack,
    ack_epoch,
    client_of,
    observer_info,
    plan,
    started,
    write,
)

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
    send_vote(voter, leader)
    world.run(10)
    assert state_of(leader) is State.LOOKING


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
