"""Backups of servers that are written to: exact, and whole in a fresh ensemble."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.backup_check import SOURCES, WAYS, Plan, Result, run
from tests.support.servers import require_reference


def check(plan: Plan, directory: Path) -> list[Result]:
    if "apache" in plan.source or plan.target != "kraal":
        require_reference()
    results = run(plan, directory)
    assert not [result.lost for result in results if result.lost]
    assert all(result.acknowledged and result.later for result in results if not result.refused)
    return results


@pytest.mark.timeout(180)
def test_a_backup_of_an_ensemble_that_is_written_to(tmp_path: Path) -> None:
    plan = Plan(source="kraal-3", seconds=3.0, backups=2)
    assert not any(result.refused for result in check(plan, tmp_path))


@pytest.mark.apache
@pytest.mark.timeout(180)
def test_a_snapshot_of_apache_is_exact_or_refused(tmp_path: Path) -> None:
    check(Plan(source="apache", seconds=3.0, backups=1, znodes=500), tmp_path)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", SOURCES)
def test_backups_at_1000_writes_a_second(source: str, way: str, tmp_path: Path) -> None:
    plan = Plan(source=source, way=way, seconds=20.0, backups=4, znodes=50_000)
    refused = [result for result in check(plan, tmp_path) if result.refused]
    assert not refused or (source, way) in {("apache", "http"), ("apache-3", "http")}
