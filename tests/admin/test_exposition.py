"""The Prometheus endpoint against what Apache ZooKeeper exports in the same role."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from kraal.admin.http.exposition import WINDOW_MS, MetricsCollector, lines
from kraal.pipeline.counters import Counters
from kraal.replica.status import Figures
from kraal.server import metrics
from tests.admin.support import Source
from tests.admin.test_ensemble_words import source

GOLDEN = Path(__file__).parents[1] / "golden" / "prometheus-names.txt"
PROCESS = ("process_",)


def exported(role: str) -> dict[str, str]:
    """Names and types, as captured."""
    rows = (line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#"))
    return {
        name: kind
        for name, kind, where in rows
        if (where == "all" or role in where.split(",")) and not name.startswith(PROCESS)
    }


@pytest.mark.parametrize("role", ["standalone", "leader", "follower", "observer"])
def test_names_and_types_are_the_reference_s(role: str) -> None:
    member = Source() if role == "standalone" else source(role)
    text = "".join(lines(MetricsCollector(member).collect()))  # type: ignore[arg-type]
    types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE "))
    assert {n: kind for n, kind in types.items() if not n.startswith("kraal_")} == exported(role)


@dataclass
class Clocked(Source):
    """A source with counters of its own and a clock that is set."""

    now_ms: int = 0

    def __post_init__(self) -> None:
        self.counters = Counters(started_ms=0)

    def monotonic_ms(self) -> int:
        return self.now_ms

    def figures(self, *, lifetime: bool = False) -> Figures:
        return metrics.figures(
            self.status, self.counters, None, (), disk=(0, False), lifetime=lifetime
        )


def quantile(collector: MetricsCollector, name: str) -> dict[str, float]:
    family = next(each for each in collector.collect() if each is not None and each.name == name)
    return {
        sample.labels.get("quantile", sample.name.removeprefix(f"{name}_")): sample.value
        for sample in family.samples
    }


def test_quantiles_are_of_the_last_minutes_and_sums_of_the_whole_life() -> None:
    clocked = Clocked()
    collector = MetricsCollector(clocked)  # type: ignore[arg-type]
    assert math.isnan(quantile(collector, "updatelatency")["0.99"])
    for _ in range(100):
        clocked.counters.update_latency.add(50)
    assert quantile(collector, "updatelatency")["0.5"] == 50
    for minute in range(0, 14, 2):
        clocked.now_ms = minute * 60_000
        quantile(collector, "updatelatency")
    clocked.counters.update_latency.add(7)
    clocked.now_ms += WINDOW_MS
    shown = quantile(collector, "updatelatency")
    assert shown["0.5"] == 7
    assert shown["count"] == 101
    assert shown["sum"] == 5007


def test_labels_are_escaped() -> None:
    clocked = Clocked()
    clocked.counters.load.wrote(b'/a"b\\c\nd/x', 1, 1)
    text = "".join(lines(MetricsCollector(clocked).collect()))  # type: ignore[arg-type]
    assert r'write_per_namespace_count{key="a\"b\\c\nd"} 1.0' in text
