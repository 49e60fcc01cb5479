"""Recipes of `kraal.sync` in processes that are killed, on servers that are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.processes_under_faults import Plan, run
from tests.support.ensembles import APACHE, KRAAL
from tests.support.servers import require_reference


@pytest.mark.timeout(180)
def test_on_an_ensemble_of_kraal(tmp_path: Path) -> None:
    print(run(Plan(kind=KRAAL, seconds=5.0, seed=1, processes=3), tmp_path, print))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("count", [1, 3])
def test_on_kraal_for_long(count: int, seed: int, tmp_path: Path) -> None:
    print(run(Plan(kind=KRAAL, count=count, seconds=120.0, seed=seed), tmp_path, print))


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [1, 3])
def test_on_apache_for_long(count: int, tmp_path: Path) -> None:
    require_reference(APACHE.partition("-")[2])
    print(run(Plan(kind=APACHE, count=count, seconds=120.0, seed=13), tmp_path, print))
