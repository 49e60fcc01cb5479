"""Runs the cases against three servers of each kind in turn and collects the samples."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError

from bench import cases, loader
from bench.ensemble import parts
from bench.ensemble.cases import FAILOVER, LAG, SHAPES, Selection
from bench.ensemble.clients import ClientsError
from bench.loader import Load, LoaderError
from bench.runner import DATA, Record
from tests.support.ensembles import APACHE, KRAAL, Ensemble, EnsembleError, Shape

KINDS = {"apache": APACHE, "kraal": KRAAL}
MEMBERS = 3
START_S = 60.0
REHEAT_S = 2.0

FAILURES = (LoaderError, EnsembleError, ClientsError, OSError, SubprocessError)
"""What ends one part of a round; the others follow nevertheless."""


@dataclass(frozen=True)
class Plan:
    """How much of everything; the defaults are those of a full run."""

    selection: Selection
    servers: tuple[str, ...] = ("apache", "kraal")
    rounds: int = 3
    seconds: float = 4.0
    warm_up: float = 1.0  # before each load
    server_warm_up: float = 10.0  # after each start, all operations together
    kills: int = 3  # in each round
    lag_writes: int = 500_000
    znodes: int = 100_000

    @property
    def parameters(self) -> dict[str, float]:
        return {
            "members": MEMBERS, "rounds": self.rounds, "seconds": self.seconds,
            "kills": self.kills, "lag_writes": self.lag_writes, "znodes": self.znodes,
        }  # fmt: skip

    def estimate(self) -> float:
        """Roughly how many seconds the run takes."""
        selection, whole = self.selection, self.selection.whole
        one = 0.0
        if selection.loads:
            one += 8 + self.server_warm_up
            one += len(selection.loads) * (self.seconds + self.warm_up + 0.5)
        if cases.COLD_START in whole and not selection.loads:
            one += 4
        if cases.MEMORY in whole:
            one += 18 + 3 * self.znodes / 12_000
        if FAILOVER in whole:
            one += 6 + self.server_warm_up + self.kills * (7 + REHEAT_S)
        if LAG in whole:
            one += 12 + self.server_warm_up / 2 + self.lag_writes / 18_000
        return self.rounds * len(self.servers) * one


@dataclass
class Run(Record):
    """The samples so far; `problems` are the parts that could not be measured."""

    plan: Plan
    problems: list[str] = field(default_factory=list)

    def execute(self) -> None:
        """Run every round, the servers taking turns within it."""
        self.say(f"about {self.plan.estimate() / 60:.1f} minutes")
        for number in range(1, self.plan.rounds + 1):
            for name in self.plan.servers:
                _Turn(self, number, name).run()


@dataclass(frozen=True)
class _Turn:
    """One kind of server in one round; every part has an ensemble of its own."""

    record: Run
    number: int
    name: str

    def run(self) -> None:
        selection = self.record.plan.selection
        whole = selection.whole
        if selection.loads or cases.COLD_START in whole:
            self._part("loads", self._loads)
        if cases.MEMORY in whole:
            self._part(cases.MEMORY, self._memory)
        if FAILOVER in whole:
            self._part(FAILOVER, self._failover)
        if LAG in whole:
            self._part(LAG, self._lag)

    def _part(self, what: str, measure: Callable[[Ensemble], None]) -> None:
        try:
            with fresh_ensemble(self.name) as ensemble:
                measure(ensemble)
        except FAILURES as error:
            text = "\n".join([str(error) or repr(error), *getattr(error, "__notes__", [])])
            self.record.problems.append(f"round {self.number} {self.name}, {what}: {text}")
            self._say(f"{what} FAILED: {text}")

    def _say(self, text: str) -> None:
        record = self.record
        record.say(f"round {self.number}/{record.plan.rounds} {self.name}: {text}")

    def _add(self, case: str, figures: dict[str, float]) -> None:
        self.record.add(self.name, case, self.number, figures)

    def _loads(self, ensemble: Ensemble) -> None:
        plan = self.record.plan
        seconds = parts.cold_start(ensemble)
        self._say(f"first write after {seconds:.2f} s")
        if cases.COLD_START in plan.selection.whole:
            self._add(cases.COLD_START, {"seconds": seconds})
        if not plan.selection.loads:
            return
        warm_up(ensemble, plan.selection.modes, plan.server_warm_up)
        for case in plan.selection.loads:
            load = Load(
                case.mode, case.connections, case.outstanding, plan.warm_up, plan.seconds,
                area=case.name if case.mode == "create" else "keys", keys=parts.KEYS,
            )  # fmt: skip
            members = parts.everyone(ensemble)
            in_order = sorted(members, key=lambda member: member.id)
            figures = loader.run(load, parts.ports(in_order), parts.pids(members))
            figures["leader_cores"] = figures.pop("first_server_cores")
            figures["server_us"] = figures["server_cores"] * 1e6 / figures["per_second"]
            self._add(case.name, figures)
            self._say(
                f"{case.name} {figures['per_second']:,.0f}/s, p50 {figures['p50_us']:,.0f} µs, "
                f"p99 {figures['p99_us']:,.0f} µs"
            )

    def _memory(self, ensemble: Ensemble) -> None:
        ensemble.start(START_S)
        figures = parts.memory(ensemble, self.record.plan.znodes)
        self._add(cases.MEMORY, figures)
        self._say(
            f"leader {figures['leader_idle_mib']:,.0f} MiB idle, "
            f"{figures['leader_resident_mib']:,.0f} MiB after the load, "
            f"follower {figures['follower_resident_mib']:,.0f} MiB"
        )

    def _failover(self, ensemble: Ensemble) -> None:
        plan = self.record.plan
        ensemble.start(START_S)
        warm_up(ensemble, ["write"], plan.server_warm_up)
        for kill in range(plan.kills):
            if kill:
                for member in ensemble.members.values():
                    if not member.alive:
                        member.launch()
                ensemble.wait_serving(START_S)
                parts.heat(ensemble, REHEAT_S)
            figures = parts.failover(ensemble)
            self._add(FAILOVER, figures)
            self._say(
                f"leader killed, longest pause of a client {figures['pause_ms']:,.0f} ms, "
                f"of all {figures['silence_ms']:,.0f} ms"
            )

    def _lag(self, ensemble: Ensemble) -> None:
        plan = self.record.plan
        ensemble.start(START_S)
        warm_up(ensemble, ["write"], plan.server_warm_up / 2)
        figures = parts.lag(ensemble, plan.lag_writes, self._say)
        self._add(LAG, figures)
        self._say(f"in step {figures['seconds']:.2f} s after its start")


def warm_up(ensemble: Ensemble, modes: list[str], seconds: float) -> None:
    """Create the keys, then send every operation of the run for its part of `seconds`."""
    parts.fill_keys(ensemble)
    members = parts.everyone(ensemble)
    part = seconds / len(modes) / len(SHAPES)
    for mode in modes:
        for shape in SHAPES:
            area = f"warm-up-{shape[0]}" if mode == "create" else "keys"
            load = Load(mode, *shape, warm_up=0.0, seconds=part, area=area, keys=parts.KEYS)
            loader.run(load, parts.ports(members))


@contextmanager
def fresh_ensemble(name: str) -> Iterator[Ensemble]:
    """Three members, not yet started, over empty directories that go when the block ends."""
    directory = DATA / f"ensemble-{name}-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    os.sync()  # what the servers before left in the page cache is not these ones' to write
    shape = Shape(
        participants=(KINDS[name],) * MEMBERS, tick_ms=2000, init_limit=10, sync_limit=5,
        settings={"forceSync": "yes"}, java_options=(),
    )  # fmt: skip
    ensemble = Ensemble(directory, shape)
    try:
        yield ensemble
    except FAILURES as error:
        kept = keep_logs(ensemble, DATA.with_name(f"bench-ensemble-{name}-failed"))
        error.add_note(f"logs of the members: {kept}")
        raise
    finally:
        ensemble.close()
        shutil.rmtree(directory, ignore_errors=True)
        if DATA.exists() and not any(DATA.iterdir()):
            DATA.rmdir()


def keep_logs(ensemble: Ensemble, target: Path) -> Path:
    """Copy what the members printed to where it outlives them."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for member in ensemble.members.values():
        for _, log in member.logs:
            shutil.copy(log, target / f"member-{member.id}-{log.name}")
    return target
