"""Locks, semaphores and elections: those who hold use a guarded resource."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from kraal.client import Client
from kraal.recipes import (
    Held,
    LeaderElection,
    LeaderLatch,
    Lock,
    MultiLock,
    ReadWriteLock,
    Semaphore,
)
from kraal.sim.scenarios.guard import Grant, Guard, Holding
from kraal.sim.scenarios.workers import Workers

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

STAYS = 0.15
"""Share of those who hold for long."""


class Holders(Workers):
    """A guarded resource, which only holders use."""

    limit: ClassVar[int] = 1

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self.guard = Guard(world, self.limit)

    async def use(
        self,
        app: Actor,
        held: Holding,
        *,
        is_shared: bool = False,
        was: Grant | None = None,
    ) -> Grant:
        """Use the resource for a while. Raises LostError if that becomes known to be over."""
        random = app.random
        grant = self.guard.enter(app, held, is_shared=is_shared, was=was)
        try:
            is_long = not self.is_calm and random.random() < STAYS
            for _ in range(random.randint(20, 80) if is_long else random.randint(0, 4)):
                await asyncio.sleep(random.uniform(0, 0.2 if is_long else 0.05))
                self.guard.use(grant)
        finally:
            self.guard.leave(grant)
        self.got_on(app)
        return grant


class LockHolders(Holders):
    """The exclusive lock."""

    async def act(self, app: Actor, zk: Client) -> None:
        lock = Lock(zk, self.path, app.name)
        if app.random.random() < 0.2:
            held = await lock.acquire(blocking=False)
            if held is None:
                return
        else:
            timeout = app.random.uniform(0, 2) if app.random.random() < 0.2 else None
            held = await lock.acquire(timeout=timeout)
        try:
            await self.use(app, held)
        finally:
            await lock.release()


class ReadersAndWriters(Holders):
    """The read-write lock; writers may become readers."""

    async def act(self, app: Actor, zk: Client) -> None:
        lock = ReadWriteLock(zk, self.path, app.name)
        if app.random.random() < 0.5:
            async with lock.read as held:
                await self.use(app, held, is_shared=True)
            return
        async with lock.write as held:
            grant = await self.use(app, held)
            if app.random.random() < 0.7:
                hurry_s = app.random.uniform(0, 0.02) if app.random.random() < 0.3 else None
                async with asyncio.timeout(hurry_s):
                    await lock.downgrade(held)
                await self.use(app, held, is_shared=True, was=grant)


class SemaphoreHolders(Holders):
    """Two places."""

    limit = 2

    async def act(self, app: Actor, zk: Client) -> None:
        async with Semaphore(zk, self.path, self.limit, app.name) as held:
            await self.use(app, held)


class MultiLockHolders(Holders):
    """Two of three locks at a time."""

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self.guards = {f"{self.path}-{number}": Guard(world) for number in range(3)}

    async def act(self, app: Actor, zk: Client) -> None:
        paths = app.random.sample(sorted(self.guards), 2)
        async with MultiLock([Lock(zk, path, app.name) for path in paths]) as held:
            grants = {}
            try:
                for part in held.parts:
                    assert isinstance(part, Held)
                    guard = next(guard for path, guard in self.guards.items() if path in str(part))
                    grants[guard] = guard.enter(app, part)
                for _ in range(app.random.randint(0, 3)):
                    await asyncio.sleep(app.random.uniform(0, 0.05))
                    for guard, grant in grants.items():
                        guard.use(grant)
            finally:
                for guard, grant in grants.items():
                    guard.leave(grant)
            self.got_on(app)


class Candidates(Holders):
    """Leader election: a coroutine runs while its candidate leads."""

    tasks = (1,)

    async def act(self, app: Actor, zk: Client) -> None:
        async def lead(leadership: Held) -> None:
            await self.use(app, leadership)

        await LeaderElection(zk, self.path, app.name).run(lead)


class Latches(Holders):
    """The leader latch: leads until it closes or its leadership is lost."""

    tasks = (1,)

    async def act(self, app: Actor, zk: Client) -> None:
        async with LeaderLatch(zk, self.path, app.name) as latch:
            for _ in range(app.random.randint(1, 3)):
                leadership = await latch.wait_leading()
                await self.use(app, leadership)
