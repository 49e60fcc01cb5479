"""One trial: applications with the real client and its recipes in an ensemble that suffers.

A seed decides how many applications there are, what befalls them and the servers, and when. Once
the faults stop, every application must make progress, come to its end, and leave nothing behind.
"""

from __future__ import annotations

import asyncio
import gc
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import TYPE_CHECKING, ClassVar

from kraal.model.session_id import show
from kraal.sim.application import Application
from kraal.sim.checks.convergence import PROMISE, Convergence
from kraal.sim.nemesis import Nemesis
from kraal.sim.run import RECOVERY_MS, Outcome
from kraal.sim.scheduler import MS
from kraal.sim.violation import ViolationError, violated
from kraal.sim.world import EnsemblePlan, World

if TYPE_CHECKING:
    from kraal.client import Client
    from kraal.sim.stage import Actor, Stage

FAULTS: Mapping[str, int] = {
    "kill": 6,
    "power": 3,
    "kill leader": 6,
    "lonely leader": 2,
    "all": 1,
    "partition": 6,
    "isolate": 6,
    "one way": 4,
    "cut": 4,
    "pause": 4,
    "slow disk": 2,
    "slow network": 4,
    "application hangs up": 10,
    "application is deaf": 4,
    "application dies": 5,
    "application pauses": 8,
    "session ends": 5,
    "names": 2,
}
VOTERS = (1, 3, 3, 3, 3, 5)
FAULT_PAUSE_MS = (50, 1500)
DELAYS_US = ((50, 500), (50, 500), (200, 2000), (2000, 8000))
FLUSHES_US = ((50, 300), (50, 300), (200, 3000), (3000, 10_000))
TIMEOUTS_S = (0.6, 1.0, 2.0)
LIVENESS_MS = 30_000
"""So soon after the ensemble is whole again every application has got on."""
REPLACEMENT_MS = 1000
"""Until those that died last are replaced."""
SETTLE_MS = 4000
"""After the last action, until everything that follows from it is done."""
END_MS = 15_000
"""So soon every application ends when it is told to."""


class Scenario(ABC):
    """What the applications of a trial do, and what must hold."""

    applications: ClassVar[tuple[int, ...]] = (2, 3, 4)
    duration_ms: ClassVar[int] = 8000
    faults: ClassVar[Mapping[str, int]] = FAULTS
    true_clocks: ClassVar[bool] = False
    """Whether what it promises rests on clocks that run alike."""
    progress_due: ClassVar[int] = 2
    """How often each application gets on, at least, once the faults have stopped."""

    def __init__(self, world: Stage) -> None:
        self.world = world
        self.random: Random = world.random
        self.is_calm = False
        """Whether the faults have stopped and everything is mended."""
        self.calm_us = 1 << 62
        """Since when nothing fails any more; on real servers that is never so."""
        self.is_over = False
        """Whether the applications are to come to their end."""
        self.is_ending = False
        """Whether all applications rest and may close their clients."""
        self.progress: Counter[str] = Counter()
        self.resting: set[str] = set()
        self.chroot = self.random.choice(("", "", "/root/of/it"))

    def connect(self, app: Actor) -> Client:
        """A client of this application, not started yet."""
        return app.connect(self.chroot, session_timeout=app.random.choice(TIMEOUTS_S))

    def got_on(self, app: Actor) -> None:
        """This application got something done."""
        self.progress[app.name] += 1

    async def rest(self, app: Actor) -> None:
        """Wait, with the client open, until nobody does anything any more."""
        self.resting.add(app.name)
        while not self.is_ending:
            await asyncio.sleep(0.1)

    def server_path(self, path: str) -> bytes:
        """Where a path of the applications is in the servers' tree."""
        return (self.chroot + path).encode()

    def check_watches(self) -> None:
        """Nobody waits any more, so no server watches for anybody. Raises ViolationError."""
        left = {show(session_id): paths for session_id, paths in self.world.watches_left()}
        if left:
            violated("no watch is left", "%s", left)

    @abstractmethod
    async def work(self, app: Actor) -> None:
        """What one application does, until it is over."""

    def at_rest(self) -> None:  # noqa: B027
        """Look at what is there when nobody does anything any more. Raises ViolationError."""

    def finish(self) -> None:  # noqa: B027  # a scenario may have seen everything by then
        """Look at what is left when all applications have ended. Raises ViolationError."""


class Trial:
    """Runs one scenario."""

    def __init__(self, seed: int, kind: type[Scenario]) -> None:
        random = Random(-seed - 1)
        settings = {"commit_log_count": random.choice((5, 500))}
        plan = EnsemblePlan(voters=random.choice(VOTERS), observers=random.choice((0, 0, 1)))
        plan.commit_log_count = settings["commit_log_count"]
        self.world = world = World(seed, plan)
        for server in world.servers.values():
            if not kind.true_clocks:
                server.clock.rate = world.random.choice((1.0, 1.0, 0.97, 1.03))
            server.speed.flush_us = world.random.choice(FLUSHES_US)
        world.network.conditions.delay_us = world.random.choice(DELAYS_US)
        self.scenario = kind(world)
        self.nemesis = Nemesis(world, self.scenario.faults, pause_ms=FAULT_PAUSE_MS)
        self.recovery_ms = 0
        self._names = 0

    def run(self) -> None:
        """From the first start to the last look. Raises ViolationError."""
        world, random, scenario = self.world, self.world.random, self.scenario
        for server in world.servers.values():
            world.scheduler.after(random.randint(0, 500) * MS, server.start)
        for _ in range(random.choice(scenario.applications)):
            world.scheduler.after(random.randint(0, 2000) * MS, self._join)
        world.on_application_lost = self._join
        world.run(random.randint(500, 2500))
        self.nemesis.start()
        world.run(scenario.duration_ms)
        self.nemesis.stop()
        self.recovery_ms = Convergence(world).wait_until_all_serve(RECOVERY_MS)
        world.run(REPLACEMENT_MS)
        scenario.is_calm, scenario.calm_us = True, world.scheduler.now_us
        self._await_progress()
        scenario.is_over = True
        self._await_rest()
        world.run(SETTLE_MS)
        scenario.at_rest()
        scenario.is_ending = True
        self._await_end()
        Convergence(world).settle()
        scenario.finish()

    def _join(self) -> None:
        self._names += 1
        app = Application(self.world, f"app {self._names}")
        if self.scenario.true_clocks:
            app.loop.rate = 1.0
        self.world.applications.append(app)
        app.start(self.scenario.work(app))

    def _living(self) -> list[Application]:
        return [app for app in self.world.applications if app.is_up]

    def _await_progress(self) -> None:
        scenario, living = self.scenario, self._living()
        due = {app: scenario.progress[app.name] + scenario.progress_due for app in living}

        def is_reached() -> bool:
            return all(app.is_done or scenario.progress[app.name] >= due[app] for app in living)

        if not self.world.scheduler.run(LIVENESS_MS * MS, is_reached):
            slow = [app for app in living if scenario.progress[app.name] < due[app]]
            self._complain("does not get on", slow)

    def _await_rest(self) -> None:
        living, resting = self._living(), self.scenario.resting
        if not self.world.scheduler.run(
            END_MS * MS, lambda: all(app.is_done or app.name in resting for app in living)
        ):
            self._complain(
                "does not end",
                [app for app in living if not app.is_done and app.name not in resting],
            )

    def _await_end(self) -> None:
        living = self._living()

        def busy() -> list[Application]:
            return [app for app in living if not app.is_done or app.loop.tasks()]

        if not self.world.scheduler.run(END_MS * MS, lambda: not busy()):
            self._complain("does not end", busy())
        gc.collect()
        for app in living:
            app.check()
            if app.loop.transports:
                violated("nothing is left behind", "%s has open connections", app.name)
            if app.loop.timers:
                violated("nothing is left behind", "%s: %s", app.name, app.loop.timers[0])

    def _complain(self, what: str, apps: list[Application]) -> None:
        for app in apps:
            for task in app.loop.stacks():
                self.world.trace(app, "is at %s", task)
        violated(PROMISE, "%s %s", ", ".join(app.name for app in apps), what)


@cache
def _set_modules_aside() -> None:
    """Once in a process: what lives as long as it need not be searched for garbage again."""
    gc.collect()
    gc.freeze()


def try_seed(
    seed: int, kind: type[Scenario], prepare: Callable[[World], None] | None = None
) -> Outcome:
    """Run one seed; `prepare` may do something to the world first."""
    _set_modules_aside()
    trial = Trial(seed, kind)
    world = trial.world
    violation = None
    was_collecting = gc.isenabled()
    gc.disable()  # what is dropped is found at the same point of every run
    try:
        if prepare is not None:
            prepare(world)
        trial.run()
    except ViolationError as error:
        violation = error
    finally:
        if was_collecting:
            gc.enable()
        for app in world.applications:
            app.wind_up()
    return Outcome(
        seed=seed,
        violation=violation,
        virtual_ms=world.scheduler.now_us // MS,
        steps=world.scheduler.steps,
        transactions=len(world.checks.history.txns),
        faults=trial.nemesis.count,
        recovery_ms=trial.recovery_ms,
        trace_hash=world.trace_hash,
        world=world,
    )
