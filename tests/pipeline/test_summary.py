"""Summaries: exact sums, and percentiles as the reference works them out."""

from __future__ import annotations

from random import Random

from kraal.pipeline.summary import Summary, merged
from kraal.replica.status import Distribution
from kraal.server.metrics import distribution


def summary(*values: int) -> Summary:
    counted = Summary()
    for value in values:
        counted.add(value)
    return counted


def test_nothing_counted_is_zero() -> None:
    assert distribution(Summary()) == Distribution()
    assert Distribution().percentile(0.99) == 0


def test_sums_and_ends_are_exact_for_all_sizes() -> None:
    values = [Random(1).randrange(10**n) for n in range(1, 9) for _ in range(50)]
    counted = summary(*values)
    shown = distribution(counted)
    assert (shown.minimum, shown.maximum) == (min(values), max(values))
    assert (shown.total, shown.count) == (sum(values), len(values))
    assert shown.average == sum(values) / len(values)
    for value, _ in shown.buckets:
        assert min(abs(value - real) / max(real, 1) for real in values) <= 1 / 32


def test_counts_weigh_and_times_before_now_are_zero() -> None:
    counted = Summary()
    counted.add(3, 5)
    counted.add(-7)
    shown = distribution(counted)
    assert (shown.count, shown.total, shown.minimum, shown.maximum) == (6, 15, 0, 3)


def test_percentiles_interpolate() -> None:
    assert distribution(summary(4, 5)).percentile(0.5) == 4.5
    assert distribution(summary(*range(1, 101))).percentile(0.75) == 75.75
    assert distribution(summary(7)).percentile(0.999) == 7


def test_merging_and_taking_away() -> None:
    first, second = summary(1, 200, 5000), summary(2, 300)
    both = merged(first, second)
    assert distribution(both) == distribution(summary(1, 200, 5000, 2, 300))
    rest = distribution(both.without(first))
    assert (rest.count, rest.total, rest.minimum) == (2, 302, 2)
