"""The client and every recipe on kraal and on Apache ZooKeeper alike, while servers fail."""

from __future__ import annotations

import pytest

from kraal.sim.scenarios import SCENARIOS
from tests.interop.recipes_under_faults import Figures, Plan, run
from tests.support.ensembles import APACHE, KRAAL
from tests.support.servers import require_reference

SHORT_S = 6.0
LONG_S = 240.0
ALONE, TOGETHER = 1, 3


def check(plan: Plan) -> Figures:
    if plan.kind != KRAAL:
        require_reference(plan.kind.partition("-")[2])
    figures = run(plan, print)
    print(figures)
    assert min(figures.operations[name] for name in plan.recipes) > 0
    return figures


@pytest.mark.timeout(240)
def test_every_recipe_on_an_ensemble_of_kraal() -> None:
    check(Plan(kind=KRAAL, seconds=SHORT_S, seed=1))


@pytest.mark.apache
@pytest.mark.timeout(240)
def test_every_recipe_on_an_ensemble_of_apache() -> None:
    check(Plan(kind=APACHE, seconds=SHORT_S, seed=2))


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("count", [ALONE, TOGETHER])
def test_every_recipe_on_kraal_for_long(count: int, seed: int) -> None:
    check(Plan(kind=KRAAL, count=count, seconds=LONG_S, seed=seed, actors=3))


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [ALONE, TOGETHER])
def test_every_recipe_on_apache_for_long(count: int) -> None:
    check(Plan(kind=APACHE, count=count, seconds=LONG_S, seed=13, actors=3))


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("recipe", SCENARIOS)
def test_a_recipe_alone_with_many_users(recipe: str) -> None:
    check(Plan(kind=KRAAL, seconds=30.0, seed=14, recipes=(recipe,), actors=6))
