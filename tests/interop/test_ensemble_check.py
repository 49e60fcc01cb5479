"""The judge of ensembles accepts a right history and notices every kind of wrong one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.interop.ensemble_check import ERROR, SESSION_EXPIRED, SESSION_MOVED, Judge
from tests.interop.ensemble_history import SET_WATCHES, Expired, History, Op
from tests.interop.ensemble_world import LOCK, REGISTER, TIME_MS, World, register, right_world
from tests.interop.kill_check import BrokenPromiseError
from tests.interop.kill_model import NO_NODE, Write
from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL


def judge(world: World) -> Judge:
    verdict = Judge()
    verdict.settle(world.history, world.logs())
    return verdict


# ---- What is right --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_right_history_is_right(seed: int) -> None:
    world = right_world(seed)
    verdict = judge(world)
    assert verdict.model.nodes == world.model.nodes
    assert verdict.counted["expired sessions"] == 1
    assert min(verdict.counted[name] for name in ("acknowledged refusals", "events", "syncs")) > 0


def test_a_history_may_be_judged_in_parts() -> None:
    world = right_world()
    verdict = judge(world)
    world.history, world.records = History(held=world.history.held), []
    session = min(world.history.held)
    world.write(session, register(b"more"))
    world.read(session, "getData", REGISTER)
    verdict.settle(world.history, world.logs())
    assert verdict.model.nodes == world.model.nodes


def test_requests_in_doubt_may_be_there_or_not() -> None:
    world = right_world()
    world.write(1 << 56, register(b"there"), answered=False)
    world.op(1 << 56, "setData", REGISTER, register(b"not there"))
    counted = judge(world).counted
    assert counted["unacknowledged, not there"] == 1


def test_a_late_request_of_a_session_that_moved_is_refused() -> None:
    world = right_world()
    world.refuse_late(1 << 56, SESSION_MOVED)
    counted = judge(world).counted
    assert counted["unacknowledged, refused as moved or expired"] == 2


@pytest.mark.parametrize("code", [SESSION_MOVED, SESSION_EXPIRED])
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_session_may_move_or_end_in_the_middle_of_a_multi(
    at: int, marked: bool, code: int
) -> None:
    """Apache's leader looks for the session at each part, while others hear of it meanwhile."""
    world = right_world()
    session = 1 << 56 if code == SESSION_MOVED else 4 << 56
    parts = [register(b"one"), register(b"two"), register(b"three")]
    world.multi(session, parts, code, at=at, marked=marked)
    verdict = judge(world)
    assert verdict.counted["unacknowledged, refused as moved or expired"] == 2
    assert verdict.counted["moved or expired in the middle of a multi"] == (at > 0)
    assert verdict.model.nodes == world.model.nodes


@pytest.mark.parametrize("marked", [False, True])
def test_multis_are_done_or_refused_as_a_whole(marked: bool) -> None:
    world = right_world()
    world.multi(1 << 56, [register(b"one"), register(b"two")])
    refused = [register(b"three"), Write("delete", "/none"), register(b"four")]
    world.multi(1 << 56, refused, NO_NODE, at=1, marked=marked)
    counted = judge(world).counted
    assert (counted["multis"], counted["refused multis"]) == (1, 1)


def test_logs_may_have_gaps_and_what_was_never_agreed_on() -> None:
    """One member was sent a snapshot, and had logged what was truncated elsewhere."""
    world = right_world()
    ends = [r for r, after in zip(world.records, world.records[1:], strict=False)
            if after.zxid >> 32 > r.zxid >> 32]  # fmt: skip
    never = ends[0]._replace(
        session=1 << 56, cxid=10_000, zxid=ends[0].zxid + 1, type=ERROR, digest=None,
        body=raw.i32(-101),
    )  # fmt: skip
    doubtful = world.op(1 << 56, "setData", "/none", Write("setData", "/none"))
    doubtful.xid = 10_000
    early = [record for record in world.records if record.zxid <= ends[0].zxid]
    late = [record for record in world.records if record.zxid > ends[1].zxid + 5]
    world.odd_logs["three"] = [*early, never, *late]
    assert judge(world).model.nodes == world.model.nodes


def test_the_digest_says_where_an_epoch_ended() -> None:
    """A log that was sent a snapshot at the begin of an epoch claims a wrong end of the last."""
    world = right_world()
    world.odd_logs["three"] = [r for r in world.records if not 0x1_0000_0020 < r.zxid < 2 << 32]
    last = max(record.zxid for record in world.records if record.zxid >> 32 == 1)
    lie = world.records[-1]._replace(zxid=last + 1, cxid=10_000, type=5)
    doubtful = world.op(lie.session, "setData", REGISTER, register(b"never agreed on"))
    doubtful.xid = 10_000
    doubtful.number = 0
    doubtful.connection = 10_000
    second = [record for record in world.records if record.zxid >> 32 > 1]
    first = [record for record in world.records if record.zxid >> 32 == 1]
    world.odd_logs["four"] = [*first, lie, *second]
    assert judge(world).model.nodes == world.model.nodes


def test_a_watch_that_was_restored_may_miss_what_came_and_went() -> None:
    world = right_world()
    one, two = sorted(world.history.held)[:2]
    if LOCK in world.model.nodes:
        world.write(one, Write("delete", LOCK))
    world.read(one, "exists", LOCK, watch=True)
    world.watches[one].discard(LOCK)  # it is away
    world.write(two, Write("create", LOCK))
    world.write(two, Write("delete", LOCK))
    op = world.op(one, SET_WATCHES, "")
    world.answer(op, raw.Reply(SET_WATCHES, op.xid, world.model.zxid, 0, None, b""))
    judge(world)


def test_a_session_may_be_closed_without_its_watches() -> None:
    world = right_world()
    one, two = sorted(world.history.held)[:2]
    world.read(one, "getData", REGISTER, watch=True)
    world.watches[one].discard(REGISTER)  # it comes back only to say good-bye
    world.write(two, register(b"changed"))
    world.connect(one)
    world.close(one)
    judge(world)


@pytest.mark.parametrize("kind", [APACHE, KRAAL])
def test_only_apaches_leader_may_answer_a_sync_at_once(kind: str) -> None:
    world = right_world()
    op = world.sync(1 << 56)
    op.kind = kind
    world.history.received[1 << 56].remove(op)
    assert op.reply is not None
    op.reply = op.reply._replace(zxid=op.reply.zxid - 1)
    verdict = Judge(leaders={world.epoch: op.member})
    if kind == KRAAL:
        with pytest.raises(BrokenPromiseError, match="a sync missed"):
            verdict.settle(world.history, world.logs())
    else:
        verdict.settle(world.history, world.logs())
        assert verdict.counted["hasty syncs of Apache's leader"] == 1
        with pytest.raises(BrokenPromiseError, match="a sync missed"):
            Judge(leaders={world.epoch: 3}).settle(world.history, world.logs())


# ---- What is wrong --------------------------------------------------------------------


def answered(world: World, name: str, *, refused: bool = False) -> Op:
    """An answered request in the middle."""
    found = [
        op for op in world.history.ops
        if op.name == name and op.reply is not None and bool(op.reply.err) == refused
    ]  # fmt: skip
    return found[len(found) // 2]


def forge(op: Op, **fields: object) -> None:
    assert op.reply is not None
    op.reply = op.reply._replace(**fields)  # type: ignore[arg-type]


def lose_the_last_write(world: World) -> None:
    del world.records[-1]


def lose_a_write(world: World) -> None:
    """All that follows has moved up, so that only the reply gives it away."""
    record = next(r for r in world.records if r.cxid == answered(world, "create2").xid)
    place = world.records.index(record)
    for index in range(place + 1, len(world.records)):
        following = world.records[index]
        if following.zxid >> 32 == record.zxid >> 32:
            world.records[index] = following._replace(zxid=following.zxid - 1)
    del world.records[place]


def forget_everything_of_an_epoch(world: World) -> None:
    world.records[:] = [record for record in world.records if record.zxid >> 32 != 2]


def leave_a_gap(world: World) -> None:
    del world.records[len(world.records) // 2]


def disagree(world: World) -> None:
    other = list(world.records)
    other[20] = other[20]._replace(time=TIME_MS + 1)
    world.odd_logs["three"] = other


def give_a_zxid_twice(world: World) -> None:
    op = answered(world, "create2")
    assert op.reply is not None
    forge(op, zxid=op.reply.zxid - 1)


def answer_with_the_wrong_version(world: World) -> None:
    op = answered(world, "setData")
    assert op.reply is not None
    assert isinstance(op.reply.value, raw.Stat)
    forge(op, value=op.reply.value._replace(version=op.reply.value.version + 1))


def answer_another_name(world: World) -> None:
    op = answered(world, "create2")
    assert op.reply is not None
    assert isinstance(op.reply.value, tuple)
    forge(op, value=("/queue/n9999999999", op.reply.value[1]))


def acknowledge_what_was_refused(world: World) -> None:
    forge(answered(world, "setData", refused=True), err=0)


def refuse_what_was_done(world: World) -> None:
    forge(answered(world, "setData"), err=-103, value=None)


def do_what_must_be_refused(world: World) -> None:
    op = answered(world, "setData", refused=True)
    place = next(i for i, record in enumerate(world.records) if record.cxid == op.xid)
    world.records[place] = world.records[place]._replace(type=raw.OPCODES["setData"], digest=None)


def refuse_a_right_multi(world: World) -> None:
    world.multi(1 << 56, [register(b"one"), register(b"two")], NO_NODE, at=1)


def refuse_another_part(world: World) -> None:
    parts = [register(b"one"), Write("delete", "/none"), register(b"two")]
    world.multi(1 << 56, parts, NO_NODE, at=2)


def refuse_a_part_for_another_reason(world: World) -> None:
    world.multi(1 << 56, [register(b"one"), Write("delete", "/none")], -111, at=1)


def do_a_wrong_multi(world: World) -> None:
    world.multi(1 << 56, [register(b"one"), Write("delete", "/none")])


def do_it_twice(world: World) -> None:
    last = world.records[-1]
    world.records.append(last._replace(zxid=last.zxid + 1))


def do_what_nobody_asked_for(world: World) -> None:
    last = world.records[-1]
    world.records.append(last._replace(zxid=last.zxid + 1, cxid=last.cxid + 1000))


def swap_two_of_a_connection(world: World) -> None:
    one, two = answered(world, "create2"), answered(world, "create2")
    following = world.history.ops[world.history.ops.index(one) + 1 :]
    two = next(op for op in following if op.connection == one.connection and op.is_logged)
    one.number, two.number = two.number, one.number


def go_back_to_an_old_connection(world: World) -> None:
    session = 1 << 56
    world.connect(session)
    world.write(session, register(b"new"))
    world.connections[session] -= 1
    world.sent[session] = next(
        (op.number + 1 for op in reversed(world.history.ops)
         if op.connection == world.connections[session] and op.is_logged), 0,
    )  # fmt: skip
    world.write(session, register(b"old"))


def break_the_digest(world: World) -> None:
    record = world.records[30]
    assert record.digest is not None or record.type == ERROR
    world.records[30] = record._replace(digest=(record.digest or 0) + 1)


def order_against_time(world: World) -> None:
    """The later of two writes, by zxid, was answered before the other was sent."""
    writes = [op for op in world.history.ops if op.is_logged and op.reply is not None]
    one, other = writes[20], writes[25]
    other.returned = one.invoked - 0.5


def read_old_data(world: World) -> None:
    op = answered(world, "getData")
    assert op.reply is not None
    assert isinstance(op.reply.value, tuple)
    forge(op, value=(b"old", op.reply.value[1]))


def read_what_is_not_there_yet(world: World) -> None:
    op = answered(world, "getData")
    assert op.reply is not None
    forge(op, zxid=op.reply.zxid - 40)
    # Nothing else of the session is in the way.
    world.history.received[op.session].remove(op)


def read_a_deleted_znode(world: World) -> None:
    forge(answered(world, "exists"), err=-101, value=None)


def read_beyond_the_end(world: World) -> None:
    op = world.read(1 << 56, "getData", REGISTER)
    forge(op, zxid=world.model.zxid + 1)


def let_a_session_go_back(world: World) -> None:
    """A right read of the past, behind a read of the present."""
    world.write(2 << 56, register(b"newest"))
    op = world.read(1 << 56, "exists", "/queue")
    again = world.op(1 << 56, "exists", "/queue")
    assert op.reply is not None
    world.answer(again, op.reply._replace(xid=again.xid, zxid=op.reply.zxid - 1))


def miss_a_write_with_a_sync(world: World) -> None:
    op = world.sync(1 << 56)
    world.history.received[1 << 56].remove(op)
    assert op.reply is not None
    forge(op, zxid=op.reply.zxid - 1)


def expire_a_living_session(world: World) -> None:
    world.end(1 << 56)


def forget_a_living_session(world: World) -> None:
    world.history.expired.append(Expired(1 << 56, 2, 0.0))


def hold_a_session_that_never_was(world: World) -> None:
    world.history.held.add(9 << 56)


def let_a_dead_session_write(world: World) -> None:
    world.write(4 << 56, register(b"from the grave"))


def refuse_a_living_session(world: World) -> None:
    world.refuse_late(1 << 56, SESSION_EXPIRED)


def refuse_and_answer(world: World) -> None:
    op = world.refuse_late(1 << 56, SESSION_MOVED)
    world.answer(op, raw.Reply("setData", op.xid, world.model.zxid, 0, None, b""))


def events(world: World) -> list[tuple[int, int]]:
    """Session and place of every event."""
    return [
        (session, place)
        for session, entries in world.history.received.items()
        for place, entry in enumerate(entries)
        if isinstance(entry, raw.Event)
    ]


def lose_an_event(world: World) -> None:
    session, place = events(world)[3]
    del world.history.received[session][place]


def send_an_event_late(world: World) -> None:
    session, place = events(world)[3]
    entries = world.history.received[session]
    entries.insert(place + 1, entries.pop(place))


def send_an_event_twice(world: World) -> None:
    session, place = events(world)[3]
    entries = world.history.received[session]
    entries.insert(place, entries[place])


def send_an_event_of_the_wrong_type(world: World) -> None:
    session, place = events(world)[3]
    entries = world.history.received[session]
    event = entries[place]
    assert isinstance(event, raw.Event)
    entries[place] = event._replace(type=4)


def note_a_problem(world: World) -> None:
    world.history.problems.append("the client has failed")


WRONG: Sequence[tuple[Callable[[World], None], str]] = (
    (lose_the_last_write, "LOST"), (lose_a_write, "overtaken|digest|wrong reply"),
    (forget_everything_of_an_epoch, "no end of the epoch|overtaken|digest|wrong reply"),
    (leave_a_gap, "follows"), (disagree, "in the log of"),
    (give_a_zxid_twice, "wrong reply"), (answer_with_the_wrong_version, "wrong reply"),
    (answer_another_name, "wrong reply"), (acknowledge_what_was_refused, "wrong reply"),
    (refuse_what_was_done, "wrong reply"), (do_what_must_be_refused, "has become"),
    (refuse_a_right_multi, "has become"), (refuse_another_part, "has become"),
    (refuse_a_part_for_another_reason, "has become"), (do_a_wrong_multi, "has become"),
    (do_it_twice, "nobody has asked"), (do_what_nobody_asked_for, "nobody has asked"),
    (swap_two_of_a_connection, "overtaken"),
    (go_back_to_an_old_connection, "later connection came first"),
    (break_the_digest, "the digest"), (order_against_time, "had been answered"),
    (read_old_data, "wrong read"), (read_what_is_not_there_yet, "wrong read"),
    (read_a_deleted_znode, "wrong read"), (read_beyond_the_end, "the logs end"),
    (let_a_session_go_back, "went back"), (miss_a_write_with_a_sync, "a sync missed"),
    (expire_a_living_session, "living client expired"),
    (forget_a_living_session, "did not know session"),
    (hold_a_session_that_never_was, "LOST: sessions"),
    (let_a_dead_session_write, "session is closed"),
    (refuse_a_living_session, "refused while it lives"),
    (refuse_and_answer, "yet answered"), (lose_an_event, "no event"),
    (send_an_event_late, "no event"), (send_an_event_twice, "nothing happened"),
    (send_an_event_of_the_wrong_type, "expected was"), (note_a_problem, "has failed"),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("damage", "complaint"), [pytest.param(*case, id=case[0].__name__) for case in WRONG]
)
def test_what_is_wrong_is_noticed(
    damage: Callable[[World], None], complaint: str, seed: int
) -> None:
    world = right_world(seed)
    damage(world)
    with pytest.raises(BrokenPromiseError, match=complaint):
        judge(world)
