"""The metrics for Prometheus, by the reference's names and types.

Figures are read when somebody scrapes; nothing is kept for Prometheus between scrapes but old
copies of summaries, from which the quantiles of the last minutes are worked out.
Source: reference/operations.md section 4.1.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from math import inf, nan

from prometheus_client.core import Metric as Family

from kraal.admin.catalogue import CATALOGUE, Kind, Metric, Where
from kraal.admin.source import AdminSource
from kraal.replica.status import Distribution, Figures, Mode

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WINDOW_MS, STEP_MS = 600_000, 120_000
"""Quantiles are of the last ten minutes, which move on by two."""
_QUANTILES = {Kind.BASIC: (0.5,), Kind.ADVANCED: (0.5, 0.9, 0.99)}
_PLAIN = {Kind.GAUGE: "gauge", Kind.COUNTER: "counter"}
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
HISTOGRAMS = {
    "kraal_read_latency_ms": ("readlatency", "Latency of reads, ms."),
    "kraal_update_latency_ms": ("updatelatency", "Latency of writes, ms."),
    "kraal_fsync_time_ms": ("fsynctime", "Time to write and sync the log, ms."),
}
"""Histograms that the reference has not: name, whose values, meaning."""
Buckets = tuple[tuple[int, int], ...]


def _number(value: float) -> str:
    """As Go and Java read it."""
    text = repr(float(value))
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text, text)


class MetricsCollector:
    """Turns a server's figures into families of samples."""

    def __init__(self, source: AdminSource) -> None:
        self._source = source
        self._before: deque[tuple[int, dict[str, Buckets]]] = deque()
        """Copies of all summaries, STEP_MS apart, the oldest of which is WINDOW_MS old."""

    def collect(self) -> Iterator[Family | None]:
        """What is to be scraped; None in between, where others may have a turn."""
        figures = self._source.figures(lifetime=True)
        before = self._window(figures)
        # A follower has no observers unless it serves some; the reference exports 0 then.
        follows = self._source.server_status().mode is Mode.FOLLOWER
        exported = (Where.ALL, Where.OBSERVED) if follows else (Where.ALL,)
        for metric in CATALOGUE:
            if metric.name not in figures.numbers and metric.where not in exported:
                continue
            family = Family(metric.name, metric.meaning, _type_of(metric))
            if metric.kind in _PLAIN:
                _add_numbers(family, metric, figures)
            else:
                for _ in _add_summaries(family, metric, figures, before):
                    yield None
            yield family
        for name, (summary, meaning) in HISTOGRAMS.items():
            yield _histogram(name, meaning, figures.summaries[summary])

    def _window(self, figures: Figures) -> Mapping[str, Buckets]:
        """The summaries as they were when the window began; empty: it has not yet."""
        now_ms, kept = self._source.monotonic_ms(), self._before
        if not kept or now_ms - kept[-1][0] >= STEP_MS:
            summaries = dict(_all_summaries(figures))
            copy = {key: tuple(summary.buckets) for key, summary in summaries.items()}
            kept.append((now_ms, copy if kept else {}))
        while len(kept) > 1 and now_ms - kept[1][0] >= WINDOW_MS:
            kept.popleft()
        return kept[0][1]


def _type_of(metric: Metric) -> str:
    return _PLAIN.get(metric.kind, "summary")


def _all_summaries(figures: Figures) -> Iterator[tuple[str, Distribution]]:
    yield from figures.summaries.items()
    for name, by_key in figures.summary_sets.items():
        for key, summary in by_key.items():
            yield f"{name}/{key}", summary


def _add_numbers(family: Family, metric: Metric, figures: Figures) -> None:
    if metric.is_set:
        for key, value in figures.sets.get(metric.name, {}).items():
            family.add_sample(metric.name, {"key": key}, value)
    else:
        family.add_sample(metric.name, {}, figures.numbers.get(metric.name, 0))


def _add_summaries(
    family: Family, metric: Metric, figures: Figures, before: Mapping[str, Buckets]
) -> Iterator[None]:
    name = metric.name
    rows: Iterable[tuple[dict[str, str], str, Distribution]]
    if metric.is_set:
        rows = (
            ({"key": key}, f"{name}/{key}", summary)
            for key, summary in figures.summary_sets.get(name, {}).items()
        )
    else:
        rows = [({}, name, figures.summaries.get(name, Distribution()))]
    for labels, key, summary in rows:
        recent = _recent(summary, before.get(key, ()))
        for quantile in _QUANTILES[metric.kind]:
            value = recent.percentile(quantile) if recent.count else nan
            family.add_sample(name, {**labels, "quantile": str(quantile)}, value)
        family.add_sample(f"{name}_count", labels, summary.count)
        family.add_sample(f"{name}_sum", labels, summary.total)
        yield


def _recent(summary: Distribution, before: Buckets) -> Distribution:
    """What was added since."""
    added = Counter(dict(summary.buckets))
    added.subtract(dict(before))
    rows = tuple((value, count) for value, count in sorted(added.items()) if count > 0)
    if not rows:
        return Distribution()
    count = sum(count for _, count in rows)
    return Distribution(minimum=rows[0][0], maximum=rows[-1][0], count=count, buckets=rows)


def _histogram(name: str, meaning: str, summary: Distribution) -> Family:
    family = Family(name, meaning, "histogram")
    for bound in (*BOUNDS_MS, inf):
        count = sum(count for value, count in summary.buckets if value <= bound)
        family.add_sample(f"{name}_bucket", {"le": _number(bound)}, count)
    family.add_sample(f"{name}_count", {}, summary.count)
    family.add_sample(f"{name}_sum", {}, summary.total)
    return family


def lines(families: Iterable[Family | None], names: frozenset[str] = frozenset()) -> Iterator[str]:
    """The text format 0.0.4; with `names` only samples of these names.

    As the reference writes it: counters have no `_total`, which `prometheus_client` would add.
    """
    for family in families:
        if family is None:
            yield ""
            continue
        samples = [sample for sample in family.samples if not names or sample.name in names]
        if names and not samples:
            continue
        # The process's own counters are named after their samples.
        name = samples[0].name if samples and family.type == "counter" else family.name
        meaning = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {name} {meaning}\n# TYPE {name} {family.type}\n"
        for sample in samples:
            yield f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{shown}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
