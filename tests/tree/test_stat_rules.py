"""What each write does to a stat, field by field; and that its stamp is that of the stat."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from kraal.model.limits import MAX_INT
from kraal.tree import stat_rules
from kraal.tree.digest import stamp_of, with_owner
from kraal.tree.stat_rules import COUNT_UP, DELETED
from kraal.tree.znode import created_children, wire_cversion
from kraal.wire.records.data import STAT, Stat

ZXID, TIME_MS = 0x7_0000_0009, 1_700_000_000_000
TTL_OWNER = (0xFF << 56 | 60_000) - (1 << 64)
COUNTERS = (0, 1, 5, MAX_INT - 1, MAX_INT)


def _stats() -> Iterator[Stat]:
    """Stats of all kinds, with counters at both ends."""
    random = Random(7)
    for made in COUNTERS:
        for children in (0, 1, 3, 1000):
            yield Stat(
                random.getrandbits(40),
                random.getrandbits(40),
                random.getrandbits(40),
                random.getrandbits(40),
                random.choice((-MAX_INT - 1, -1, 0, MAX_INT)),
                wire_cversion(made, children),
                random.choice((0, 7, -MAX_INT - 1)),
                random.choice((0, 0x100, -5)),
                random.randrange(1 << 20),
                children,
                random.choice((0, ZXID - 1, ZXID + 1)),
            )


def _assert_becomes(stamped: stat_rules.Stamped, expected: Stat) -> None:
    stat, stamp = stamped
    assert Stat.unpack(stat) == expected
    assert stamp == stamp_of(stat)


@pytest.mark.parametrize("owner", [0, 0x100, -(1 << 63)])
def test_created(owner: int) -> None:
    expected = Stat(ZXID, ZXID, TIME_MS, TIME_MS, 0, 0, 0, owner, 100, 0, ZXID)
    _assert_becomes(stat_rules.created(ZXID, TIME_MS, owner, 100), expected)


@pytest.mark.parametrize("version", [0, 1, MAX_INT, -MAX_INT - 1])
def test_data_set(version: int) -> None:
    for stat in _stats():
        _assert_becomes(
            stat_rules.data_set(STAT.pack(*stat), ZXID, TIME_MS, version, 33),
            stat._replace(mzxid=ZXID, mtime=TIME_MS, version=version, data_length=33),
        )


@pytest.mark.parametrize("version", [0, 1, MAX_INT, -MAX_INT - 1])
def test_acl_set(version: int) -> None:
    for stat in _stats():
        _assert_becomes(
            stat_rules.acl_set(STAT.pack(*stat), version), stat._replace(aversion=version)
        )


@pytest.mark.parametrize("given", [DELETED, COUNT_UP, *COUNTERS])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_children_changed(given: int, count: int) -> None:
    for stat in _stats():
        made = created_children(stat.cversion, stat.num_children)
        pzxid = stat.pzxid
        if given == DELETED:
            pzxid = max(pzxid, ZXID)
        elif given == COUNT_UP:
            made, pzxid = made + 1, ZXID
        elif given > made:
            made, pzxid = given, ZXID
        _assert_becomes(
            stat_rules.children_changed(STAT.pack(*stat), count, given, ZXID),
            stat._replace(cversion=wire_cversion(made, count), num_children=count, pzxid=pzxid),
        )


def test_child_created_is_children_changed_by_one() -> None:
    for stat in _stats():
        packed = STAT.pack(*stat)
        made, *stamped = stat_rules.child_created(packed, ZXID)
        assert made == min(created_children(stat.cversion, stat.num_children) + 1, MAX_INT)
        expected = stat_rules.children_changed(packed, stat.num_children + 1, made, ZXID)
        assert tuple(stamped) == expected


def test_the_stamp_of_what_hides_its_owner() -> None:
    for stat in _stats():
        packed = STAT.pack(*stat)
        assert with_owner(stamp_of(packed), TTL_OWNER) == stamp_of(packed, TTL_OWNER)
