"""When a snapshot is due (reference/storage-formats.md section 4.6)."""

from __future__ import annotations

from random import Random

from kraal.storage.snapshot_policy import SnapshotPolicy
from tests.storage.support import configured


def runs(policy: SnapshotPolicy, log_bytes: int, times: int) -> list[int]:
    """How many transactions lie between snapshots."""
    lengths = []
    for _ in range(times):
        count = 1
        while not policy.logged(1, log_bytes):
            count += 1
        lengths.append(count)
    return lengths


def test_by_count() -> None:
    policy = SnapshotPolicy(configured(snap_count=100), Random(1))
    lengths = runs(policy, 1000, 500)
    assert min(lengths) == 51
    assert max(lengths) == 100
    assert len(set(lengths)) == 50


def test_by_bytes_of_log() -> None:
    config = configured(snap_count=10**6, snap_size_limit_bytes=100_000)
    lengths = runs(SnapshotPolicy(config, Random(1)), 1000, 500)
    assert min(lengths) == 51
    assert max(lengths) == 100


def test_bytes_switched_off() -> None:
    for limit in (0, -1024):
        config = configured(snap_count=100, snap_size_limit_bytes=limit)
        assert min(runs(SnapshotPolicy(config, Random(1)), 10**12, 20)) > 50


def test_the_smallest_count() -> None:
    assert runs(SnapshotPolicy(configured(snap_count=2), Random(1)), 0, 5) == [2] * 5


def test_flushes_of_many() -> None:
    policy = SnapshotPolicy(configured(snap_count=100), Random(1))
    assert policy.logged(101, 0)
    assert not policy.logged(50, 0)
    assert policy.logged(51, 0)
