"""Turns the samples of ensembles into tables of medians and ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench.cases import COLD_START, MEMORY, LoadCase
from bench.ensemble.cases import FAILOVER, LAG
from bench.ensemble.runner import MEMBERS, Plan
from bench.report import (
    TITLES,
    Figures,
    factor,
    label,
    latency_table,
    notes,
    number,
    table,
    throughput_table,
    versions,
)
from bench.runner import Sample

# case, figure, what it is, decimals, and what is shown of all samples
WHOLE_FIGURES: Sequence[tuple[str, str, str, int, Callable[[list[float]], float]]] = (
    (COLD_START, "seconds", "cold start of all to the first write (s)", 2, median),
    (FAILOVER, "pause_ms", "leader killed: longest pause of a client, median (ms)", 0, median),
    (FAILOVER, "pause_ms", "the same, worst (ms)", 0, max),
    (FAILOVER, "silence_ms", "leader killed: no write of anybody, median (ms)", 0, median),
    (FAILOVER, "silence_ms", "the same, worst (ms)", 0, max),
    (FAILOVER, "sessions_lost", "sessions lost by these kills", 0, sum),
    (LAG, "seconds", "a follower {lag_writes} writes behind, start to in step (s)", 2, median),
    (LAG, "per_second", "those writes, by the other two (1/s)", 0, median),
    (MEMORY, "leader_idle_mib", "resident memory of the leader, idle (MiB)", 0, median),
    (MEMORY, "follower_idle_mib", "of a follower, idle (MiB)", 0, median),
    (MEMORY, "leader_resident_mib", "of the leader after {znodes} znodes (MiB)", 0, median),
    (MEMORY, "follower_resident_mib", "of a follower after {znodes} znodes (MiB)", 0, median),
    (MEMORY, "leader_collected_mib", "leader after a full collection by the JVM (MiB)", 0, median),
    (MEMORY, "follower_collected_mib", "follower after a full collection (MiB)", 0, median),
)


def cores_table(figures: Figures, loads: Sequence[LoadCase]) -> str:
    """Who used the processors, and what an operation took of them in all members together.

    Other programs on the machine change that last figure less than any other.
    """
    servers = figures.servers
    head = ["cores used by"]
    for server in servers:
        head += [f"{TITLES[server]}: leader", "a follower", "load generator", "µs/operation"]
    rows = []
    for case in loads:
        row = [label(case)]
        for server in servers:
            leader, everyone, generator, cost = (
                figures.median(server, case.name, figure)
                for figure in ("leader_cores", "server_cores", "loader_cores", "server_us")
            )
            follower = None
            if leader is not None and everyone is not None:
                follower = (everyone - leader) / (MEMBERS - 1)
            row += [number(leader, 2), number(follower, 2), number(generator, 2), number(cost)]
        ratio = [factor(figures.ratio(case.name, "server_us"))] if len(servers) == 2 else []
        rows.append([*row, *ratio])
    return table([*head, "kraal / Apache"] if len(servers) == 2 else head, rows)


def whole_table(figures: Figures, plan: Plan) -> str:
    """What is measured on the ensemble as a whole; an empty string when nothing was."""
    servers = figures.servers
    rows = []
    for case, figure, title, decimals, shown in WHOLE_FIGURES:
        samples = [figures.values(server, case, figure) for server in servers]
        values = [shown(found) if found else None for found in samples]
        if all(value is None for value in values):
            continue
        amounts = {name: number(amount) for name, amount in plan.parameters.items()}
        row = [title.format(**amounts), *(number(value, decimals) for value in values)]
        if len(servers) == 2:
            theirs, ours = values
            row.append(factor(None if ours is None or not theirs else ours / theirs))
        rows.append(row)
    if not rows:
        return ""
    head = ["measure", *(TITLES[server] for server in servers)]
    return table([*head, "kraal / Apache"] if len(servers) == 2 else head, rows)


def render(plan: Plan, samples: Sequence[Sample], problems: Sequence[str] = ()) -> str:
    """The whole report as text."""
    figures = Figures(samples)
    measured = {sample.case for sample in samples}
    loads = [case for case in plan.selection.loads if case.name in measured]
    parts = [
        f"{versions()}.\nEnsembles of {MEMBERS}, all on this machine. Medians of {plan.rounds} "
        f"round(s), {plan.seconds:g} s per load, connections × outstanding requests per "
        "connection, spread over the members, 100-byte values, closed loop."
    ]
    if loads:
        parts += [
            throughput_table(figures, loads), latency_table(figures, loads),
            cores_table(figures, loads),
        ]  # fmt: skip
    parts += [part for part in (whole_table(figures, plan), *notes(figures, loads)) if part]
    parts += [f"NOT MEASURED: {problem}" for problem in problems]
    return "\n\n".join(parts)
