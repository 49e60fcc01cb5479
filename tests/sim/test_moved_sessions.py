"""Sessions that go on at another server: who writes on the old connection is cut off, untold."""

from __future__ import annotations

import pytest

from kraal.errors import ErrorCode
from kraal.sim.client import Request
from kraal.sim.protocol import Reply
from kraal.sim.server import SimServer
from kraal.sim.world import World
from kraal.wire.opcodes import OpCode
from tests.sim.strangers import call, client_of, plan

PARTS = [Request(OpCode.CREATE, b"/b"), Request(OpCode.CREATE, b"/c")]


def _places(world: World) -> dict[str, int]:
    """A server of each role, by its name."""
    leader = world.leader()
    assert leader is not None
    followers = [number for number in (1, 2, 3) if number != leader.id]
    return {"leader": leader.id, "follower": followers[0], "other": followers[1], "observer": 4}


@pytest.mark.parametrize(
    ("old", "new"),
    [("follower", "other"), ("leader", "follower"), ("follower", "leader"),
     ("observer", "follower"), ("leader", "observer")],
)  # fmt: skip
@pytest.mark.parametrize(
    "write", [Request(OpCode.CREATE, b"/a"), Request(OpCode.MULTI, b"", parts=PARTS)], ids=str
)
def test_a_write_on_the_old_connection_closes_it(old: str, new: str, write: Request) -> None:
    """reference/client-protocol.md section 2.8."""
    world = World(1, plan(observers=1))
    servers: list[SimServer] = list(world.servers.values())
    for server in servers:
        server.start()
    world.run(3000)
    places = _places(world)
    stays, goes = client_of(world, places[old]), client_of(world, places[new])
    goes.session.id, goes.session.password = stays.session.id, stays.session.password
    goes.hang_up()
    world.run(500)
    assert goes.is_connected
    replies: list[Reply | None] = []
    was = stays.connection
    request = Request(write.op, write.path, parts=write.parts, then=replies.append)
    assert stays.request(request)
    stays.server_ids = [places[new]]
    world.run(300)
    assert replies == [None], "it was answered"
    assert stays.connection is not was
    lives = goes if goes.is_connected else stays
    assert call(lives, Request(OpCode.EXISTS, write.path or b"/b")).err == ErrorCode.NO_NODE
