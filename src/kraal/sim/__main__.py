"""`python -m kraal.sim`: run seeds, and replay one that failed."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from time import monotonic

import click

from kraal.sim.profile import PROFILES
from kraal.sim.scenarios import SCENARIOS
from kraal.sim.summary import ALL_BUGS, Kind, Summary, summarise
from kraal.sim.world import World

TRACE_LINES = 400
PROGRESS_SECONDS = 10
FAILURES_MAX = 20
"""After so many it is clear."""


@click.command()
@click.option("--seeds", default=100, show_default=True, help="How many seeds.")
@click.option("--start", default=1, show_default=True, help="The first seed.")
@click.option(
    "--profile",
    default="faults",
    show_default=True,
    type=click.Choice(sorted(PROFILES)),
    help="What goes wrong.",
)
@click.option(
    "--recipe",
    type=click.Choice([*sorted(SCENARIOS), "all"]),
    help="Try the client or a recipe, instead of a profile.",
)
@click.option("--jobs", default=1, show_default=True, help="Processes.")
@click.option("--bug", type=click.Choice(sorted(ALL_BUGS)), help="Break something on purpose.")
@click.option("--trace", is_flag=True, help="Print the last events of every seed.")
@click.option("--lines", default=TRACE_LINES, show_default=True, help="How many of them.")
@click.option("--first", is_flag=True, help="Stop at the first violation.")
def main(
    seeds: int,
    start: int,
    profile: str,
    recipe: str | None,
    jobs: int,
    bug: str | None,
    trace: bool,
    lines: int,
    first: bool,
) -> None:
    """Run whole ensembles in virtual time; each seed is another story.

    With --recipe applications use the client in them as any application does.

    A seed fails when a promise is broken. The exit code is 1 then.
    """
    failures_max = 1 if first else FAILURES_MAX
    kinds = [Kind(profile, None, bug)]
    if recipe is not None:
        names = sorted(SCENARIOS) if recipe == "all" else [recipe]
        kinds = [Kind(profile, name, bug) for name in names]
    failed = 0
    for kind in kinds:
        if trace:
            for seed in range(start, start + seeds):
                _print_trace(seed, kind, lines)
        else:
            failed += _run_all(range(start, start + seeds), kind, jobs, failures_max)
    sys.exit(1 if failed else 0)


def _run_all(seeds: Sequence[int], kind: Kind, jobs: int, failures_max: int) -> int:
    """Run seeds and say what came of them; returns how many failed."""
    failed = done = 0
    began = told = monotonic()
    totals = [0, 0, 0]
    for done, summary in enumerate(_summaries(seeds, kind, jobs), 1):
        for at, value in enumerate((summary.virtual_ms, summary.transactions, summary.faults)):
            totals[at] += value
        if summary.violation is not None:
            failed += 1
            click.echo(f"seed {summary.seed} ({summary.virtual_ms} ms): {summary.violation}")
            click.echo(f"  replay: {kind.command(summary.seed)}")
            if failed == failures_max:
                break
        if monotonic() - told > PROGRESS_SECONDS:
            told = monotonic()
            click.echo(f"{done} seeds, {_pace(done, began)}, {failed} failed", err=True)
    click.echo(
        f"{done} seeds of {kind} ({_pace(done, began)}): {failed} failed; "
        f"{totals[0] // 60_000} minutes of virtual time, {totals[1]} transactions, "
        f"{totals[2]} faults"
    )
    return failed


def _pace(done: int, began: float) -> str:
    return f"{60 * done / max(monotonic() - began, 0.001):.0f} a minute"


def _summaries(seeds: Iterable[int], kind: Kind, jobs: int) -> Iterator[Summary]:
    one = partial(summarise, kind=kind)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(one, seeds, chunksize=4)


def _print_trace(seed: int, kind: Kind, lines: int) -> None:
    handler = _TraceHandler()
    logger = logging.getLogger("kraal")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    outcome = kind.run(seed, handler.watch)
    for line in outcome.world.trace_lines(lines):
        click.echo(line)
    if outcome.violation is not None and outcome.violation.__cause__ is not None:
        traceback.print_exception(outcome.violation.__cause__, file=sys.stdout)
    click.echo(f"seed {seed}: {outcome.violation or 'every promise was kept'}")


class _TraceHandler(logging.Handler):
    """Puts what the servers log among the events of the run."""

    def watch(self, world: World) -> None:
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note(record.name.removeprefix("kraal."), record.getMessage())


if __name__ == "__main__":
    main()
