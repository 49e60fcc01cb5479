"""Order, durability, sessions and flow control of a replica that stands alone."""

from __future__ import annotations

import struct

import pytest

from kraal.errors import ErrorCode
from kraal.wire.opcodes import OpCode
from tests.replica.driver import (
    FIRST_SESSION,
    Driver,
    channel,
    create,
    path_watch,
    set_data,
)

GET, EXISTS, CREATE, SET, PING = (
    OpCode.GET_DATA,
    OpCode.EXISTS,
    OpCode.CREATE,
    OpCode.SET_DATA,
    OpCode.PING,
)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_nothing_is_acknowledged_before_it_is_durable(driver: Driver) -> None:
    conn = driver.connect()
    before = len(channel(conn).frames)
    driver.send(conn, (1, CREATE, create(b"/a")))
    assert len(channel(conn).frames) == before
    assert b"/a" not in driver.tree.nodes
    driver.sync()
    assert channel(conn).replies()[-1] == (1, 2, ErrorCode.OK)


def test_a_read_waits_behind_its_own_write_and_for_nobody_else(driver: Driver) -> None:
    writer, reader = driver.connect(), driver.connect()
    driver.send(writer, (1, CREATE, create(b"/a")), (2, GET, path_watch(b"/a")), (3, PING, b""))
    driver.send(reader, (1, EXISTS, path_watch(b"/a")))
    assert channel(reader).replies()[-1][2] == ErrorCode.NO_NODE
    assert channel(writer).xids()[1:] == []
    driver.sync()
    assert channel(writer).xids()[1:] == [1, 2, -2]
    assert channel(writer).replies()[2][2] == ErrorCode.OK


def test_a_sync_waits_for_all_that_is_in_flight(driver: Driver) -> None:
    """What the former connection of a session has sent must have happened for the next one."""
    writer, reader = driver.connect(), driver.connect()
    sync = (1, OpCode.SYNC, b"\0\0\0\2/a")
    driver.send(reader, sync)
    assert channel(reader).replies()[-1] == (1, 2, ErrorCode.OK)
    driver.send(writer, (1, CREATE, create(b"/a")))
    driver.send(reader, sync, (2, EXISTS, path_watch(b"/a")))
    driver.send(writer, (2, CREATE, create(b"/b")))
    assert channel(reader).xids()[1:] == [1]
    driver.replica.committed(0, 0, 3)
    assert channel(reader).replies()[2:] == [(1, 3, ErrorCode.OK), (2, 3, ErrorCode.OK)]


def test_a_read_before_a_write_does_not_see_it(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(conn, (1, EXISTS, path_watch(b"/a")), (2, CREATE, create(b"/a")))
    driver.sync()
    assert channel(conn).replies()[1:] == [(1, 1, ErrorCode.NO_NODE), (2, 2, ErrorCode.OK)]


def test_pipelined_writes_are_judged_by_those_in_flight(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(
        conn,
        (1, CREATE, create(b"/a")),
        (2, CREATE, create(b"/a/s-", flags=2)),
        (3, CREATE, create(b"/a/s-", flags=2)),
        (4, SET, set_data(b"/", b"x")),
        (5, CREATE, create(b"/a")),
    )
    driver.sync()
    assert [err for _, _, err in channel(conn).replies()[1:]] == [0, 0, 0, 0, -110]
    assert {b"/a/s-0000000000", b"/a/s-0000000001"} <= driver.tree.nodes.keys()
    assert driver.follower.digest % 2**64 == driver.tree.compute_digest() % 2**64


def test_the_event_leaves_before_the_reply_that_reveals_it(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(conn, (1, EXISTS, path_watch(b"/a", True)), (2, CREATE, create(b"/a")))
    driver.sync()
    assert channel(conn).xids()[1:] == [1, -1, 2]


def test_what_does_not_decode_costs_no_zxid_and_keeps_its_turn(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(conn, (1, CREATE, create(b"/a")), (2, SET, b"\0"), (3, CREATE, create(b"/b")))
    assert channel(conn).xids()[1:] == []
    driver.sync()
    assert channel(conn).replies()[1:] == [
        (1, 2, ErrorCode.OK),
        (2, 2, ErrorCode.MARSHALLING_ERROR),
        (3, 3, ErrorCode.OK),
    ]


def test_an_unknown_operation_is_answered_in_its_turn_and_closes(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(conn, (1, CREATE, create(b"/a")), (2, 99, b""), (3, PING, b""))
    driver.sync()
    assert channel(conn).replies()[1:] == [(1, 2, 0), (2, -1, ErrorCode.UNIMPLEMENTED)]
    assert channel(conn).closed


def test_a_failed_multi_changes_nothing_and_costs_one_zxid(driver: Driver) -> None:
    conn = driver.connect()
    header = struct.pack(">i?i", OpCode.CREATE, False, -1)
    end = struct.pack(">i?i", -1, True, -1)
    body = header + create(b"/m") + header + create(b"/no/parent") + end
    driver.send(conn, (1, OpCode.MULTI, body), (2, CREATE, create(b"/m")))
    driver.sync()
    assert channel(conn).replies()[1:] == [(1, 2, 0), (2, 3, 0)]


def test_a_session_moves_to_a_new_connection(driver: Driver) -> None:
    old = driver.connect()
    driver.send(old, (1, CREATE, create(b"/e", flags=1)))
    driver.sync()
    new = driver.connect(FIRST_SESSION)
    assert channel(old).closed
    assert not channel(new).closed
    driver.send(new, (1, EXISTS, path_watch(b"/e")))
    assert channel(new).replies()[-1][2] == ErrorCode.OK


def test_a_wrong_password_disturbs_nobody(driver: Driver) -> None:
    old = driver.connect()
    intruder = driver.connect(FIRST_SESSION, secret=bytes(16))
    assert channel(intruder).closed
    assert not channel(old).closed


def test_an_expired_session_takes_its_ephemerals_with_it(driver: Driver) -> None:
    conn, watcher = driver.connect(timeout_ms=4000), driver.connect(timeout_ms=40_000)
    driver.send(conn, (1, CREATE, create(b"/e", flags=1)))
    driver.send(watcher, (1, EXISTS, path_watch(b"/e", True)))
    driver.sync()
    driver.tick(6001)
    driver.sync()
    assert channel(conn).closed
    assert channel(conn).xids()[1:] == [1]
    assert b"/e" not in driver.tree.nodes
    assert channel(watcher).xids()[-1] == -1
    assert driver.tree.sessions.keys() == {FIRST_SESSION + 1}


def test_requests_behind_close_session_are_dropped(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(conn, (1, OpCode.CLOSE_SESSION, b""), (2, CREATE, create(b"/a")))
    driver.sync()
    assert channel(conn).xids()[1:] == [1]
    assert channel(conn).closed
    assert b"/a" not in driver.tree.nodes


def test_containers_and_ttl_znodes_are_reaped(driver: Driver) -> None:
    conn = driver.connect(timeout_ms=40_000)
    ttl = create(b"/t", flags=5) + struct.pack(">q", 1000)
    driver.send(
        conn,
        (1, OpCode.CREATE_CONTAINER, create(b"/c", flags=4)),
        (2, CREATE, create(b"/c/x")),
        (3, OpCode.DELETE, struct.pack(">i", 4) + b"/c/x" + struct.pack(">i", -1)),
        (4, OpCode.CREATE_CONTAINER, create(b"/unused", flags=4)),
        (5, OpCode.CREATE_TTL, ttl),
    )
    driver.sync()
    for _ in range(4):
        driver.tick(30_001)
        driver.send(conn, (9, PING, b""))
        driver.sync()
    assert not {b"/c", b"/t"} & driver.tree.nodes.keys()
    assert b"/unused" in driver.tree.nodes


def test_too_much_in_flight_pauses_reading_and_loses_nothing() -> None:
    driver = Driver.throttled(global_outstanding_limit=10)
    conn = driver.connect()
    driver.send(conn, *[(xid, CREATE, create(b"/n%d" % xid)) for xid in range(1, 101)])
    assert not channel(conn).reading
    while len(driver.log) > driver.durable:
        driver.sync()
    assert channel(conn).xids()[1:] == list(range(1, 101))
    assert channel(conn).reading


def test_what_waited_too_long_is_refused_in_its_turn() -> None:
    driver = Driver.throttled(global_outstanding_limit=1, throttled_op_wait_time_ms=50)
    conn = driver.connect()
    driver.send(conn, *[(xid, CREATE, create(b"/n%d" % xid)) for xid in range(1, 6)])
    driver.now_ms += 100
    driver.sync()
    driver.sync()
    replies = channel(conn).replies()[1:]
    assert [xid for xid, _, _ in replies] == [1, 2, 3, 4, 5]
    assert [err for _, _, err in replies] == [0, 0] + [ErrorCode.THROTTLED_OP] * 3


def test_a_client_that_does_not_read_is_not_read(driver: Driver) -> None:
    conn = driver.connect()
    driver.send(conn, (1, CREATE, create(b"/big", b"x" * 900_000)))
    driver.sync()
    driver.replica.blocked(conn)
    assert not channel(conn).reading
    before = len(channel(conn).frames)
    driver.send(conn, *[(xid, GET, path_watch(b"/big")) for xid in range(2, 52)])
    assert len(channel(conn).frames) - before <= 2
    driver.replica.drained(0, 0, conn)
    assert channel(conn).xids()[1:] == list(range(1, 52))
    assert channel(conn).reading


def test_large_requests_have_a_budget() -> None:
    driver = Driver.throttled(large_request_threshold_bytes=1000, large_request_max_bytes=5000)
    conn = driver.connect()
    driver.send(conn, (1, CREATE, create(b"/a", b"x" * 3000)))
    driver.send(conn, (2, CREATE, create(b"/b", b"x" * 3000)))
    assert channel(conn).closed
    driver.sync()
    assert b"/a" in driver.tree.nodes
    assert b"/b" not in driver.tree.nodes


def test_a_late_write_through_a_learner_is_refused_once_the_leader_spoke_for_the_session(
    driver: Driver,
) -> None:
    conn = driver.connect()
    driver.send(conn, (2, CREATE, create(b"/newer")))
    driver.sync()
    driver.replica.closed(conn)
    frame = struct.pack(">ii", 1, CREATE) + create(b"/older")
    driver.replica.request(driver.now_ms, 0, object(), FIRST_SESSION, frame, ())
    driver.sync()
    assert b"/older" not in driver.tree.nodes
