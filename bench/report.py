"""Turns samples into tables of medians and ratios, and into JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench import cases
from bench.runner import Plan, Sample
from tests.support.servers import REFERENCE_VERSION, ROOT

TITLES = {"apache": f"Apache {REFERENCE_VERSION}", "kraal": "kraal"}
PERCENTILES = (("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9"))
LOADER_LIMIT = 0.9  # of a core
OTHERS_LIMIT = 0.2

# case, figure, what it is, decimals
WHOLE_FIGURES = (
    (cases.MEMORY, "resident_mib", "resident memory, {} znodes (MiB)", 0),
    (cases.MEMORY, "collected_mib", "the same after a full collection by the JVM (MiB)", 0),
    (cases.MEMORY, "peak_mib", "peak resident memory (MiB)", 0),
    (cases.MEMORY, "fill_per_second", "creates while filling, from a cold server (1/s)", 0),
    (cases.RECOVERY, "seconds", "restart after SIGKILL (s)", 2),
    (cases.RECOVERY, "replayed", "transactions that this replayed from the log", 0),
    (cases.COLD_START, "seconds", "cold start, empty data directory (s)", 2),
)


class Figures:
    """The samples of a run, looked up by server, case and figure."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    @property
    def servers(self) -> list[str]:
        return [name for name in TITLES if any(s.server == name for s in self._samples)]

    def values(self, server: str, case: str, figure: str) -> list[float]:
        return [
            sample.figures[figure] for sample in self._samples
            if (sample.server, sample.case) == (server, case) and figure in sample.figures
        ]  # fmt: skip

    def median(self, server: str, case: str, figure: str) -> float | None:
        values = self.values(server, case, figure)
        return median(values) if values else None

    def ratio(self, case: str, figure: str) -> float | None:
        """kraal's median over Apache's."""
        ours = self.median("kraal", case, figure)
        theirs = self.median("apache", case, figure)
        return None if ours is None or not theirs else ours / theirs


def number(value: float | None, decimals: int = 0) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}".replace(",", " ")


def factor(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table that also lines up as plain text."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "| " + " | ".join([first, *rest]) + " |"

    marks = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(marks), *(line(row) for row in rows)])


def label(case: cases.LoadCase) -> str:
    return f"{case.mode} {case.connections}×{case.outstanding}"


def throughput_table(figures: Figures, loads: Sequence[cases.LoadCase]) -> str:
    servers = figures.servers
    both = len(servers) == 2
    head = ["operations/s"]
    for server in servers:
        head += [TITLES[server], "range", "cores"]
    rows = []
    for case in loads:
        row = [label(case)]
        for server in servers:
            values = figures.values(server, case.name, "per_second")
            span = f"{number(min(values))}–{number(max(values))}" if len(values) > 1 else "–"
            cores = figures.median(server, case.name, "server_cores")
            row += [
                number(figures.median(server, case.name, "per_second")), span, number(cores, 2)
            ]  # fmt: skip
        rows.append([*row, factor(figures.ratio(case.name, "per_second"))] if both else row)
    return table([*head, "kraal / Apache"] if both else head, rows)


def latency_table(figures: Figures, loads: Sequence[cases.LoadCase]) -> str:
    servers = figures.servers
    both = len(servers) == 2
    head = ["latency, µs"]
    for server in servers:
        head += [f"{TITLES[server]} {name}" for _, name in PERCENTILES]
    rows = []
    for case in loads:
        row = [label(case)]
        for server in servers:
            row += [number(figures.median(server, case.name, key)) for key, _ in PERCENTILES]
        if both:
            row += [factor(figures.ratio(case.name, key)) for key, _ in PERCENTILES]
        rows.append(row)
    return table([*head, *(f"ratio {name}" for _, name in PERCENTILES)] if both else head, rows)


def whole_table(figures: Figures, znodes: int) -> str:
    """Memory, recovery and start; an empty string when none was measured."""
    servers = figures.servers
    rows = []
    for case, key, title, decimals in WHOLE_FIGURES:
        medians = [figures.median(server, case, key) for server in servers]
        if all(value is None for value in medians):
            continue
        row = [title.format(number(znodes)), *(number(value, decimals) for value in medians)]
        rows.append([*row, factor(figures.ratio(case, key))] if len(servers) == 2 else row)
    if not rows:
        return ""
    head = ["measure", *(TITLES[server] for server in servers)]
    return table([*head, "kraal / Apache"] if len(servers) == 2 else head, rows)


def notes(figures: Figures, loads: Sequence[cases.LoadCase]) -> list[str]:
    """What a reader of the tables has to know about this run."""

    def above(figure: str, limit: float) -> str:
        pairs = [(case, server) for case in loads for server in figures.servers]
        found = [
            f"{label(case)} ({TITLES[server]})" for case, server in pairs
            if (figures.median(server, case.name, figure) or 0) > limit
        ]  # fmt: skip
        return "every load" if len(found) == len(pairs) > 1 else ", ".join(found)

    limited, disturbed = above("loader_cores", LOADER_LIMIT), above("other_cores", OTHERS_LIMIT)
    result = []
    if limited:
        result.append(f"The load generator used its whole core, the server may do more: {limited}.")
    if disturbed:
        result.append(f"Other programs took processor time, do not trust: {disturbed}.")
    return result


def versions() -> str:
    """The machine and the programs, in one line."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    parts = [
        f"{os.cpu_count()} × {model}", f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
    ]  # fmt: skip
    if shutil.which("java"):
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
        parts.append(done.stderr.partition("\n")[0].replace('"', ""))
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode == 0:
        parts.append(f"kraal at {done.stdout.strip()}")
    return "; ".join(parts)


def render(plan: Plan, samples: Sequence[Sample]) -> str:
    """The whole report as text."""
    figures = Figures(samples)
    measured = {sample.case for sample in samples}
    loads = [case for case in plan.selection.loads if case.name in measured]
    parts = [
        f"{versions()}.\nMedians of {plan.rounds} round(s), {plan.seconds:g} s per load, "
        "connections × outstanding requests per connection, 100-byte values, closed loop."
    ]
    if loads:
        parts += [throughput_table(figures, loads), latency_table(figures, loads)]
    parts += [part for part in (whole_table(figures, plan.znodes), *notes(figures, loads)) if part]
    return "\n\n".join(parts)


def write_json(path: Path, parameters: Mapping[str, float], samples: Sequence[Sample]) -> None:
    """Every sample of the run, for other programs."""
    content = {
        "environment": versions(),
        **parameters,
        "samples": [
            {"server": s.server, "case": s.case, "round": s.round, **s.figures} for s in samples
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
