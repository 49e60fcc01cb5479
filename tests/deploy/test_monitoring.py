"""The dashboard and the alert rules ask for metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kraal.admin.http.exposition import MetricsCollector
from tests.admin.support import Source
from tests.admin.test_ensemble_words import source

DEPLOY = Path(__file__).parents[2] / "deploy"
FUNCTIONS = {
    "rate", "increase", "sum", "by", "histogram_quantile", "predict_linear", "absent", "bool", "or",
    "label_values", "time",
}  # fmt: skip
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "up"}


def exported() -> set[str]:
    """Every name of a sample, in any role."""
    members = (Source(expiry_s=1), source("leader"), source("follower"))
    return {
        name
        for member in members
        for family in MetricsCollector(member).collect()  # type: ignore[arg-type]
        if family is not None
        for name in (family.name, *(sample.name for sample in family.samples))
    } | {f"{name}_sum" for name in ("read_per_namespace", "write_per_namespace")}


def names(expression: str) -> set[str]:
    """Names of metrics in an expression of PromQL."""
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^\]]*\]|by \([^)]*\)", " ", expression)
    words = set(re.findall(r"[a-z_][a-z0-9_]*", bare))
    return {word for word in words if word not in FUNCTIONS and not re.fullmatch(r"e\d+", word)}


def expressions() -> Iterator[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "kraal.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for line in (DEPLOY / "prometheus" / "alerts.yml").read_text().splitlines():
        if found := re.fullmatch(r" +expr: '(.*)'", line):
            yield found[1]


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_metric_exists(expression: str) -> None:
    asked = names(expression)
    assert asked
    assert asked - PROCESS <= exported()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana" / "kraal.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))


def test_every_alert_says_what_and_why() -> None:
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    alerts = re.split(r"\n +- alert: ", text)[1:]
    assert len(alerts) > 10
    for alert in alerts:
        assert {"expr:", "severity:", "summary:", "description:"} <= set(re.findall(r"\w+:", alert))
