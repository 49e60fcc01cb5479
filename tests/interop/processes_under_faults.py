"""Recipes of `kraal.sync` in processes of their own, on real servers that are killed and paused.

Run `python -m tests.interop.processes_under_faults --servers kraal,apache --ensemble 3 --seconds 60
--seed 1`. Applications are killed and paused, too. Judged is what their journals say: fencing
tokens that a resource outside accepted rise and are never shared, an item of a queue goes to one
at most and none is lost but in doubt, a counter has all additions and none twice, ids are unique.
Once the faults stop every application gets on with everything.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import kraal.sync
from kraal.sim.violation import ViolationError, violated
from kraal.sync.recipes import Counter as SharedCounter
from kraal.sync.recipes import Queue
from tests.interop.processes_worker import BEGUN, DONE, DOUBT, EMPTY
from tests.interop.recipes_under_faults import parser_of_runs
from tests.support.ensembles import Ensemble, EnsembleError, Member, Shape
from tests.support.servers import HOST, KRAAL_PATH

TICK_MS = 200
KINDS = ("lock", "put", "get", "count", "id")
LIVENESS_S = 60.0
LASTS_S = (0.1, 3.0)
BETWEEN_S = (0.1, 1.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    kind: str
    count: int = 3
    seconds: float = 60.0
    seed: int = 1
    processes: int = 4


@dataclass
class Journal:
    """What one application did: outcomes by kind, and what was under way when it was ended."""

    outcomes: dict[tuple[str, str], list[object]] = field(default_factory=dict)
    open: tuple[str, object] | None = None

    @classmethod
    def read(cls, path: Path) -> Journal:
        journal = cls()
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        for line in lines:
            kind, outcome, value = json.loads(line)
            journal.open = (kind, value) if outcome == BEGUN else None
            if outcome != BEGUN:
                journal.outcomes.setdefault((kind, outcome), []).append(value)
        return journal


class Run:
    """Servers of one kind, and processes that use them."""

    def __init__(self, plan: Plan, directory: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._random = random.Random(plan.seed)
        self._directory = directory
        settings = {"minSessionTimeout": 2 * TICK_MS, "maxSessionTimeout": 20 * TICK_MS}
        shape = Shape(participants=(plan.kind,) * plan.count, tick_ms=TICK_MS, settings=settings)
        self.ensemble = Ensemble(directory / "servers", shape)
        self._members = list(self.ensemble.members.values())
        self._hosts = ",".join(f"{HOST}:{member.client_port}" for member in self._members)
        self._applications: dict[str, subprocess.Popen[bytes]] = {}
        self._names = 0
        self.faults: Counter[str] = Counter()

    def play(self) -> str:
        """From the first start to the verdict. Raises ViolationError, EnsembleError."""
        for member in self._members:
            member.launch()
        self._wait_serving()
        try:
            for _ in range(self._plan.processes):
                self._join()
            self._progress()
            self._strike()
            self._wait_serving()
            self._progress()
            (self._directory / "end").touch()
            for name, process in self._applications.items():
                if process.wait(LIVENESS_S) != 0:
                    violated("applications end well", "%s: %d", name, process.returncode)
        finally:
            for process in self._applications.values():
                process.kill()
                process.wait()
        return self._judge()

    # Applications

    def _join(self) -> None:
        self._names += 1
        name = f"{self._plan.seed}-{self._names}"
        command = [sys.executable, "-m", "tests.interop.processes_worker", self._hosts]
        with (self._directory / f"log-{name}").open("wb") as log:
            self._applications[name] = subprocess.Popen(
                [*command, str(self._directory), name], env={**os.environ, **KRAAL_PATH},
                stdout=log, stderr=log,
            )  # fmt: skip

    def _journals(self) -> dict[str, Journal]:
        names = (f"{self._plan.seed}-{number}" for number in range(1, self._names + 1))
        return {name: Journal.read(self._directory / f"journal-{name}") for name in names}

    def _progress(self) -> None:
        """Wait until every application has got on with everything."""
        before = self._done()
        until = time.monotonic() + LIVENESS_S
        while True:
            now = self._done()
            late = [
                f"{name}: {kind}"
                for name in self._applications
                for kind in KINDS
                if now[name, kind] <= before[name, kind]
            ]
            if not late:
                return
            if time.monotonic() > until:
                violated("every application gets on", "%s", ", ".join(late))
            time.sleep(0.05)

    def _done(self) -> Counter[tuple[str, str]]:
        return Counter(
            {
                (name, kind): len(journal.outcomes.get((kind, DONE), ()))
                for name, journal in self._journals().items()
                for kind in KINDS
            }
        )

    # Faults

    def _strike(self) -> None:
        end = time.monotonic() + self._plan.seconds
        faults = (
            self._kill_application, self._pause_application, self._kill_server, self._kill_leader,
            self._pause_server,
        )  # fmt: skip
        while time.monotonic() < end:
            fault = self._random.choice(faults)
            self._say(f"{fault.__name__.strip('_')}: {fault()}")
            self.faults[fault.__name__.strip("_")] += 1
            time.sleep(self._random.uniform(*BETWEEN_S))

    def _kill_application(self) -> str:
        name = self._random.choice(list(self._applications))
        process = self._applications.pop(name)
        process.kill()
        process.wait()
        self._join()
        return name

    def _pause_application(self) -> str:
        name = self._random.choice(list(self._applications))
        process = self._applications[name]
        process.send_signal(signal.SIGSTOP)
        self._last()
        process.send_signal(signal.SIGCONT)
        return name

    def _kill_server(self, member: Member | None = None) -> str:
        member = member or self._random.choice(self._members)
        member.kill()
        self._last()
        member.launch()
        self._wait_serving()
        return f"{member.id}"

    def _kill_leader(self) -> str:
        return self._kill_server(self.ensemble.leader())

    def _pause_server(self) -> str:
        member = self._random.choice(self._members)
        member.pause()
        self._last()
        member.resume()
        self._wait_serving()
        return f"{member.id}"

    def _last(self) -> None:
        time.sleep(self._random.uniform(*LASTS_S))

    def _wait_serving(self) -> None:
        if self._plan.count > 1:
            self.ensemble.wait_serving()
        else:
            self.ensemble.wait_mode(self._members[0], "standalone", LIVENESS_S)

    # The verdict

    def _judge(self) -> str:
        journals = self._journals()
        with kraal.sync.connect(self._hosts) as zk:
            left = list(_drained(Queue(zk, "/queue")))
            counted = SharedCounter(zk, "/counter").get()
        _judge_tokens(self._directory / "resource")
        _judge_queue(list(journals.values()), left)
        _judge_counter(list(journals.values()), counted)
        _once("ids are unique", _all(journals.values(), "id", DONE))
        done = self._done()
        shown = ", ".join(f"{sum(done[name, kind] for name in journals)} {kind}" for kind in KINDS)
        return (
            f"{self._plan.count} x {self._plan.kind}: {done.total()} jobs of {len(journals)} "
            f"processes ({shown}), {self.faults.total()} faults "
            f"({', '.join(f'{count} {name}' for name, count in sorted(self.faults.items()))})"
        )


def _drained(queue: Queue) -> Iterator[object]:
    while (item := queue.get_nowait()) is not None:
        yield item.decode()


def _all(journals: Iterable[Journal], kind: str, outcome: str) -> list[object]:
    return [value for each in journals for value in each.outcomes.get((kind, outcome), ())]


def _open(journals: Sequence[Journal], kind: str) -> list[object]:
    """What applications were at when they were killed."""
    return [each.open[1] for each in journals if each.open is not None and each.open[0] == kind]


def _once(promise: str, values: Sequence[object]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        violated(promise, "%s", twice)


def _judge_tokens(resource: Path) -> None:
    tokens = [json.loads(line)[0] for line in resource.read_text().splitlines()]
    if tokens != sorted(set(tokens)):
        violated("tokens rise", "%s", tokens)


def _judge_queue(journals: Sequence[Journal], left: Sequence[object]) -> None:
    taken = [item for item in _all(journals, "get", DONE) if item != EMPTY]
    _once("an item goes to one", [*taken, *left])
    seen = {*taken, *left, *_all(journals, "get", DOUBT)}
    put = set(_all(journals, "put", DONE))
    possible = put | set(_all(journals, "put", DOUBT)) | set(_open(journals, "put"))
    if seen - possible:
        violated("what is taken was put", "%s", seen - possible)
    lost = put - seen
    if len(lost) > len(_open(journals, "get")):  # taken by applications that were killed
        violated("no item is lost", "%s", lost)


def _judge_counter(journals: Sequence[Journal], counted: int) -> None:
    done = _all(journals, "count", DONE)
    _once("an addition has a result of its own", done)
    doubts = len(_all(journals, "count", DOUBT)) + len(_open(journals, "count"))
    if not len(done) <= counted <= len(done) + doubts:
        violated("the counter is right", "%d done, %d in doubt: %d", len(done), doubts, counted)


def run(plan: Plan, directory: Path, say: Callable[[str], None] = lambda _: None) -> str:
    """Returns figures. Raises ViolationError, EnsembleError."""
    trial = Run(plan, directory, say)
    with trial.ensemble:
        return trial.play()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of_runs("python -m tests.interop.processes_under_faults", Plan.seconds)
    parser.add_argument("--processes", type=int, default=Plan.processes)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code = 0
    for kind in options.servers:
        plan = Plan(
            kind=kind, count=options.ensemble, seconds=options.seconds, seed=options.seed,
            processes=options.processes,
        )  # fmt: skip
        directory = Path(tempfile.mkdtemp(prefix="processes-"))
        try:
            print(run(plan, directory, lambda text: print(text, flush=True)), flush=True)
        except (ViolationError, EnsembleError) as error:
            traceback.print_exception(error)
            print(f"directory: {directory}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
