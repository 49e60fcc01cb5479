"""A replica whose disk lacks room, as its shell tells it."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace

import pytest

from kraal.errors import ErrorCode
from kraal.wire.opcodes import OpCode
from tests.replica.driver import Driver, channel, create, path_watch, set_data

THROTTLED = ErrorCode.THROTTLED_OP


def test_refused_writes_keep_their_place_and_cost_no_transaction() -> None:
    driver = Driver()
    conn = driver.connect()
    driver.send(conn, (1, OpCode.CREATE, create(b"/a")))
    driver.replica.lacks_room = True
    driver.send(
        conn,
        (2, OpCode.SET_DATA, set_data(b"/a", b"x")),
        (3, OpCode.EXISTS, path_watch(b"/a")),
        (4, OpCode.DELETE, struct.pack(">i", 2) + b"/a" + struct.pack(">i", -1)),
    )
    assert len(driver.log) == 3
    driver.sync()
    assert channel(conn).replies()[1:] == [
        (1, 2, ErrorCode.OK), (2, 2, THROTTLED), (3, 2, ErrorCode.OK), (4, 3, ErrorCode.OK),
    ]  # fmt: skip
    driver.replica.lacks_room = False
    driver.send(conn, (5, OpCode.CREATE, create(b"/a")))
    driver.sync()
    assert channel(conn).replies()[-1] == (5, 4, ErrorCode.OK)


def test_with_a_lost_log_no_write_is_taken() -> None:
    driver = Driver()
    conn = driver.connect()
    driver.send(conn, (1, OpCode.CREATE, create(b"/a")))
    driver.replica.lacks_room = driver.replica.has_lost_log = True
    driver.send(conn, (2, OpCode.DELETE, struct.pack(">i", 2) + b"/a" + struct.pack(">i", -1)))
    driver.sync()
    assert channel(conn).replies()[-1][2] == THROTTLED
    assert b"/a" in driver.tree.nodes


def test_the_audit_log_goes_on_behind_a_refused_write(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(replace(Driver().config, audit_user="server"))
    conn = driver.connect()
    driver.replica.lacks_room = True
    driver.send(conn, (1, OpCode.CREATE, create(b"/a")))
    driver.replica.lacks_room = False
    with caplog.at_level(logging.INFO, "kraal.audit"):
        driver.send(
            conn,
            (2, OpCode.CREATE, b"is no request"),
            (3, OpCode.CREATE, create(b"/b")),
            (4, OpCode.CREATE, create(b"/b")),
        )
        driver.replica.lacks_room = True
        driver.send(conn, (5, OpCode.CREATE, create(b"/c")))
        driver.sync()
    said = [message.split("operation=")[1] for message in caplog.messages]
    assert said == [
        f"create\tznode=/b\tznode_type=persistent\tresult={result}"
        for result in ("success", "failure")
    ]
    errors = [error for _, _, error in channel(conn).replies()]
    assert errors[-5:] == [
        THROTTLED, ErrorCode.MARSHALLING_ERROR, ErrorCode.OK, ErrorCode.NODE_EXISTS, THROTTLED,
    ]  # fmt: skip


def test_sessions_begin_and_end() -> None:
    driver = Driver()
    driver.replica.lacks_room = True
    conn = driver.connect()
    driver.send(conn, (1, OpCode.CLOSE_SESSION, b""))
    driver.sync()
    assert channel(conn).closed
    assert driver.tree.sessions == {}


def test_a_learner_gets_a_transaction_that_says_so() -> None:
    driver = Driver()
    owner = object()
    conn = driver.connect()
    session = conn.session
    assert session is not None
    assert driver.replica.revalidate(0, session.id, owner)
    driver.replica.lacks_room = True
    frame = struct.pack(">ii", 9, OpCode.CREATE) + create(b"/a")
    driver.replica.request(0, 0, owner, session.id, frame, ())
    (_, payload) = driver.log[-1]
    assert payload[-8:] == struct.pack(">ii", OpCode.ERROR, THROTTLED)
    driver.sync()
    assert b"/a" not in driver.tree.nodes
