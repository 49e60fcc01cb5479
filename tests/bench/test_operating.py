"""The benchmark of what operators ask runs, and its table says what it measured."""

from __future__ import annotations

from bench import operating
from bench.operating import ASKS, FIGURES, LOADS, PACES, RATE, Outcome, Plan, Row, name_of


def test_a_small_run_measures_quiet_and_busy_at_a_rate_and_saturated() -> None:
    plan = Plan(servers=("kraal",), rounds=1, seconds=0.3, sessions=60, znodes=200)
    said: list[str] = []
    outcome = operating.run(plan, said.append)
    assert set(outcome.asked) == {("kraal", ask) for ask in ASKS}
    text = operating.render(plan, outcome)
    for load in map(name_of, LOADS):
        for pace in PACES:
            row = Row("kraal", pace, load)
            assert all(outcome.middle(row, state, "per_second") > 0 for state in operating.STATES)
        assert text.count(load) == len(PACES)
    assert sum(line.endswith("quiet") for line in said) == len(LOADS) * len(PACES)


def test_a_ratio_above_the_goal_is_marked() -> None:
    outcome = Outcome()
    rows = [Row("kraal", pace, name_of(load)) for pace in PACES for load in LOADS]
    for row in rows:
        for name in FIGURES:
            outcome.samples[row, "quiet", name] = [900.0, 1000.0, 5000.0]
            outcome.samples[row, "busy", name] = [100.0, 1290.0, 9000.0]
    assert operating.is_quiet_enough(outcome)
    assert "ABOVE" not in operating.render(Plan(), outcome)
    outcome.samples[Row("kraal", RATE, "read 48x1"), "busy", "p99_us"] = [1310.0]
    assert not operating.is_quiet_enough(outcome)
    assert "1.31  ABOVE" in operating.render(Plan(), outcome)


def test_only_kraal_at_a_rate_is_held_to_the_goal() -> None:
    outcome = Outcome()
    for row in (Row("apache", RATE, "read 48x1"), Row("kraal", operating.SATURATED, "read 48x1")):
        outcome.samples[row, "quiet", "p99_us"] = [1.0]
        outcome.samples[row, "busy", "p99_us"] = [9.0]
    assert operating.is_quiet_enough(outcome)
