"""A server that is killed loses nothing that it acknowledged."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.data_directory_files import Record
from tests.interop.kill_check import BrokenPromiseError, Ledger
from tests.interop.kill_line import Connection, Exchange, Turn
from tests.interop.kill_model import Model, Moment, Write
from tests.interop.kill_runner import Plan, run
from tests.support import raw_client as raw
from tests.support.servers import require_reference

SESSION = 0x100000000000001
TIME_MS = 1_700_000_000_000


def test_nothing_is_lost_when_the_server_is_killed() -> None:
    figures = run(Plan(kills=5, seed=5, static=300))
    print(figures)
    assert figures.counted["acknowledged"] > 500
    assert figures.snapshots.total() > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_is_lost_when_the_server_is_killed_200_times() -> None:
    print(run(Plan(kills=200, seed=1), progress=True))


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_servers_in_turn_are_killed_on_one_directory() -> None:
    require_reference()
    print(run(Plan(kills=60, seed=2, servers=("kraal", "apache")), progress=True))


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_reference_keeps_the_same_promises() -> None:
    """A broken promise here would mean that the model expects something else."""
    require_reference()
    print(run(Plan(kills=10, seed=3, servers=("apache",)), progress=True))


# ---- The judge would notice -----------------------------------------------------------


def _history(count: int) -> tuple[list[Record], Turn]:
    """A session that creates some znodes and is told so, one of which is refused."""
    model = Model()
    model.open_session(SESSION, 1)
    records = [_record(1, 0, "createSession", raw.i32(10_000), model.digest)]
    connection = Connection(SESSION)
    for number in range(count):
        path = f"/{number}" if number else "/no/parent"
        write = Write("create", path, b"%d" % number)
        zxid, xid = number + 2, number + 1
        err, value = model.apply(write, Moment(SESSION, zxid, TIME_MS))
        op, digest = ("error", None) if err else ("create", model.digest)
        records.append(_record(zxid, xid, op, raw.i32(err), digest))
        reply = raw.Reply("create", xid, zxid, err, value, b"")
        connection.exchanges[xid] = Exchange(number, write, reply)
    connection.last_zxid = count + 1
    return records, Turn([connection])


def _record(zxid: int, xid: int, op: str, body: bytes, digest: int | None) -> Record:
    return Record(SESSION, xid, zxid, TIME_MS, raw.OPCODES[op], body, digest, "log.1")


def test_a_kept_promise_is_kept() -> None:
    records, turn = _history(5)
    ledger = Ledger()
    ledger.settle(records, [turn])
    assert ledger.counted["acknowledged"] == 5
    assert ledger.counted["acknowledged refusals"] == 1
    assert ledger.living == {SESSION}


def test_unanswered_requests_may_be_there_or_not() -> None:
    records, turn = _history(5)
    connection = turn.connections[0]
    connection.last_zxid = 4
    for xid in (4, 5):
        connection.exchanges[xid].reply = None
    ledger = Ledger()
    ledger.settle(records[:-1], [turn])
    assert ledger.counted["unacknowledged, there"] == 1
    assert ledger.counted["unacknowledged, not there"] == 1


def test_a_lost_write_is_noticed() -> None:
    records, turn = _history(5)
    with pytest.raises(BrokenPromiseError, match="LOST"):
        Ledger().settle(records[:-1], [turn])


def test_a_lost_session_is_noticed() -> None:
    with pytest.raises(BrokenPromiseError, match="LOST: session"):
        Ledger().settle([], [Turn([Connection(SESSION)])])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        pytest.param({"zxid": 7}, "zxid 7 follows 3", id="gap"),
        pytest.param({"digest": 1}, "digest", id="digest"),
        pytest.param({"type": -1}, "has become", id="type"),
        pytest.param({"cxid": 5}, "overtaken", id="order"),
        pytest.param({"session": 7}, "nobody", id="stranger"),
        pytest.param({"time": 0}, "digest", id="time"),
    ],
)
def test_a_wrong_record_is_noticed(damage: dict[str, int], complaint: str) -> None:
    records, turn = _history(5)
    records[3] = records[3]._replace(**damage)  # type: ignore[arg-type]
    with pytest.raises(BrokenPromiseError, match=complaint):
        Ledger().settle(records, [turn])


def test_a_wrong_reply_is_noticed() -> None:
    records, turn = _history(5)
    exchange = turn.connections[0].exchanges[Random(1).randrange(2, 5)]
    assert exchange.reply is not None
    exchange.reply = exchange.reply._replace(value="/other")
    with pytest.raises(BrokenPromiseError, match="reply"):
        Ledger().settle(records, [turn])


def test_what_was_read_must_be_in_the_log() -> None:
    records, turn = _history(5)
    turn.connections[0].reads.append(("/kill/counter", b"lost", 3, 4))
    with pytest.raises(BrokenPromiseError, match="was read"):
        Ledger().settle(records, [turn])
