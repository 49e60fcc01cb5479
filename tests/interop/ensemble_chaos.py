"""Ensembles of Apache ZooKeeper and kraal under load and faults; nothing may be lost.

Run `python -m tests.interop.ensemble_chaos --members kraal,kraal,apache-3.9.5 --observers 1
--minutes 5 --seed 1`. First members are killed until every kind of server has led; then each is
replaced by another kind on the same directory, and back, without a client losing its session;
then faults come in a random order until the time is up. Between faults everything is brought to
rest and judged: see `ensemble_check`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tests.interop.ensemble_faults import Faults
from tests.interop.ensemble_load import Pace
from tests.interop.ensemble_trial import SETTINGS, Figures, Trial
from tests.interop.kill_check import BrokenPromiseError
from tests.support.certificates import members_settings
from tests.support.ensembles import APACHE, KRAAL, EnsembleError, Member, Shape, known_kind
from tests.support.links import host_name

STRIKES_PER_SETTLEMENT = 3
_LEADERS_MAX = 20
_WORK_S = 1.0

SCENARIOS = ("leaders", "rolling", "chaos")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does; the seed decides the load and the faults, not the timing."""

    members: tuple[str, ...]
    observers: tuple[str, ...] = ()
    minutes: float = 5.0
    seed: int = 1
    scenarios: tuple[str, ...] = SCENARIOS
    # What each kind of server is replaced by, and back, in the rolling replacement.
    replacements: tuple[tuple[str, str], ...] = ((KRAAL, APACHE), (APACHE, KRAAL))
    clients: int = 6
    tick_ms: int = 500
    log_level: str = "WARN"
    # Whether members speak TLS with each other.
    tls: bool = False

    def shape(self) -> Shape:
        count = len(self.members) + len(self.observers)
        names = [host_name(number) for number in range(1, count + 1)]
        return Shape(
            participants=self.members, observers=self.observers, tick_ms=self.tick_ms,
            settings={**SETTINGS, **(members_settings(names) if self.tls else {})}, proxied=True,
            log_level=self.log_level,
        )  # fmt: skip


def leaders(trial: Trial) -> None:
    """Kill one leader after the other until every kind of server has led."""
    wanted = set(trial.ensemble.shape.participants)
    for _ in range(_LEADERS_MAX):
        leader = trial.see_leader() or trial.ensemble.wait_leader()
        wanted.discard(leader.kind)
        time.sleep(_WORK_S)
        if not wanted:
            break
        kind = min(wanted)
        target = [member for member in participants(trial) if member.kind == kind][-1]
        promote(trial, leader, target)
    else:
        raise BrokenPromiseError(f"{', '.join(wanted)} never led")
    trial.settle()


def participants(trial: Trial) -> list[Member]:
    count = len(trial.ensemble.shape.participants)
    return [trial.ensemble.members[number] for number in range(1, count + 1)]


def promote(trial: Trial, leader: Member, target: Member) -> None:
    """Kill the leader while most others are behind `target`, so that this one leads, most likely.

    First all are killed that are not needed for a quorum; they miss writes; then they are started
    in the leader's place.
    """
    others = [member for member in participants(trial) if member not in (leader, target)]
    behind = others[len(participants(trial)) // 2 - 1 :]
    trial.mark("kill the leader")
    for member in behind:
        member.kill()
    time.sleep(_WORK_S)
    leader.kill()
    trial.say(f"  killed {leader.id}, {leader.kind}, which led, for {target.id}, {target.kind}")
    for member in behind:
        member.launch()
    trial.ensemble.wait_serving()
    time.sleep(_WORK_S)
    leader.launch()
    trial.ensemble.wait_serving()


def rolling(trial: Trial, replacements: dict[str, str]) -> None:
    """Replace one member after the other by another kind, then one after the other back."""
    members = list(trial.ensemble.members.values())
    first = {member.id: member.kind for member in members}
    for member in members:
        replace(trial, member, replacements.get(member.kind, member.kind))
    trial.settle()
    for member in reversed(members):
        replace(trial, member, first[member.id])
    trial.settle()


def replace(trial: Trial, member: Member, kind: str) -> None:
    """Stop a member and start another kind of server on its directory."""
    trial.mark("replace")
    trial.say(f"  {member} becomes {kind}")
    member.stop()
    time.sleep(_WORK_S / 2)
    member.launch(kind)
    trial.ensemble.wait_serving()
    time.sleep(_WORK_S)


def chaos(trial: Trial, random: Random, until: float) -> None:
    """Faults in a random order until the (monotonic) time is up, at least some."""
    faults = Faults(trial, random)
    while True:
        for _ in range(STRIKES_PER_SETTLEMENT):
            faults.strike()
            time.sleep(random.uniform(0.0, _WORK_S))
        trial.settle()
        trial.say(f"settled at {trial.figures.zxid:x}: {trial.figures.counted['acknowledged']} "
                  f"answered writes, {trial.figures.faults.total()} faults")  # fmt: skip
        if time.monotonic() > until:
            return


def run(plan: Plan, say: Callable[[str], None] = lambda _: None) -> Figures:
    """A run in a directory of its own, which stays where a failure says."""
    directory = Path(tempfile.mkdtemp(prefix="ensemble-"))
    until = time.monotonic() + plan.minutes * 60
    began = time.monotonic()

    def progress(text: str) -> None:
        say(f"[{time.monotonic() - began:6.1f} s] {text}")

    try:
        pace = Pace(clients=plan.clients)
        with Trial(directory, plan.shape(), plan.seed, pace, progress) as trial:
            trial.begin()
            for scenario in plan.scenarios:
                progress(f"scenario: {scenario}")
                if scenario == "leaders":
                    leaders(trial)
                elif scenario == "rolling":
                    rolling(trial, dict(plan.replacements))
                else:
                    chaos(trial, Random(plan.seed), until)
            figures = trial.figures
    except (BrokenPromiseError, EnsembleError) as error:
        raise BrokenPromiseError(f"{error}\nseed {plan.seed}; directory: {directory}") from error
    if figures.findings:
        say(f"directory: {directory}")
    else:
        shutil.rmtree(directory)
    return figures


def _kinds(text: str) -> tuple[str, ...]:
    return tuple(known_kind(kind) for kind in text.split(",") if kind)


def _replacements(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (pair.split(":") for pair in text.split(","))
    return tuple((known_kind(kind), known_kind(other)) for kind, other in pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.ensemble_chaos")
    parser.add_argument(
        "--members", type=_kinds, default=(KRAAL, KRAAL, APACHE),
        help="kinds of the voting members: kraal, apache-3.9.5, apache-3.8.6, …",
    )  # fmt: skip
    parser.add_argument(
        "--observers", default="0",
        help="how many observers, of the kinds of the members in turn, or their kinds",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--clients", type=int, default=Plan.clients)
    parser.add_argument("--tick-ms", type=int, default=Plan.tick_ms)
    parser.add_argument("--log-level", default=Plan.log_level, help="of Apache ZooKeeper")
    parser.add_argument(
        "--scenarios", type=lambda text: tuple(text.split(",")), default=SCENARIOS,
        help="of leaders,rolling,chaos, in the order given",
    )  # fmt: skip
    parser.add_argument(
        "--replacements", type=_replacements, default=Plan.replacements,
        help="what becomes what when it is replaced, as kraal:apache-3.9.5,apache-3.9.5:kraal",
    )  # fmt: skip
    parser.add_argument("--tls", action="store_true", help="members speak TLS with each other")
    options = parser.parse_args(arguments)
    members = options.members
    if options.observers.isdigit():
        count = int(options.observers)
        observers = tuple(members[place % len(members)] for place in range(count))
    else:
        observers = _kinds(options.observers)
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    plan = Plan(
        members=members, observers=observers, minutes=options.minutes, seed=options.seed,
        scenarios=options.scenarios, replacements=options.replacements, clients=options.clients,
        tick_ms=options.tick_ms, log_level=options.log_level, tls=options.tls,
    )  # fmt: skip
    # The members must not outlive a runner that is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        figures = run(plan, partial(print, flush=True))
    except BrokenPromiseError as error:
        print(error)
        return 1
    print(figures)
    return 1 if figures.findings else 0


if __name__ == "__main__":
    sys.exit(main())
