"""The client and every recipe at once, on real servers that are killed, paused and cut off.

Run `python -m tests.interop.recipes_under_faults --servers kraal,apache --ensemble 3 --seconds 60
--seed 1`. What applications do and what is judged are the scenarios of the simulation
(`kraal.sim.scenarios`); what has truly happened is read from the servers' transaction logs. Each
kind of server is tried after the other. Once the faults stop, every application must get on, come
to its end, and leave nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from kraal.sim.scenarios import SCENARIOS
from kraal.sim.trial import Scenario
from kraal.sim.violation import ViolationError, violated
from tests.interop.recipes_faults import Faults
from tests.interop.recipes_history import LiveHistory
from tests.interop.recipes_stage import RealActor, RealStage, Servers
from tests.support.ensembles import Ensemble, EnsembleError, Shape, known_kind

ACTORS = 2
TICK_MS = 200
SETTINGS: dict[str, object] = {
    "minSessionTimeout": 2 * TICK_MS,
    "maxSessionTimeout": 20 * TICK_MS,
    "autopurge.purgeInterval": 0,
    "preAllocSize": 4096,
    "snapCount": 100_000,
}
PROMISE = "every application gets on"
LOOK_S = 0.02
LIVENESS_S = 60.0
"""So soon after the servers are whole again every application has got on."""
END_S = 30.0
"""So soon every application ends when it is told to."""
REPLACEMENT_S = 1.0
SETTLE_S = 4.0
"""After the last action, until everything that follows from it is done."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does; the seed decides what is done, but not the timing."""

    kind: str
    count: int = 3
    """How many servers; 1 is a standalone one."""
    seconds: float = 60.0
    seed: int = 1
    recipes: tuple[str, ...] = tuple(SCENARIOS)
    actors: int = ACTORS


@dataclass
class Figures:
    """What a run has seen."""

    kind: str
    operations: Counter[str] = field(default_factory=Counter)
    """By recipe, what was done and judged."""
    faults: Counter[str] = field(default_factory=Counter)
    transactions: int = 0
    epochs: int = 0
    sessions: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        done = ", ".join(f"{value} {name}" for name, value in sorted(self.operations.items()))
        faults = ", ".join(f"{value} {name}" for name, value in sorted(self.faults.items()))
        return (
            f"{self.kind}: {self.operations.total()} operations of {len(self.operations)} recipes "
            f"judged in {self.seconds:.0f} s, {self.faults.total()} faults, "
            f"{self.transactions} transactions, {self.epochs} epochs, {self.sessions} sessions\n"
            f"  operations: {done}\n  faults: {faults}"
        )


class Run:
    """Servers of one kind, and the scenarios that are played on them together."""

    def __init__(self, plan: Plan, directory: Path, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.say = say
        self.random = Random(plan.seed)
        shape = Shape(participants=(plan.kind,) * plan.count, tick_ms=TICK_MS, settings=SETTINGS)
        self.ensemble = Ensemble(directory, shape)
        self.members = list(self.ensemble.members.values())
        self.servers = Servers(self.members)
        quorum = plan.count // 2 + 1
        self.history = LiveHistory([member.data for member in self.members], quorum)
        self.scenarios: dict[str, Scenario] = {}
        self.stages: dict[str, RealStage] = {}
        self._failed: asyncio.Future[None] | None = None
        self._names = 0
        self._helpers: list[asyncio.Task[None]] = []

    async def play(self) -> Figures:
        """From the first start to the last look. Raises ViolationError, EnsembleError."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complained)
        self._failed = failed = loop.create_future()
        story = loop.create_task(self._story())
        looking = loop.create_task(self._look())
        try:
            await asyncio.wait((story, looking, failed), return_when=asyncio.FIRST_COMPLETED)
            for task in (failed, looking, story):
                if task.done():
                    task.result()
            return story.result()
        finally:
            await self._end_all(story, looking, *self._helpers)

    async def _end_all(self, *tasks: asyncio.Task[Any]) -> None:
        every: set[asyncio.Task[Any]] = set(tasks)
        every |= {app.task for stage in self.stages.values() for app in stage.applications}
        for task in every:
            task.cancel()
        await asyncio.wait(every, timeout=END_S)
        for task in every:
            if task.done() and not task.cancelled():
                task.exception()

    async def _look(self) -> None:
        """What is committed is known soon, also when nobody asks."""
        while True:
            self.history.catch_up()
            await asyncio.sleep(LOOK_S)

    async def _story(self) -> Figures:
        plan = self.plan
        await asyncio.to_thread(self._start_servers)
        began = time.monotonic()
        for name in plan.recipes:
            stage = RealStage(self.servers, self.history, self.random, self._fail)
            scenario = SCENARIOS[name](stage)
            scenario.chroot = f"/{name}"
            self.stages[name], self.scenarios[name] = stage, scenario
            for _ in range(plan.actors):
                self._join(name)
        faults = Faults(self)
        await asyncio.sleep(1)
        await faults.strike_until(began + plan.seconds)
        await asyncio.to_thread(self.wait_serving)
        await asyncio.sleep(REPLACEMENT_S)
        self.say(f"{faults.counted.total()} faults; all serve again")
        await self._bring_to_an_end()
        return Figures(
            kind=f"{plan.count} x {plan.kind}",
            operations=Counter(
                {name: each.progress.total() for name, each in self.scenarios.items()}
            ),
            faults=faults.counted,
            transactions=len(self.history.txns),
            epochs=len(self.history.bases) - 1,
            sessions=len({txn.client_id for txn in self.history.txns.values()}),
            seconds=time.monotonic() - began,
        )

    # Applications

    def _join(self, name: str) -> None:
        self._names += 1
        stage, scenario = self.stages[name], self.scenarios[name]
        app = RealActor(stage, f"{name} {self._names}")
        stage.applications.append(app)
        app.start(scenario.work)

    def living(self, name: str) -> list[RealActor]:
        return [app for app in self.stages[name].applications if app.is_up]

    def replace(self, name: str, app: RealActor) -> None:
        """One dies, and another one comes."""
        app.die()
        self._join(name)

    async def _bring_to_an_end(self) -> None:
        scenarios = self.scenarios.items()
        for _, scenario in scenarios:
            scenario.is_calm = True  # but a slow machine may lose connections even now
        due = {
            app: scenario.progress[app.name] + scenario.progress_due
            for name, scenario in scenarios
            for app in self.living(name)
        }
        await self._wait_for(
            "does not get on",
            lambda name, app: self.scenarios[name].progress[app.name] >= due[app],
            LIVENESS_S,
        )
        for _, scenario in scenarios:
            scenario.is_over = True
        await self._wait_for(
            "does not end", lambda name, app: app.name in self.scenarios[name].resting, END_S
        )
        await self._wait_for_the_dead()
        self._helpers.append(asyncio.create_task(self.servers.keep_asking()))
        await asyncio.sleep(SETTLE_S)
        for name, scenario in scenarios:
            with _of(name):
                await _look_until_right(scenario)
        for _, scenario in scenarios:
            scenario.is_ending = True
        await self._wait_for("does not end", lambda _, __: False, END_S)
        await asyncio.sleep(2 * LOOK_S)
        for name, scenario in scenarios:
            with _of(name):
                scenario.finish()

    async def _wait_for(
        self, what: str, is_reached: Callable[[str, RealActor], bool], seconds: float
    ) -> None:
        until = time.monotonic() + seconds
        while True:
            late = [
                app
                for name in self.scenarios
                for app in self.living(name)
                if not app.is_done and not is_reached(name, app)
            ]
            if not late:
                return
            if time.monotonic() > until:
                for app in late:
                    app.task.print_stack()
                violated(PROMISE, "%s %s", ", ".join(app.name for app in late), what)
            await asyncio.sleep(LOOK_S)

    async def _wait_for_the_dead(self) -> None:
        """Until no server knows the sessions any more of those that died."""
        dead = {
            zk.session_id
            for stage in self.stages.values()
            for app in stage.applications
            if not app.is_up
            for zk in app.clients
        }
        until = time.monotonic() + END_S
        while dead & set(self.history.tree.sessions):
            if time.monotonic() > until:
                violated("sessions of the dead end", "%s", dead & set(self.history.tree.sessions))
            await asyncio.sleep(LOOK_S)

    # Failures

    def _fail(self, error: BaseException) -> None:
        assert self._failed is not None
        if not self._failed.done():
            self._failed.set_exception(error)

    def _complained(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        cause = context.get("exception")
        if not isinstance(cause, ViolationError):
            what = context.get("message", "an unknown failure")
            culprit = context.get("task") or context.get("future") or context.get("handle")
            cause, inner = ViolationError("nothing fails unseen", f"{what}: {culprit}"), cause
            cause.__cause__ = inner
        self._fail(cause)

    # Servers

    def _start_servers(self) -> None:
        for member in self.members:
            member.launch()
        self.wait_serving()

    def wait_serving(self) -> None:
        """Wait until all serve."""
        if self.plan.count > 1:
            self.ensemble.wait_serving()
        else:
            self.ensemble.wait_mode(self.members[0], "standalone", 60.0)


async def _look_until_right(scenario: Scenario) -> None:
    """On a slow machine a session may end even now; what follows from it takes a moment."""
    until = time.monotonic() + END_S
    while True:
        try:
            scenario.at_rest()
        except ViolationError:
            if time.monotonic() > until:
                raise
        else:
            return
        await asyncio.sleep(0.2)


@contextmanager
def _of(name: str) -> Iterator[None]:
    """Say in a violation which recipe it is of."""
    try:
        yield
    except ViolationError as error:
        raise ViolationError(f"{name}: {error.promise}", str(error)) from error


def run(plan: Plan, say: Callable[[str], None] = lambda _: None) -> Figures:
    """A run in a directory of its own, which stays where a violation says.

    Raises ViolationError and EnsembleError.
    """
    directory = Path(tempfile.mkdtemp(prefix="recipes-"))
    began = time.monotonic()

    def progress(text: str) -> None:
        say(f"[{time.monotonic() - began:6.1f} s] {text}")

    trial = Run(plan, directory, progress)
    try:
        with trial.ensemble:
            figures = asyncio.run(trial.play())
    except (ViolationError, EnsembleError):
        say(f"seed {plan.seed}; directory: {directory}")
        raise
    shutil.rmtree(directory)
    return figures


def parser_of_runs(program: str, seconds: float) -> argparse.ArgumentParser:
    """With the options that every run on servers that fail has."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument(
        "--servers", default="kraal",
        type=lambda text: [known_kind(kind) for kind in text.split(",")],
        help="kinds to be tried, one after the other: kraal, apache, apache-3.8.6, …",
    )  # fmt: skip
    parser.add_argument("--ensemble", type=int, default=Plan.count, help="servers; 1 stands alone")
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of_runs("python -m tests.interop.recipes_under_faults", Plan.seconds)
    parser.add_argument("--actors", type=int, default=Plan.actors, help="applications per recipe")
    parser.add_argument(
        "--recipes", type=lambda text: tuple(text.split(",")), default=Plan.recipes,
        help=f"all, or some of {','.join(SCENARIOS)}",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    unknown = set(options.recipes) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such recipe: {', '.join(unknown)}")
    # The servers must not outlive a runner that is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code = 0
    for kind in options.servers:
        plan = Plan(
            kind=kind, count=options.ensemble, seconds=options.seconds, seed=options.seed,
            recipes=options.recipes, actors=options.actors,
        )  # fmt: skip
        try:
            print(run(plan, partial(print, flush=True)))
        except (ViolationError, EnsembleError) as error:
            traceback.print_exception(error)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
