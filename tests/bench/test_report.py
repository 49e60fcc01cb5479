"""The report shows medians and ratios of what was measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import cases, profiling, report
from bench.__main__ import make_plan, parse_arguments
from bench.runner import Plan, Sample


def load_sample(server: str, number: int, per_second: float) -> Sample:
    figures = {
        "per_second": per_second, "p50_us": 1e8 / per_second, "p99_us": 2e8 / per_second,
        "p999_us": 5e8 / per_second, "server_cores": 1.25, "loader_cores": 0.5,
        "other_cores": 0.01,
    }  # fmt: skip
    return Sample(server, "read-10x100", number, figures)


SAMPLES = [
    *(load_sample("apache", n, rate) for n, rate in enumerate((50_000, 60_000, 40_000), 1)),
    *(load_sample("kraal", n, rate) for n, rate in enumerate((100_000, 150_000, 90_000), 1)),
    Sample("apache", "recovery", 1, {"seconds": 8.0, "replayed": 1000.0}),
    Sample("kraal", "recovery", 1, {"seconds": 2.0, "replayed": 2000.0}),
]


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_medians_and_ratios() -> None:
    text = report.render(Plan(cases.select()), SAMPLES)
    assert cells(text, "read 10×100") == [
        "50 000", "40 000–60 000", "1.25", "100 000", "90 000–150 000", "1.25", "2.00",
    ]  # fmt: skip
    assert cells(text, "restart after SIGKILL (s)") == ["8.00", "2.00", "0.25"]
    assert "write" not in text
    assert "load generator used" not in text
    assert "Other programs" not in text


def test_one_server_has_no_ratios() -> None:
    samples = [sample for sample in SAMPLES if sample.server == "kraal"]
    text = report.render(Plan(cases.select()), samples)
    assert cells(text, "restart after SIGKILL (s)") == ["2.00"]
    assert "Apache" not in text


@pytest.mark.parametrize(
    ("figure", "words"), [("loader_cores", "load generator"), ("other_cores", "Other programs")]
)
def test_doubtful_figures_are_named(figure: str, words: str) -> None:
    sample = load_sample("kraal", 1, 100_000)
    busy = Sample(sample.server, sample.case, 1, {**sample.figures, figure: 0.97})
    last = report.render(Plan(cases.select()), [busy]).splitlines()[-1]
    assert words in last
    assert "read 10×100 (kraal)" in last


def test_json_holds_every_sample(tmp_path: Path) -> None:
    parameters = Plan(cases.select()).parameters
    report.write_json(tmp_path / "out.json", parameters, SAMPLES)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["rounds"] == 3
    assert len(content["samples"]) == len(SAMPLES)


def test_only_selects_by_name() -> None:
    selection = cases.select("^read|recovery")
    assert selection.names == ["read-1x1", "read-50x1", "read-10x100", "recovery"]
    assert cases.select("10x100").modes == list(cases.OPERATIONS)


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--only", "("], ["--rounds", "0"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)


def test_runs_fit_their_time() -> None:
    assert make_plan(parse_arguments([])).estimate() < 25 * 60
    assert make_plan(parse_arguments(["--quick"])).estimate() < 4 * 60


def test_collapsed_stacks_become_shares(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_text("run (loop.py:1);read (tree.py:2) 30\nrun (loop.py:1) 10\n")
    lines = profiling.py_spy_report(raw).splitlines()
    assert lines[1].split() == ["75.0", "%", "75.0", "%", "read", "(tree.py:2)"]
    assert lines[2].split() == ["25.0", "%", "100.0", "%", "run", "(loop.py:1)"]
