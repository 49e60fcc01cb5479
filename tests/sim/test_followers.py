"""What followers and observers settle before their leader hears of it, in virtual time."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from kraal.errors import ErrorCode
from kraal.sim import protocol
from kraal.sim.client import Request
from kraal.sim.protocol import Reply
from kraal.sim.world import World
from kraal.wire.opcodes import OpCode
from tests.sim.strangers import client_of, plan, started, without_judges, write

NULL_ACL_IN_MULTI = (
    struct.pack(">i?i", OpCode.CREATE, False, -1)
    + protocol.buffer(b"/null")
    + protocol.buffer(b"")
    + struct.pack(">ii", -1, 0)
    + struct.pack(">i?i", -1, True, -1)
)
BODIES = {
    "create without a body": (OpCode.CREATE, b""),
    "create2 that is cut off": (OpCode.CREATE2, protocol.create(b"/a", b"x", 0)[:-1]),
    "a container with a long path": (OpCode.CREATE_CONTAINER, b"\x7f\xff\xff\xff/a"),
    "createTTL without a TTL": (OpCode.CREATE_TTL, protocol.create(b"/a", b"x", 5)),
    "delete without a version": (OpCode.DELETE, protocol.buffer(b"/a")),
    "deleteContainer without a path": (OpCode.DELETE_CONTAINER, b""),
    "setData without data": (OpCode.SET_DATA, protocol.buffer(b"/a")),
    "setACL of a million entries": (OpCode.SET_ACL, protocol.buffer(b"/a") + b"\0\x10\0\0"),
    "reconfig without a body": (OpCode.RECONFIG, b""),
    "a null ACL inside a multi": (OpCode.MULTI, NULL_ACL_IN_MULTI),
}


@dataclass(slots=True)
class Raw(Request):
    """A request whose body is `data`, whatever that is."""

    def body(self) -> bytes:
        return self.data


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("role", ["follower", "observer"])
def test_what_does_not_decode_is_refused_where_the_client_is(role: str, what: str) -> None:
    """An original leader would never commit anything again."""
    world = without_judges(World(1, plan(3, 1)))
    leader = started(world, 1, 2, 3, 4)
    others = [server_id for server_id in (1, 2, 3) if server_id != leader.id]
    client = client_of(world, 4 if role == "observer" else others[0])
    write(client, b"/a")
    received: list[Reply] = []
    op, body = BODIES[what]
    for number in range(3):
        client.request(Request(OpCode.CREATE, b"/good-%d" % number, b"x", then=received.append))
        client.request(Raw(op, data=body, then=received.append))
    before = leader.peer.tree.last_zxid
    world.run(300)
    assert [reply.err for reply in received] == [0, ErrorCode.MARSHALLING_ERROR] * 3
    assert leader.peer.tree.last_zxid == before + 3  # the leader has not heard of them
    assert [reply.zxid for reply in received[::2]] == [before + number for number in (1, 2, 3)]
