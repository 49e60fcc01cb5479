"""One run: an ensemble is set up from a seed, suffers, recovers, and is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from kraal.model.config import ReaperConfig, ThrottleConfig
from kraal.sim.administrator import Administrator
from kraal.sim.checks.convergence import Convergence
from kraal.sim.client import Request
from kraal.sim.nemesis import Nemesis
from kraal.sim.profile import Profile
from kraal.sim.scheduler import MS
from kraal.sim.violation import ViolationError
from kraal.sim.workload import PARENTS, Workload
from kraal.sim.world import EnsemblePlan, World
from kraal.tree import snapshot
from kraal.wire.opcodes import OpCode

SLICE_NODES = 5
RECOVERY_MS = 30_000
"""So soon after the last fault everybody serves and every write succeeds."""


@dataclass
class Outcome:
    """What came of a seed."""

    seed: int
    violation: ViolationError | None
    virtual_ms: int
    steps: int
    transactions: int
    faults: int
    recovery_ms: int
    """How long after the last fault everybody served."""
    trace_hash: int
    world: World


@contextmanager
def small_slices() -> Iterator[None]:
    """Snapshots in so small slices that small trees have many: they are fuzzy then."""
    before = snapshot.SLICE_NODES
    snapshot.SLICE_NODES = SLICE_NODES
    try:
        yield
    finally:
        snapshot.SLICE_NODES = before


def run(seed: int, profile: Profile, prepare: Callable[[World], None] | None = None) -> Outcome:
    """Run one seed; `prepare` may do something to the world first."""
    story = _Story(seed, profile)
    violation = None
    with small_slices():
        try:
            if prepare is not None:
                prepare(story.world)
            story.tell()
        except ViolationError as error:
            violation = error
    world = story.world
    return Outcome(
        seed=seed,
        violation=violation,
        virtual_ms=world.scheduler.now_us // MS,
        steps=world.scheduler.steps,
        transactions=len(world.checks.history.txns),
        faults=story.nemesis.count,
        recovery_ms=story.recovery_ms,
        trace_hash=world.trace_hash,
        world=world,
    )


class _Story:
    def __init__(self, seed: int, profile: Profile) -> None:
        self.profile = profile
        self.world = world = World(seed, _plan(seed, profile))
        self.recovery_ms = 0
        random = world.random
        for server in world.servers.values():
            server.clock.rate = random.choice((1.0, 1.0, 0.97, 1.03))
            server.clock.monotonic_ms = random.randint(0, 1 << 36)
            server.speed.flush_us = random.choice(profile.flush_us)
        world.network.conditions.delay_us = random.choice(profile.delay_us)
        self.workload = Workload(
            world,
            pause_ms=profile.request_pause_ms,
            pipelined=random.choice(profile.pipelined),
            hot_bursts=profile.hot_bursts,
        )
        self.administrator: Administrator | None = None
        self.nemesis = Nemesis(world, profile.faults, pause_ms=profile.fault_pause_ms)

    def tell(self) -> None:
        """From the first start to the last look."""
        world, random, profile = self.world, self.world.random, self.profile
        at_once = random.random() < 0.5
        for server_id in world.server_ids:
            server = world.servers[server_id]
            world.scheduler.after(0 if at_once else random.randint(0, 2000) * MS, server.start)
        for _ in range(random.choice(profile.clients)):
            self._client()
        world.on_client_lost = self._client
        world.run(2100)
        self._plant()
        if world.plan.spares:
            self.administrator = Administrator(world, pause_ms=profile.reconfig_pause_ms)
            self.administrator.start()
        if profile.faults:
            self.nemesis.start()
        world.run(profile.duration_ms)
        convergence = Convergence(world)
        if self.administrator is not None:
            self.administrator.is_over = True
        self.nemesis.stop()
        if self.administrator is not None:
            convergence.settle_membership(RECOVERY_MS)
        self.recovery_ms = convergence.wait_until_all_serve(RECOVERY_MS)
        world.run(1000)
        self.workload.is_over = True
        convergence.probe(RECOVERY_MS)
        convergence.settle()
        convergence.compare()
        if random.random() < 0.5:
            for server_id in world.server_ids:
                world.servers[server_id].crash(power=True)
                world.servers[server_id].start()
            convergence.wait_until_all_serve(RECOVERY_MS)
            convergence.probe(RECOVERY_MS)
            convergence.settle()
            convergence.compare()
        world.checks.requests.finish()
        world.checks.membership.finish()

    def _client(self) -> None:
        world, random = self.world, self.world.random
        client = world.client(
            timeout_ms=random.choice((800, 1500, 4000)), read_only=random.random() < 0.2
        )
        self.workload.drive(client)

    def _plant(self) -> None:
        """The parents that all requests are about."""
        for client in self.world.clients:
            for path in PARENTS:
                client.request(Request(OpCode.CREATE, path))


def _plan(seed: int, profile: Profile) -> EnsemblePlan:
    random = Random(-seed - 1)
    voters, observers = random.choice(profile.voters), random.choice(profile.observers)
    return EnsemblePlan(
        voters=voters,
        observers=observers,
        spares=random.choice(profile.spares),
        commit_log_count=random.choice((5, 20, 500)),
        snap_count=random.choice((10, 50, 100_000)),
        groups=_groups(random, voters) if voters > 3 and random.random() < 0.3 else "",
        pre_alloc_bytes=random.choice((0, 512, 8192)),
        snapshot_size_factor=random.choice((0.33, 1000.0)),
        settings={
            "read_only_mode": random.random() < 0.3,
            "reaper": ReaperConfig(check_interval_ms=500),
            "throttle": ThrottleConfig(global_outstanding_limit=random.choice((3, 1000, 1000))),
        },
        ensemble={
            "observer_master_port": random.choice((0, 0, 2191)),
            "sync_enabled": random.random() < 0.8,
            "leader_serves": random.random() < 0.9 or voters + observers == 1,
            "force_snapshot_sync": random.random() < 0.1,
        },
    )


def _groups(random: Random, voters: int) -> str:
    """Lines of a hierarchy of two or three groups; a server may weigh nothing."""
    count = random.choice((2, 3))
    ids = list(range(1, voters + 1))
    random.shuffle(ids)
    groups = [ids[at::count] for at in range(count)]
    lines = [f"group.{at + 1}={':'.join(map(str, group))}" for at, group in enumerate(groups)]
    if random.random() < 0.5:
        # In a group of more than one, so that somebody there can lead.
        lines.append(f"weight.{groups[0][0]}=0")
    return "\n".join(lines)
