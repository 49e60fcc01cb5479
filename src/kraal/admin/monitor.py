"""What `mntr` and the admin command `monitor` say: the same names and values.

The catalogue gives the names and their order, the server the figures; a metric of which the
server has nothing to say is 0. Source: reference/operations.md section 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from kraal.admin import java_text
from kraal.admin.catalogue import CATALOGUE, Kind, Where
from kraal.admin.source import StatusSource
from kraal.admin.version import VERSION
from kraal.replica.status import Distribution, EnsembleStatus, ServerStatus

Value = str | int | float
_PERCENTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))


def entries(source: StatusSource, status: ServerStatus) -> Iterator[tuple[str, Value]]:
    """Names, without the `zk_` of `mntr`, and values."""
    yield "version", VERSION
    yield "server_state", str(status.mode)
    yield from _peer(status.ensemble)
    figures = source.figures()
    for metric in CATALOGUE:
        name = metric.name
        if metric.kind in (Kind.GAUGE, Kind.COUNTER):
            if metric.is_set:
                for key, value in figures.sets.get(name, {}).items():
                    yield f"{key}_{name}", value
            elif name in figures.numbers or metric.where is Where.ALL:
                yield name, figures.numbers.get(name, 0.0 if name in _REAL else 0)
        elif metric.is_set:
            for key, summary in figures.summary_sets.get(name, {}).items():
                yield from _summary(f"{key}_{name}", metric.kind, summary)
        else:
            summary = figures.summaries.get(name, Distribution())
            yield from _summary(name, metric.kind, summary)


_REAL = frozenset({"connection_drop_probability"})
"""Gauges that are no whole numbers."""


def _peer(status: EnsembleStatus | None) -> Iterator[tuple[str, Value]]:
    if status is not None and status.peer_state is not None:
        yield "peer_state", status.peer_state
        if status.observer_master_id is not None:
            yield "observer_master_id", status.observer_master_id


def _summary(name: str, kind: Kind, summary: Distribution) -> Iterator[tuple[str, Value]]:
    yield f"avg_{name}", java_text.average(summary.average)
    yield f"min_{name}", summary.minimum
    yield f"max_{name}", summary.maximum
    yield f"cnt_{name}", summary.count
    yield f"sum_{name}", summary.total
    if kind is Kind.ADVANCED:
        for prefix, share in _PERCENTILES:
            yield f"{prefix}_{name}", math.floor(summary.percentile(share) + 0.5)
