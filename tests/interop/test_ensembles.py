"""Ensembles of kraal, of Apache ZooKeeper, and of both: nothing that was promised is broken."""

from __future__ import annotations

import pytest

from tests.interop.ensemble_chaos import Plan, run
from tests.interop.ensemble_trial import Figures
from tests.support.ensembles import APACHE, APACHE_BEFORE, KRAAL
from tests.support.links import LinksMissingError, build_resolver
from tests.support.servers import require_reference

SHORT = 0.2
LONG = 10.0
THERE_AND_BACK = ((APACHE, APACHE_BEFORE), (APACHE_BEFORE, APACHE))
MIXTURES = (
    (KRAAL, KRAAL, APACHE), (APACHE, APACHE, KRAAL), (KRAAL, APACHE_BEFORE, APACHE),
    (KRAAL, KRAAL, APACHE, APACHE, KRAAL),
)  # fmt: skip


def check(plan: Plan) -> Figures:
    """Run a plan, with the releases of Apache ZooKeeper that it needs."""
    replacements = [other for _, other in plan.replacements if "rolling" in plan.scenarios]
    for kind in {*plan.members, *plan.observers, *replacements} - {KRAAL}:
        require_reference(kind.partition("-")[2])
    try:
        build_resolver()
    except LinksMissingError as error:
        pytest.skip(str(error))
    figures = run(plan, print)
    print(figures)
    assert figures.findings == []
    return figures


def name(kinds: tuple[str, ...]) -> str:
    return ",".join(kinds)


# ---- Short ----------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_an_ensemble_of_kraal_keeps_its_promises_under_faults() -> None:
    plan = Plan(members=(KRAAL, KRAAL, KRAAL), observers=(KRAAL,), scenarios=("chaos",),
                minutes=SHORT, seed=11)  # fmt: skip
    assert check(plan).counted["acknowledged"] > 500


@pytest.mark.apache
@pytest.mark.timeout(180)
def test_every_kind_leads_in_a_mixed_ensemble() -> None:
    plan = Plan(members=(KRAAL, APACHE, KRAAL), scenarios=("leaders",), minutes=0)
    assert {KRAAL, APACHE} <= set(check(plan).led)


@pytest.mark.apache
@pytest.mark.timeout(240)
def test_members_are_replaced_by_the_other_kind_and_back() -> None:
    check(Plan(members=(APACHE, APACHE, APACHE), scenarios=("rolling",), minutes=0))


@pytest.mark.timeout(180)
def test_an_ensemble_that_speaks_tls_keeps_its_promises_under_faults() -> None:
    plan = Plan(members=(KRAAL, KRAAL, KRAAL), observers=(KRAAL,), scenarios=("chaos",),
                minutes=SHORT, seed=12, tls=True)  # fmt: skip
    assert check(plan).counted["acknowledged"] > 500


# ---- Long -----------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("count", [3, 5])
def test_ensembles_of_kraal_under_many_faults(count: int, seed: int) -> None:
    plan = Plan(members=(KRAAL,) * count, observers=(KRAAL,), scenarios=("leaders", "chaos"),
                minutes=LONG, seed=seed)  # fmt: skip
    check(plan)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_mixture_that_speaks_tls_under_many_faults() -> None:
    check(Plan(members=(KRAAL, APACHE, KRAAL), observers=(KRAAL,), minutes=LONG, tls=True))


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("members", MIXTURES, ids=name)
def test_mixtures_under_many_faults(members: tuple[str, ...]) -> None:
    check(Plan(members=members, observers=(KRAAL, APACHE), minutes=LONG, seed=3))


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_reference_keeps_the_same_promises() -> None:
    """A broken promise here would mean that the judge expects something else."""
    plan = Plan(members=(APACHE, APACHE_BEFORE, APACHE), observers=(APACHE,),
                minutes=LONG / 2, seed=4, replacements=THERE_AND_BACK)  # fmt: skip
    check(plan)
