"""`python -m bench.clients`: starts a server and measures every client in turn."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import report
from bench.clients.cases import Case
from bench.clients.drivers import BASE, DRIVERS
from bench.clients.meter import Figures
from tests.support.servers import (
    KRAAL_PATH,
    REFERENCE_VERSION,
    ROOT,
    ReferenceMissingError,
    Server,
    apache,
    kraal,
)

DESCRIPTION = """\
Measures kraal's client, kazoo and aiozk against one server: reads and writes, one at a time and
pipelined, watch events, and hand-overs of a lock. Every measurement is a process of its own; the
clients take turns, each time in another order. "bare socket" is no client: requests that were
built before, over blocking sockets, which shows what the server alone takes. Nothing else should
run on the machine meanwhile."""
WORKER_TIMEOUT_S = 120.0

Samples = dict[tuple[Case, str], list[Figures]]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.clients", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--apache", action="store_true", help="against Apache ZooKeeper instead of kraal")
    add("--directory", type=Path, metavar="DIR",
        help="where the server's data are, for example on a RAM disk (the system's place for "
             "temporary files)")  # fmt: skip
    add("--rounds", type=int, default=5, help="rounds, each with every case (5)")
    add("--seconds", type=float, default=1.0, help="measured seconds per case (1)")
    add("--quick", action="store_true", help="1 round, 0.5 s per case")
    add("--only", default="", metavar="TEXT", help="only cases whose name contains this")
    add("--client", choices=DRIVERS, action="append", help="only this client; may be repeated")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    if options.rounds <= 0 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    options.cases = [case for case in Case if options.only in f"{case.key} {case.value}"]
    if not options.cases:
        names = ", ".join(case.key for case in Case)
        parser.error(f"--only {options.only}: no such case; there are {names}")
    return options


def measure(client: str, case: Case, server: Server, seconds: float) -> Figures:
    """One sample, from a process of its own. Raises subprocess.SubprocessError."""
    command = [sys.executable, "-m", "bench.clients.worker",
               client, case.name, str(server.port), str(seconds)]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **KRAAL_PATH}, check=True, text=True,
        stdout=subprocess.PIPE, timeout=WORKER_TIMEOUT_S,
    )  # fmt: skip
    per_second, cpu_us = done.stdout.split()
    return Figures(float(per_second), float(cpu_us))


def render(samples: Samples, title: str, figure: Callable[[Figures], float]) -> str:
    """Medians of a figure, and how many times those of the base they are."""
    clients = [name for name in DRIVERS if any(client == name for _, client in samples)]
    rows = []
    for case in Case:
        medians = {
            name: median(map(figure, samples[case, name]))
            for name in clients
            if (case, name) in samples
        }
        if not medians:
            continue
        base = medians.get(BASE)
        row = [case.value]
        for name in clients:
            value = medians.get(name)
            row.append(report.number(value))
            if name != BASE:
                row.append(report.factor(value / base if value and base else None))
        rows.append(row)
    head = [title]
    for name in clients:
        head += [name] if name == BASE else [name, f"/ {BASE}"]
    return report.table(head, rows)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    samples: Samples = defaultdict(list)
    clients = deque(options.client or DRIVERS)
    start = apache if options.apache else kraal
    name = f"Apache ZooKeeper {REFERENCE_VERSION}" if options.apache else "kraal"
    try:
        with (
            tempfile.TemporaryDirectory(
                prefix="bench-clients-", dir=options.directory
            ) as directory,
            start(Path(directory)) as server,
        ):
            for number in range(options.rounds):
                for case in options.cases:
                    clients.rotate()
                    for client in clients:
                        print(f"round {number + 1}: {client}: {case.value}", file=sys.stderr)
                        try:
                            value = measure(client, case, server, options.seconds)
                        except subprocess.SubprocessError as error:
                            print(f"bench: {error}", file=sys.stderr)
                        else:
                            samples[case, client].append(value)
    except (ReferenceMissingError, RuntimeError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(
        f"{report.versions()}.\nMedians of {options.rounds} round(s), {options.seconds:g} s per "
        f"case, against {name}.\n"
    )
    print(render(samples, "per second", lambda found: found.per_second), end="\n\n")
    print(render(samples, "client's processor time, µs", lambda found: found.cpu_us))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
