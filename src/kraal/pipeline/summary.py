"""Figures of a distribution of whole numbers, kept so that counting costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from operator import add, mul, sub

EXACT = 128
"""Values below are counted one by one; larger ones in buckets."""
_VALUES = range(EXACT)
STEPS_BITS = 5
"""Buckets of larger values: 32 for each power of two, so a percentile is within 3 %."""


class Summary:
    """Minimum, maximum, sum, count and percentiles of values that were added.

    Nothing is kept but how often each small value came: the figures are worked out when
    somebody asks. Minimum, maximum, sum and count are exact.
    """

    __slots__ = ("_coarse", "_coarse_max", "_coarse_min", "_coarse_total", "_exact")

    def __init__(self) -> None:
        self._exact = [0] * EXACT
        self._coarse: dict[int, int] = {}
        """By bucket of a larger value, how often it came."""
        self._coarse_total = 0
        self._coarse_min = self._coarse_max = 0

    def add(self, value: int, count: int = 1) -> None:
        """Count a value; one below zero, which a clock may give, counts as zero."""
        if value < EXACT:
            self._exact[value if value > 0 else 0] += count
        else:
            self._add_coarse(value, count)

    def _add_coarse(self, value: int, count: int) -> None:
        coarse = self._coarse
        if not coarse or value < self._coarse_min:
            self._coarse_min = value
        self._coarse_max = max(self._coarse_max, value)
        bucket = _bucket(value)
        coarse[bucket] = coarse.get(bucket, 0) + count
        self._coarse_total += value * count

    def merge(self, other: Summary) -> None:
        """Add what the other one counted."""
        if any(other._exact):
            self._exact = list(map(add, self._exact, other._exact))
        if not other._coarse:
            return
        low = other._coarse_min
        self._coarse_min = min(self._coarse_min, low) if self._coarse else low
        self._coarse_max = max(self._coarse_max, other._coarse_max)
        self._coarse_total += other._coarse_total
        for bucket, count in other._coarse.items():
            self._coarse[bucket] = self._coarse.get(bucket, 0) + count

    def without(self, earlier: Summary) -> Summary:
        """What was added since this summary was a copy of `earlier`.

        Minimum and maximum are exact as far as its values are counted one by one.
        """
        later = Summary()
        later._exact = list(map(sub, self._exact, earlier._exact))
        for bucket, count in self._coarse.items():
            if more := count - earlier._coarse.get(bucket, 0):
                later._coarse[bucket] = more
        if later._coarse:
            later._coarse_total = self._coarse_total - earlier._coarse_total
            later._coarse_min = self._coarse_min
            later._coarse_max = self._coarse_max
            if earlier._coarse:
                later._coarse_min = _middle(min(later._coarse))
                later._coarse_max = min(_middle(max(later._coarse)), self._coarse_max)
        return later

    @property
    def count(self) -> int:
        """How many values were added."""
        return sum(self._exact) + sum(self._coarse.values())

    @property
    def total(self) -> int:
        """Their sum."""
        small: int = sum(map(mul, self._exact, _VALUES))
        return small + self._coarse_total

    @property
    def minimum(self) -> int:
        """0 when nothing was added."""
        return next(compress(_VALUES, self._exact), self._coarse_min)

    @property
    def maximum(self) -> int:
        """0 when nothing was added."""
        if self._coarse:
            return self._coarse_max
        return max(compress(_VALUES, self._exact), default=0)

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Values, those of larger ones rounded to the middle of a bucket, and how often they came.

        In ascending order.
        """
        exact = self._exact
        yield from zip(compress(_VALUES, exact), filter(None, exact), strict=True)
        for bucket in sorted(self._coarse):
            yield _middle(bucket), self._coarse[bucket]


def _bucket(value: int) -> int:
    """The number of the bucket of a value that has at least STEPS_BITS + 1 bits."""
    shift = value.bit_length() - STEPS_BITS - 1
    return (shift << STEPS_BITS) + (value >> shift)


def _middle(bucket: int) -> int:
    shift = (bucket >> STEPS_BITS) - 1
    return ((bucket - (shift << STEPS_BITS)) << shift) + ((1 << shift) >> 1)


def merged(*summaries: Summary) -> Summary:
    """Of everything that was counted by any of them."""
    whole = Summary()
    for summary in summaries:
        whole.merge(summary)
    return whole
