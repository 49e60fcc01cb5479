"""Parties and groups: members are there until they leave, and everybody gets to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from kraal.client import Client
from kraal.recipes import GroupMember, Party, ServiceInstance, ServiceRegistry
from kraal.sim.scenarios.trouble import TROUBLE
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

PROMISE = "members are there until they leave"


class Member(Protocol):
    """One who joins and leaves, and asks and hears who is there."""

    async def __aenter__(self) -> object: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def members(self) -> object: ...
    def follow(self) -> AsyncGenerator[list[str], None]: ...


class Parties(Workers):
    """Members come and go; those who stay are known to all in the end."""

    path = f"{TOP}/party"

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._staying: dict[Actor, str] = {}
        self._seen: dict[Actor, list[str]] = {}

    def member(self, app: Actor, zk: Client) -> Member:
        """One who has not joined yet."""
        return Party(zk, self.path, app.name)

    async def work(self, app: Actor) -> None:
        async with self.connect(app) as zk:
            how = app.random.choice(("always", "in the end", "never"))
            async with app.beside(self._observe(app, zk)), AsyncExitStack() as stack:
                if how == "always":
                    await stack.enter_async_context(self.member(app, zk))
                    await self._watch_others(app, zk)
                else:
                    await self._act_often(app, zk)
                if how == "in the end":
                    await stack.enter_async_context(self.member(app, zk))
                if how != "never":
                    self._staying[app] = app.name
                await self.rest(app)

    async def _watch_others(self, app: Actor, zk: Client) -> None:
        """A member that stays, whatever happens."""
        while not self.is_over:
            with suppress(*TROUBLE):
                await self.member(app, zk).members()
                self.got_on(app)
            await asyncio.sleep(0.2)

    async def _observe(self, app: Actor, zk: Client) -> None:
        async with aclosing(self.member(app, zk).follow()) as changes:
            async for names in changes:
                self._seen[app] = names

    async def act(self, app: Actor, zk: Client) -> None:
        seen = zk.last_zxid
        member = self.member(app, zk)
        async with member:
            states = self.world.history.since(seen, self.server_path(self.path))
            if not any(state and state.children for state in states):
                violated(PROMISE, "%s has joined, and nobody was there", app.name)
            await asyncio.sleep(app.random.uniform(0, 0.3))
            if app.random.random() < 0.3:
                await member.members()
        self.got_on(app)

    def at_rest(self) -> None:
        tree = self.world.history.tree
        parent = tree.nodes.get(self.server_path(self.path))
        children = list((parent and parent.children) or ())
        expected = sorted(name for app, name in self._staying.items() if app.is_up)
        found = sorted(self.name_of(path, tree.nodes[path].data or b"") for path in children)
        if found != expected:
            violated(PROMISE, "%s are there instead of %s", found, expected)
        for app, names in self._seen.items():
            if app.is_up and sorted(names) != expected:
                violated(PROMISE, "%s knows of %s instead of %s", app.name, names, expected)

    def name_of(self, _path: bytes, data: bytes) -> str:
        """Who stands behind a znode."""
        return data.decode()


class Groups(Parties):
    """The same with ids that are members' own."""

    path = f"{TOP}/group"

    def member(self, app: Actor, zk: Client) -> Member:
        return GroupMember(zk, self.path, app.name, b"of " + app.name.encode())

    def name_of(self, path: bytes, _data: bytes) -> str:
        return path.rpartition(b"/")[2].decode()


class Services(Parties):
    """Instances of a service announce themselves, and a provider knows them."""

    path = f"{TOP}/services/mail"

    def member(self, app: Actor, zk: Client) -> Member:
        return Announced(zk, app.name)

    def name_of(self, path: bytes, _data: bytes) -> str:
        return path.rpartition(b"/")[2].decode()


class Announced:
    """A member that is an instance of a service."""

    def __init__(self, zk: Client, name: str) -> None:
        self._registry: ServiceRegistry[object] = ServiceRegistry(zk, f"{TOP}/services")
        self._instance: ServiceInstance[object] = ServiceInstance("mail", name, "10.0.0.9", 25)

    async def __aenter__(self) -> object:
        return await self._registry.register(self._instance)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._registry.close()

    async def members(self) -> object:
        return await self._registry.instances("mail")

    async def follow(self) -> AsyncGenerator[list[str], None]:
        async with self._registry.provider("mail") as provider:
            await provider.ready()
            while True:
                yield sorted(provider.instances)
                await asyncio.sleep(0.1)
