"""Members whose empty database is not trusted (reference/quorum-protocol.md section 7.3).

A voter that has lost its disk has forgotten what it acknowledged. With `db.autocreate=false` it
may not help to elect anybody, nor count, until it has a leader's tree.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kraal.sim.server import SimServer
from kraal.sim.world import World
from kraal.storage.data_dir import Layout
from kraal.storage.memory import MemoryFileSystem
from kraal.wire.records.quorum import PacketType
from kraal.zab.state import State
from tests.sim.strangers import Stranger, client_of, leader_of, plan, started, write


def distrusting(world: World, *server_ids: int, **storage: object) -> None:
    """Configure these servers with `db.autocreate=false`, or other settings."""
    changes = storage or {"db_autocreate": False}
    for server_id in server_ids:
        server = world.servers[server_id]
        server.config = replace(
            server.config,
            storage=replace(server.config.storage, **changes),  # type: ignore[arg-type]
        )


def mark(server: SimServer) -> None:
    """The operator's word that there is nothing to be lost."""
    path = Layout.of(server.config.storage).initialize
    server.fs.mkdir(path.parent)
    server.fs.create(path).close()


def is_marked(server: SimServer) -> bool:
    return server.fs.exists(Layout.of(server.config.storage).initialize)


def states(world: World, *server_ids: int) -> set[State]:
    return {world.servers[server_id].peer.state for server_id in server_ids}


@pytest.mark.parametrize("seed", range(3))
def test_who_lost_its_disk_joins_and_gets_the_whole_tree(seed: int) -> None:
    world = World(seed, plan(3))
    distrusting(world, 1, 2, 3)
    for server_id in (1, 2):
        mark(world.servers[server_id])
    started(world, 1, 2)
    client = client_of(world, 1)
    for number in range(5):
        write(client, b"/%d" % number)
    joiner = world.servers[3]
    joiner.start()
    assert joiner.peer.tree.last_zxid == -1
    assert (joiner.peer.accepted_epoch, joiner.peer.current_epoch) == (-1, -1)
    world.run(1500)
    zxid = write(client, b"/after")
    assert joiner.peer.tree.last_zxid == zxid
    assert joiner.peer.tree.digest == leader_of(world).peer.tree.digest
    # From now on it is a member like any other, across a loss of power, too.
    joiner.crash(power=True)
    joiner.start()
    assert joiner.peer.tree.last_zxid >= 1 << 32
    world.run(1000)
    leader_of(world).crash(power=False)
    world.run(3000)
    leader_of(world)
    client.server_ids = [server.id for server in world.servers.values() if server.is_up]
    world.run(500)
    write(client, b"/later")


def test_who_is_not_trusted_elects_nobody() -> None:
    """Three of five have lost their disks: the two that are left are not enough."""
    world = World(1, plan(5))
    distrusting(world, 1, 2, 3, 4, 5)
    for server_id in (4, 5):
        mark(world.servers[server_id])
    for server in world.servers.values():
        server.start()
    world.run(5000)
    assert states(world, 1, 2, 3, 4, 5) == {State.LOOKING}
    assert not any(is_marked(server) for server in world.servers.values())
    # The word of the operator makes one of them count.
    world.servers[1].crash(power=False)
    mark(world.servers[1])
    world.servers[1].start()
    world.run(5000)
    assert leader_of(world).id in (1, 4, 5)
    assert states(world, 1, 2, 3, 4, 5) == {State.LEADING, State.FOLLOWING}
    write(client_of(world, 2), b"/a")


def test_nobody_is_trusted() -> None:
    world = World(1, plan(3))
    distrusting(world, 1, 2, 3)
    for server in world.servers.values():
        server.start()
    world.run(5000)
    assert states(world, 1, 2, 3) == {State.LOOKING}


def test_a_lone_voter_without_trust_leads_nobody() -> None:
    world = World(1, plan(1, 1, standalone_enabled=False))
    distrusting(world, 1)
    for server in world.servers.values():
        server.start()
    world.run(3000)
    assert states(world, 1) == {State.LOOKING}


def test_what_it_says_of_itself() -> None:
    """Votes that nobody counts, and a registration with an epoch below all others."""
    world = World(1, plan(3))
    distrusting(world, 1)
    leader, joiner = Stranger(world, 3), world.servers[1]
    joiner.start()
    world.run(300)
    _, said = leader.heard[-1]
    assert (said.leader, said.zxid, said.peer_epoch) == (1, -1, -1)
    # It hears of a leader from a quorum, itself not included.
    second = Stranger(world, 2)
    leader.backs, second.backs = State.LEADING, State.FOLLOWING
    leader.claims = second.claims = (5 << 32, 5)
    leader.vote(1, 9)
    second.vote(1, 9, leader=3)
    world.run(500)
    (line,) = leader.dialled_in
    ((kind, zxid, data, _),) = line.take()
    assert (kind, zxid) == (PacketType.FOLLOWER_INFO, -1 << 32)
    assert data is not None
    assert data[:12] == bytes.fromhex("0000000000000001 00010000")


def test_a_crash_while_it_gets_the_tree_leaves_it_without_trust_or_with_the_tree() -> None:
    for fails_after in range(0, 60, 3):
        world = World(fails_after, plan(3))
        distrusting(world, 3)
        started(world, 1, 2)
        client = client_of(world, 1)
        write(client, b"/a")
        joiner = world.servers[3]
        joiner.start()
        joiner.fails_after = fails_after
        world.run(2000)
        if joiner.is_up:
            joiner.fails_after = None
            joiner.crash(power=True)
        joiner.start()
        assert joiner.peer.tree.last_zxid == -1 or joiner.peer.tree.last_zxid >= 1 << 32
        world.run(2000)
        assert write(client, b"/b") == joiner.peer.tree.last_zxid


def test_logs_whose_snapshots_are_gone_are_replayed_when_the_operator_says_so() -> None:
    world = World(1, plan(3))
    started(world, 1, 2, 3)
    client = client_of(world, 1)
    write(client, b"/a")
    follower = world.servers[1]
    follower.crash(power=False)
    other = client_of(world, 2)
    write(other, b"/b")
    _remove_snapshots(follower)
    distrusting(world, 1, snapshot_trust_empty=True)
    follower.start()
    world.run(1500)
    zxid = write(other, b"/c")
    assert follower.peer.tree.last_zxid == zxid
    # With a snapshot on its disk it needs no such trust the next time.
    distrusting(world, 1, snapshot_trust_empty=False)
    follower.crash(power=True)
    follower.start()
    assert follower.peer.tree.last_zxid == zxid


def _remove_snapshots(server: SimServer) -> None:
    fs: MemoryFileSystem = server.fs
    directory = Layout.of(server.config.storage).snapshots
    for name in fs.listdir(directory):
        if name.startswith("snapshot."):
            fs.unlink(directory / name)
    fs.sync_directory(directory)
