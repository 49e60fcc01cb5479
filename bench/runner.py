"""Runs the cases against each server in turn and collects the samples."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import cases, lifecycle, loader
from bench.loader import Load
from tests.support.servers import ROOT, Server, apache, kraal

DATA = ROOT / "build" / "bench-data"
SETTINGS: Mapping[str, object] = {"tickTime": 2000, "forceSync": "yes"}
STARTERS: Mapping[str, Callable[..., Server]] = {"apache": apache, "kraal": kraal}


@dataclass(frozen=True)
class Plan:
    """How much of everything; the defaults are those of a full run."""

    selection: cases.Selection
    servers: tuple[str, ...] = ("apache", "kraal")
    rounds: int = 3
    seconds: float = 4.0
    warm_up: float = 1.0  # before each case
    server_warm_up: float = 10.0  # after each start, all operations together
    znodes: int = 1_000_000

    @property
    def parameters(self) -> dict[str, float]:
        return {"rounds": self.rounds, "seconds": self.seconds, "znodes": self.znodes}

    def estimate(self) -> float:
        """Roughly how many seconds the run takes."""
        loads = len(self.selection.loads)
        one = loads * (self.seconds + self.warm_up + 0.2) + (self.server_warm_up if loads else 0)
        if self.selection.memory or self.selection.recovery:
            one += 12 + self.znodes / 25_000
        return self.rounds * len(self.servers) * (one + 5)


@dataclass(frozen=True)
class Sample:
    """The figures of one case, one server and one round."""

    server: str
    case: str
    round: int
    figures: Mapping[str, float]


@dataclass(kw_only=True)
class Record:
    """The samples of a run so far, and a word now and then about where it is."""

    samples: list[Sample] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        elapsed = time.monotonic() - self.began
        print(f"[{elapsed:6.1f} s] {text}", file=sys.stderr, flush=True)

    def add(self, server: str, case: str, number: int, figures: Mapping[str, float]) -> None:
        self.samples.append(Sample(server, case, number, figures))


@dataclass
class Run(Record):
    """One server after another; `samples` is complete when `execute` returns."""

    plan: Plan

    def execute(self) -> None:
        """Run every round, the servers taking turns within it."""
        self.say(f"about {self.plan.estimate() / 60:.1f} minutes")
        for number in range(1, self.plan.rounds + 1):
            for name in self.plan.servers:
                self._turn(number, name)

    def _turn(self, number: int, name: str) -> None:
        selection = self.plan.selection
        prefix = f"round {number}/{self.plan.rounds} {name}"
        if selection.loads or selection.cold_start:
            with fresh_server(name) as server:
                began = server.start()
                self.say(f"{prefix}: first answer after {began:.2f} s")
                if selection.cold_start:
                    self.add(name, cases.COLD_START, number, {"seconds": began})
                if selection.loads:
                    warm_up(server, selection.modes, self.plan.server_warm_up)
                    self._loads(number, name, prefix, server)
        if selection.memory or selection.recovery:
            with fresh_server(name) as server:
                self._filled(number, name, prefix, server)

    def _loads(self, number: int, name: str, prefix: str, server: Server) -> None:
        for case in self.plan.selection.loads:
            load = Load(
                case.mode, case.connections, case.outstanding,
                self.plan.warm_up, self.plan.seconds,
                area=case.name if case.mode == "create" else "keys",
            )  # fmt: skip
            figures = loader.run(load, server.port, server.pid)
            self.add(name, case.name, number, figures)
            self.say(
                f"{prefix}: {case.name} {figures['per_second']:,.0f}/s, "
                f"p50 {figures['p50_us']:,.0f} µs, p99 {figures['p99_us']:,.0f} µs"
            )

    def _filled(self, number: int, name: str, prefix: str, server: Server) -> None:
        server.start()
        fill = lifecycle.fill(server, self.plan.znodes)
        self.say(f"{prefix}: {self.plan.znodes:,} znodes at {fill['per_second']:,.0f}/s")
        lifecycle.wait_for_snapshot(server)
        if self.plan.selection.memory:
            figures = lifecycle.memory(server, jvm=name == "apache")
            figures["fill_per_second"] = fill["per_second"]
            self.add(name, cases.MEMORY, number, figures)
            self.say(f"{prefix}: {figures['resident_mib']:,.0f} MiB resident")
        if self.plan.selection.recovery:
            figures = lifecycle.recovery(server)
            self.add(name, cases.RECOVERY, number, figures)
            self.say(
                f"{prefix}: recovered in {figures['seconds']:.2f} s "
                f"({figures['replayed']:,.0f} transactions behind the snapshot)"
            )


@contextmanager
def fresh_server(name: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server, not yet started, over an empty data directory that goes when the block ends."""
    directory = DATA / f"{name}-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    os.sync()  # what the server before left in the page cache is not this one's to write
    extra = {"environment": environment} if environment else {}
    server = STARTERS[name](directory, settings=SETTINGS, **extra)
    try:
        yield server
    except Exception as error:
        if server.log_path.exists():
            kept = shutil.copy(server.log_path, DATA.with_name(f"bench-{name}-failed.log"))
            error.add_note(f"log of the server: {kept}")
        raise
    finally:
        if server.process is not None:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
        if DATA.exists() and not any(DATA.iterdir()):
            DATA.rmdir()


def fill_keys(server: Server) -> None:
    """Create the znodes that the loads read and write."""
    loader.run(Load("fill", 10, 100), server.port)


def warm_up(server: Server, modes: list[str], seconds: float) -> None:
    """Create the keys, then send every operation of the run for its part of `seconds`."""
    fill_keys(server)
    part = seconds / len(modes) / 2
    for mode in modes:
        for connections, outstanding in ((50, 1), (10, 100)):
            area = f"warm-up-{connections}" if mode == "create" else "keys"
            load = Load(mode, connections, outstanding, warm_up=0.0, seconds=part, area=area)
            loader.run(load, server.port)
