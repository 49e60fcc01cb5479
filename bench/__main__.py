"""`python -m bench`: kraal and Apache ZooKeeper under the same load on this machine."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
from pathlib import Path

from bench import cases, loader, operating, profiling, report
from bench.ensemble import cases as ensemble_cases
from bench.ensemble import report as ensemble_report
from bench.ensemble import runner as ensemble_runner
from bench.runner import Plan, Run
from tests.support.servers import ReferenceMissingError

DESCRIPTION = """\
Starts Apache ZooKeeper and kraal in turn, each on an empty data directory on the same disk,
drives both with the same compiled load generator and prints medians and ratios. Progress goes
to standard error. Nothing else should run on the machine meanwhile."""

FAILURES = (
    loader.LoaderError, ReferenceMissingError, RuntimeError, OSError, subprocess.SubprocessError,
    KeyboardInterrupt,
)  # fmt: skip


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--ensemble", action="store_true",
        help="three servers of each, and what happens when one of them dies")  # fmt: skip
    add(
        "--operating",
        action="store_true",
        help="what clients notice while 10 000 sessions watch, metrics are scraped, cons and wchp "
        "asked for each second, and backups made; quiet and busy in turn, at half of what a server "
        "can do and saturated (about 2.5 minutes for each server and 2 rounds of 3 s)",
    )
    add("--pace", choices=operating.PACES, help="only one of both with --operating")
    add("--share", type=float, default=operating.Plan.share,
        help="the rate of --operating, a part of what the server can do at most (0.5)")  # fmt: skip
    add("--sessions", type=int, help="sessions with --operating (10 000)")
    add("--quick", action="store_true", help="1 round, 2 s per load, a tenth of the znodes")
    add("--rounds", type=int, help="rounds, each with every case on every server (3)")
    add("--seconds", type=float, help="measured seconds per load (4)")
    add("--znodes", type=int,
        help="znodes for memory and recovery (1 000 000; in an ensemble 100 000)")  # fmt: skip
    add("--kills", type=int, help="leaders killed in each round of an ensemble (3)")
    add("--lag-writes", type=int, help="writes that a stopped follower misses (500 000)")
    add("--only", default="", metavar="PATTERN",
        help="only cases whose name matches this regular expression; see --list. With "
        "--operating: of metrics,cons,wchp,backup. With --ensemble also a list: "
        "reads,writes,creates,cold-start,memory,failover,lag")  # fmt: skip
    add("--server", choices=("apache", "kraal", "both"), default="both")
    add("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    add("--list", action="store_true", help="print the names of the cases and stop")
    add("--profile", nargs="?", const="auto", choices=profiling.TOOLS,
        help="profile kraal under the selected loads instead (read and write 10x100)")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.operating:
        if options.ensemble or options.profile:
            parser.error("--operating: one server only, and not profiled")
        options.asks = [ask for ask in operating.ASKS if re.search(options.only, ask)]
        options.only = ""
    if options.ensemble and options.profile:
        parser.error("--profile: one server only")
    try:
        select = ensemble_cases.select if options.ensemble else cases.select
        options.selection = select(options.only)
    except re.error as error:
        parser.error(f"--only: {error}")
    if not options.selection.names:
        parser.error(f"--only {options.only}: no such case; --list prints them")
    for name in ("rounds", "seconds", "znodes", "kills", "lag_writes", "sessions"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be positive")
    if not 0 < options.share <= 1:
        parser.error("--share must be above 0 and at most 1")
    return options


def make_plan(options: argparse.Namespace) -> Plan:
    quick: bool = options.quick
    return Plan(
        selection=options.selection,
        servers=("apache", "kraal") if options.server == "both" else (options.server,),
        rounds=options.rounds or (1 if quick else 3),
        seconds=options.seconds or (2.0 if quick else 4.0),
        server_warm_up=5.0 if quick else 10.0,
        znodes=options.znodes or (100_000 if quick else 1_000_000),
    )


def make_ensemble_plan(options: argparse.Namespace) -> ensemble_runner.Plan:
    quick: bool = options.quick
    return ensemble_runner.Plan(
        selection=options.selection,
        servers=("apache", "kraal") if options.server == "both" else (options.server,),
        rounds=options.rounds or (1 if quick else 3),
        seconds=options.seconds or (2.0 if quick else 4.0),
        server_warm_up=5.0 if quick else 10.0,
        kills=options.kills or (2 if quick else 3),
        lag_writes=options.lag_writes or (50_000 if quick else 500_000),
        znodes=options.znodes or (10_000 if quick else 100_000),
    )


def complain(error: BaseException) -> None:
    """Say what ended the run, with where the log of the server is."""
    lines = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
    print("bench: " + "\n".join(lines), file=sys.stderr)


def run_profile(options: argparse.Namespace) -> int:
    pattern = options.only or "^(read|write)-10x100$"
    loads = cases.select(pattern).loads
    print(profiling.profile(options.profile, loads, options.seconds or 5.0))
    return 0


def run_cases(options: argparse.Namespace) -> int:
    plan = make_plan(options)
    run = Run(plan)
    status = 0
    try:
        run.execute()
    except FAILURES as error:
        complain(error)
        status = 1
    # What was measured before a failure is still worth reading.
    if run.samples:
        print(report.render(plan, run.samples))
        if options.json is not None:
            report.write_json(options.json, plan.parameters, run.samples)
    return status


def run_ensemble(options: argparse.Namespace) -> int:
    plan = make_ensemble_plan(options)
    run = ensemble_runner.Run(plan)
    status = 0
    try:
        run.execute()
    except FAILURES as error:
        complain(error)
        status = 1
    if run.samples or run.problems:
        print(ensemble_report.render(plan, run.samples, run.problems))
    if run.samples and options.json is not None:
        report.write_json(options.json, plan.parameters, run.samples)
    return 1 if run.problems else status


def run_operating(options: argparse.Namespace) -> int:
    quick: bool = options.quick
    plan = operating.Plan(
        servers=("apache", "kraal") if options.server == "both" else (options.server,),
        paces=(options.pace,) if options.pace else operating.PACES,
        share=options.share,
        rounds=options.rounds or (1 if quick else 3),
        seconds=options.seconds or (2.0 if quick else 4.0),
        sessions=options.sessions or (1000 if quick else 10_000),
        znodes=options.znodes or (10_000 if quick else 100_000),
        asks=tuple(options.asks),
    )
    outcome = operating.run(plan, lambda text: print(text, file=sys.stderr))
    print(operating.render(plan, outcome))
    if options.json is not None:
        options.json.write_text(operating.as_json(outcome))
    return 0 if operating.is_quiet_enough(outcome) else 1


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.list:
        print("\n".join(options.selection.names))
        return 0
    # SIGTERM takes the way of ^C, so that the servers end with us.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        loader.build()
        if options.ensemble:
            return run_ensemble(options)
        if options.operating:
            return run_operating(options)
        return run_profile(options) if options.profile else run_cases(options)
    except FAILURES as error:
        complain(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
