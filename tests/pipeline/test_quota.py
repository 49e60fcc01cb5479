"""Quotas: texts, what they cover, what is charged (client-protocol.md section 6.5)."""

from __future__ import annotations

import pytest

from kraal.tree import quota
from kraal.tree.quota import QuotaIndex
from tests.pipeline.support import Tree

QUOTA = b"/zookeeper/quota"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"", {}),
        (None, {}),
        (b"count=5,bytes=100", {"count": 5, "bytes": 100}),
        (b"count=1;bytes=2", {"count": 1, "bytes": 2}),
        (b"count=1;;,,bytes=2", {"count": 1, "bytes": 2}),
        (b"count=3,bytes=40=;byteHardLimit=60", {"count": 3, "bytes": 40, "byteHardLimit": 60}),
        (b"countHardLimit=4=5=6", {"countHardLimit": 4}),
        (b"count==5,bytes=1", {"count": -1, "bytes": 1}),
        (b"count=-1,bytes=+7", {"count": -1, "bytes": 7}),
        (b"unknown=7", {"unknown": 7}),
        (b"count=1,count=2", {"count": 2}),
        (b"count=9223372036854775807", {"count": 2**63 - 1}),
    ],
)
def test_readable_texts(text: bytes | None, values: dict[str, int]) -> None:
    assert quota.parse(text) == values


@pytest.mark.parametrize(
    "text",
    [b"garbage", b"count=", b"count=x", b"=", b"count= 1", b"\xff\xfe", b"count=1_0", b"count=1\n",
     b"count=9223372036854775808", b"count=" + b"9" * 5000, b"count=1,bytes"],
)  # fmt: skip
def test_unreadable_texts(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"no value|no number|digits"):
        quota.parse(text)
    assert quota.usage(text) == {"count": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, b"count=-1,bytes=-1"),
        ({"count": 3, "bytes": 10}, b"count=3,bytes=10"),
        (
            {"countHardLimit": 6, "byteHardLimit": 12, "bytes": 10, "count": 3},
            b"count=3,bytes=10=;byteHardLimit=12;countHardLimit=6",
        ),
    ],
)
def test_the_canonical_text(values: dict[str, int], text: bytes) -> None:
    assert quota.show(values) == text
    assert quota.parse(text) == {"count": -1, "bytes": -1, **values}


def test_adding_to_usage() -> None:
    assert quota.add_usage(b"count=1,bytes=10", 1, -3) == b"count=2,bytes=7"
    assert quota.add_usage(b"garbage", 1, 5) == b"count=1,bytes=5"


def test_hard_limits() -> None:
    limits = quota.hard_limits(b"count=1,bytes=2=;byteHardLimit=3;countHardLimit=4")
    assert (limits.count, limits.bytes) == (4, 3)
    assert quota.hard_limits(b"count=1") == quota.HardLimits(-1, -1)


@pytest.mark.parametrize(
    ("path", "covering"),
    [
        (b"/a", b"/a"), (b"/a/x", b"/a"), (b"/a/b", b"/a/b"), (b"/a/b/c/d", b"/a/b"),
        (b"/ab", None), (b"/c", None), (b"/", None),
    ],
)  # fmt: skip
def test_the_deepest_quota_covers(path: bytes, covering: bytes | None) -> None:
    index = QuotaIndex()
    for quoted in (b"/a", b"/a/b", b""):
        index.add(quoted)
    assert index.covering(path) == covering


class Quoted:
    """A tree with a quota on a path that may not exist yet."""

    def __init__(self, path: bytes, limits: bytes = b"count=100") -> None:
        self.tree = Tree()
        self.stats = QUOTA + path + b"/zookeeper_stats"
        for end in range(1, path.count(b"/") + 1):
            self.tree.create(QUOTA + b"/".join(path.split(b"/")[: end + 1]))
        self.tree.create(QUOTA + path + b"/zookeeper_limits", limits)
        self.tree.create(self.stats)

    @property
    def usage(self) -> bytes | None:
        return self.tree.tree.nodes[self.stats].data


class TestCharging:
    def test_from_nothing(self) -> None:
        quoted = Quoted(b"/a")
        assert quoted.usage == b"count=0,bytes=0"
        quoted.tree.create(b"/a", b"12345")
        quoted.tree.create(b"/a/b", b"12")
        assert quoted.usage == b"count=2,bytes=7"
        quoted.tree.set_data(b"/a/b", b"1")
        quoted.tree.delete(b"/a/b")
        assert quoted.usage == b"count=1,bytes=5"

    def test_what_is_there_counts_when_the_usage_znode_is_made(self) -> None:
        tree = Tree()
        tree.create(b"/a", b"12345")
        tree.create(b"/a/b", b"12")
        tree.create(QUOTA + b"/a")
        tree.create(QUOTA + b"/a/zookeeper_limits", b"")
        tree.create(QUOTA + b"/a/zookeeper_stats", b"what the client wrote")
        assert tree.tree.nodes[QUOTA + b"/a/zookeeper_stats"].data == b"count=2,bytes=7"

    def test_nothing_but_data_and_its_length_changes(self) -> None:
        quoted = Quoted(b"/a")
        before = quoted.tree.tree.nodes[quoted.stats].stat
        for number in range(10):
            quoted.tree.create(b"/a" if not number else b"/a/%d" % number, b"x")
        after = quoted.tree.tree.nodes[quoted.stats].stat
        assert quoted.usage == b"count=10,bytes=10"
        assert before[:52] + before[56:] == after[:52] + after[56:]
        assert after[52:56] == (17).to_bytes(4, "big")

    def test_only_the_deepest_quota_is_charged(self) -> None:
        quoted = Quoted(b"/a/b")
        quoted.tree.create(QUOTA + b"/a/zookeeper_limits", b"")
        quoted.tree.create(QUOTA + b"/a/zookeeper_stats")
        quoted.tree.create(b"/a")
        quoted.tree.create(b"/a/b")
        quoted.tree.create(b"/a/b/c", b"x")
        assert quoted.usage == b"count=2,bytes=1"
        outer = quoted.tree.tree.nodes[QUOTA + b"/a/zookeeper_stats"].data
        assert outer == b"count=1,bytes=0"

    def test_a_deleted_limit_ends_it(self) -> None:
        quoted = Quoted(b"/a")
        quoted.tree.delete(QUOTA + b"/a/zookeeper_limits")
        quoted.tree.create(b"/a", b"x")
        assert quoted.usage == b"count=0,bytes=0"

    def test_without_a_usage_znode_nothing_is_charged(self) -> None:
        quoted = Quoted(b"/a")
        quoted.tree.delete(quoted.stats)
        quoted.tree.create(b"/a", b"x")
        assert quoted.stats not in quoted.tree.tree.nodes

    @pytest.mark.parametrize("text", [b"garbage", b"", b"count=" + b"9" * 4300, b"\xff"])
    def test_usage_that_cannot_be_read_counts_as_none(self, text: bytes) -> None:
        quoted = Quoted(b"/a")
        quoted.tree.create(b"/a")
        quoted.tree.set_data(quoted.stats, text)
        quoted.tree.create(b"/a/b", b"123")
        assert quoted.usage in (b"count=1,bytes=3", b"count=0,bytes=2")
