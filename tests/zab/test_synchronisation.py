"""What a leader sends: the rows of the decision, and that every plan makes histories agree."""

from __future__ import annotations

from random import Random

import pytest

from kraal.model.zxid import make
from kraal.wire.records.quorum import PacketReader, PacketType
from kraal.zab.history import CommittedLog, Entry
from kraal.zab.synchronisation import decide, replayed


def _entries(*zxids: int) -> list[Entry]:
    return [(zxid, b"%x" % zxid) for zxid in zxids]


def _run(epoch: int, first: int, last: int) -> list[int]:
    return [make(epoch, number) for number in range(first, last + 1)]


LOG = CommittedLog(500, _entries(*_run(1, 5, 9), *_run(2, 1, 3)))
LAST = make(2, 3)


@pytest.mark.parametrize(
    ("peer", "kind", "zxid", "count"),
    [
        (LAST, PacketType.DIFF, LAST, 0),
        (make(2, 7), PacketType.TRUNC, LAST, 0),
        (make(1, 9), PacketType.DIFF, LAST, 3),
        (make(1, 5), PacketType.DIFF, LAST, 7),
        (make(2, 0), PacketType.DIFF, LAST, 3),  # led epoch 2 and wrote nothing in it
        (make(1, 12), PacketType.SNAP, LAST, 0),  # no cut across epochs
        (make(1, 2), PacketType.SNAP, LAST, 0),  # older than the log
        (0, PacketType.SNAP, LAST, 0),
        (make(3, 0), PacketType.SNAP, LAST, 0),  # a later epoch that nobody knows
    ],
)
def test_the_rows_of_the_decision(peer: int, kind: PacketType, zxid: int, count: int) -> None:
    plan = decide(peer, LOG, LAST)
    assert (plan.kind, plan.zxid, len(plan.proposals)) == (kind, zxid, count)


def test_an_extra_transaction_is_cut_off_within_its_epoch() -> None:
    log = CommittedLog(500, _entries(*_run(1, 5, 9)))
    assert decide(make(1, 10), log, make(1, 9))[:2] == (PacketType.TRUNC, make(1, 9))


def test_a_gap_inside_an_epoch_is_cut_where_the_histories_part() -> None:
    log = CommittedLog(500, _entries(*_run(1, 5, 7), *_run(1, 9, 10)))
    plan = decide(make(1, 8), log, make(1, 10))
    assert plan == (PacketType.TRUNC, make(1, 7), _entries(*_run(1, 9, 10)))


def test_an_empty_log_means_that_only_equals_need_nothing() -> None:
    empty = CommittedLog(500)
    assert decide(make(1, 4), empty, make(1, 4)).kind == PacketType.DIFF
    assert decide(make(1, 3), empty, make(1, 4)).kind == PacketType.SNAP
    assert decide(make(1, 5), empty, make(1, 4)) == (PacketType.TRUNC, make(1, 4), [])


def test_with_an_empty_log_the_disk_has_the_last_transaction_too() -> None:
    empty = CommittedLog(500)
    disk = _entries(*_run(1, 1, 5))
    plan = decide(make(1, 2), empty, make(1, 4), older=lambda _: disk)
    assert plan == (PacketType.DIFF, make(1, 4), _entries(*_run(1, 3, 4)))
    assert decide(make(1, 2), empty, make(1, 4), older=lambda _: disk[:3]).kind == PacketType.SNAP
    assert decide(make(1, 2), empty, make(2, 0), older=lambda _: disk).kind == PacketType.SNAP


def test_snapshots_can_be_forced() -> None:
    assert decide(LAST, LOG, LAST, force_snapshot=True).kind == PacketType.SNAP


def test_the_disk_goes_on_where_memory_ends() -> None:
    older = _entries(*_run(1, 1, 6))
    plan = decide(make(1, 2), LOG, LAST, older=lambda _zxid: older)
    assert plan.kind == PacketType.DIFF
    assert [zxid for zxid, _ in plan.proposals] == [*_run(1, 3, 9), *_run(2, 1, 3)]


@pytest.mark.parametrize("older", [None, [], _entries(*_run(1, 1, 3))])
def test_a_disk_that_ends_too_early_is_of_no_use(older: list[Entry] | None) -> None:
    assert decide(make(1, 2), LOG, LAST, older=lambda _zxid: older).kind == PacketType.SNAP


def _histories(rng: Random) -> tuple[list[int], list[int]]:
    """A leader's and a learner's history, which agree up to some point."""
    common = _run(1, 1, rng.randrange(0, 8))
    leader, learner = list(common), list(common)
    epoch = 1
    for _ in range(rng.randrange(3)):
        epoch += 1
        leader += _run(epoch, 1, rng.randrange(0, 5))
    if rng.random() < 0.5:
        learner = leader[: rng.randrange(len(leader) + 1)]
    else:
        learner += _run(1, len(common) + 1, len(common) + rng.randrange(0, 4))
    return leader, learner


def test_every_plan_makes_the_histories_agree() -> None:
    rng = Random(7)
    kinds = set()
    for _ in range(5000):
        leader, learner = _histories(rng)
        last = leader[-1] if leader else 0
        log = CommittedLog(rng.choice([3, 500]), _entries(*leader))
        plan = decide(learner[-1] if learner else 0, log, last)
        kinds.add(plan.kind)
        if plan.kind == PacketType.SNAP:
            continue
        kept = [zxid for zxid in learner if plan.kind == PacketType.DIFF or zxid <= plan.zxid]
        assert kept + [zxid for zxid, _ in plan.proposals] == leader
    assert kinds == {PacketType.DIFF, PacketType.TRUNC, PacketType.SNAP}


def test_replayed_transactions_are_proposed_and_committed_one_by_one() -> None:
    zxids = _run(1, 1, 600)
    packets = PacketReader(1000).feed(b"".join(replayed(_entries(*zxids))))
    assert [kind for kind, _, _, _ in packets] == [PacketType.PROPOSAL, PacketType.COMMIT] * 600
    assert [zxid for _, zxid, _, _ in packets[::2]] == zxids


@pytest.mark.parametrize("peer", [0, make(1, 0), make(3, 0)])
def test_where_the_disk_has_nothing_a_log_that_begins_with_an_epoch_is_not_the_whole(
    peer: int,
) -> None:
    log = CommittedLog(500, _entries(*_run(5, 1, 3)))
    for older in (lambda _zxid: None, lambda _zxid: _entries(), None):
        assert decide(peer, log, make(5, 3), older=older).kind == PacketType.SNAP
