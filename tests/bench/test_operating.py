"""The benchmark of what operators ask runs, and its table says what it measured."""

from __future__ import annotations

from bench import operating
from bench.operating import ASKS, LOADS, Outcome, Plan, name_of


def test_a_small_run_measures_quiet_and_busy() -> None:
    plan = Plan(rounds=1, seconds=0.3, sessions=60, znodes=200)
    said: list[str] = []
    outcome = operating.run(plan, said.append)
    assert set(outcome.asked) == set(ASKS)
    for load in map(name_of, LOADS):
        for state in operating.STATES:
            assert outcome.middle(load, state, "operations") > 0
    text = operating.render(plan, outcome)
    assert all(load in text for load in map(name_of, LOADS))
    assert sum("quiet" in line for line in said) == len(LOADS)


def test_a_ratio_above_the_goal_is_marked() -> None:
    outcome = Outcome()
    for load in map(name_of, LOADS):
        for name in ("operations", "p50_us", "p99_us", "p999_us"):
            outcome.samples[load, "quiet", name] = [900.0, 1000.0, 5000.0]
            outcome.samples[load, "busy", name] = [100.0, 1290.0, 9000.0]
    assert operating.is_quiet_enough(outcome)
    assert "ABOVE" not in operating.render(Plan(), outcome)
    outcome.samples["read 48x1", "busy", "p99_us"] = [1310.0]
    assert not operating.is_quiet_enough(outcome)
    assert "1.31  ABOVE" in operating.render(Plan(), outcome)
