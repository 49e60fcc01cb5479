"""A follower's replica, driven by hand."""

from __future__ import annotations

import struct
from dataclasses import replace

from kraal.model.acl import Id
from kraal.pipeline.connection import ClientConnection
from kraal.replica.following import Following
from kraal.replica.status import Mode
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateSessionTxn, Txn
from tests.replica.driver import FIRST_SESSION, WALL_MS, Channel, Driver, channel, create

LIMIT = 50


class Upstream:
    """The way to a leader that commits nothing until it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, bytes]] = []

    def request(self, session_id: int, frame: bytes, _identities: tuple[Id, ...] | None) -> None:
        self.requests.append((session_id, frame))

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        raise AssertionError(f"nobody moves here, yet {session_id:x} ({timeout_ms}) does")


def test_what_no_leader_commits_is_bounded() -> None:
    """A leader gets no more of each member than that member's share of globalOutstandingLimit."""
    upstream = Upstream()
    config = Driver().config
    config = replace(config, throttle=replace(config.throttle, global_outstanding_limit=LIMIT))
    follower = Following(
        config, DataTree.pristine(extended_types=True), upstream, mode=Mode.FOLLOWER,
        first_session_id=FIRST_SESSION, now_ms=0,
    )  # fmt: skip

    connections = []
    for zxid in range(1, 4):
        conn = ClientConnection(Channel(), "127.0.0.1", 5, WALL_MS)
        follower.opened(conn)
        greeting = struct.pack(">iqiqi", 0, 0, 10_000, 0, 16) + bytes(17)
        follower.connect(0, WALL_MS, conn, greeting)
        session_id, _ = upstream.requests[-1]
        body = CreateSessionTxn(10_000)
        txn = Txn(session_id, 0, zxid, WALL_MS, OpCode.CREATE_SESSION, body, None)
        follower.committed(0, WALL_MS, [txn])
        connections.append(conn)
    upstream.requests.clear()
    for conn in connections:
        for xid in range(1, 1000, 10):
            frames = [
                struct.pack(">ii", n, OpCode.CREATE) + create(b"/%d" % n)
                for n in range(xid, xid + 10)
            ]
            follower.frames(0, WALL_MS, conn, frames)
    assert follower.in_flight == len(upstream.requests)
    # A connection learns that there is no room by the write that is one too many.
    assert LIMIT < len(upstream.requests) <= LIMIT + len(connections)
    assert not any(channel(conn).reading for conn in connections)
