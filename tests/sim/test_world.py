"""Whole ensembles in virtual time: they elect, and what a client writes is everywhere."""

from __future__ import annotations

import pytest

from kraal.sim.client import Request
from kraal.sim.protocol import Reply
from kraal.sim.world import EnsemblePlan, World
from kraal.wire.opcodes import OpCode


@pytest.mark.parametrize("seed", range(5))
def test_three_servers_elect_and_serve_a_client(seed: int) -> None:
    world = World(seed, EnsemblePlan())
    for server in world.servers.values():
        server.start()
    world.run(2000)
    client = world.client()
    world.run(500)
    replies: list[Reply] = []
    for number in range(10):
        client.request(Request(OpCode.CREATE, b"/%d" % number, b"data", then=replies.append))
    world.run(500)
    assert [reply.err for reply in replies] == [0] * 10
    trees = [server.peer.tree for server in world.servers.values()]
    assert {tree.last_zxid for tree in trees} == {replies[-1].zxid}
    assert len({tree.digest for tree in trees}) == 1
