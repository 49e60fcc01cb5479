"""Real servers as a stage for the scenarios of the simulation, and real clients as its actors."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import kraal
from kraal.client import Client
from kraal.client.options import WhileDisconnected
from kraal.sim.stage import Life
from kraal.sim.violation import ViolationError
from tests.interop.recipes_history import LiveHistory
from tests.support.ensembles import Member
from tests.support.proxy import Proxy
from tests.support.servers import HOST

_SESSION = re.compile(r"^0x([0-9a-f]+)$")
LOGGED_S = 2.0
"""So soon is in the log what a server has in mind."""
FRESH_S = 0.3
SLOWER = 1.4
"""Real time goes on while others have the processor. Not more: see `guard.NOTICE`."""
Fail = Callable[[BaseException], None]


class Servers:
    """What all scenarios of a run share."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._watches: dict[int, list[bytes]] = {}

    async def keep_asking(self) -> None:
        """Know what they watch, without holding up anybody whose session must live."""
        while True:
            await asyncio.to_thread(self._ask)
            await asyncio.sleep(FRESH_S)

    def watches(self, sessions: Set[int]) -> list[tuple[int, list[bytes]]]:
        """What they watch for these; they are asked once more before that is said."""
        if sessions & self._watches.keys():
            self._ask()
        return [(each, self._watches[each]) for each in sorted(sessions & self._watches.keys())]

    def _ask(self) -> None:
        found: dict[int, list[bytes]] = {}
        for member in self.members:
            for session_id, paths in _watches(member.word("wchc")).items():
                if paths:
                    found.setdefault(session_id, []).extend(paths)
        self._watches = found


class RealStage:
    """What one scenario knows of the servers and of its own applications."""

    def __init__(self, servers: Servers, history: LiveHistory, random: Random, fail: Fail) -> None:
        self.random = random
        self.applications: list[RealActor] = []
        self.servers = servers
        self.fail = fail
        self._history = history
        self._began_ns = time.monotonic_ns()

    @property
    def now_us(self) -> int:
        return (time.monotonic_ns() - self._began_ns) // 1000

    @property
    def history(self) -> LiveHistory:
        self._history.catch_up(self.shown_zxid)
        return self._history

    @property
    def shown_zxid(self) -> int:
        """What the clients here have seen; more may be logged, but not yet committed.

        (Apache ZooKeeper's leader answers a sync of its own clients without waiting for that.)
        """
        clients = (zk for app in self.applications for zk in app.clients)
        return max((zk.last_zxid for zk in clients), default=0)

    def is_session_ending(self, session_id: int) -> bool:
        """A server knows it before it is in its log, so this may take a moment."""
        until = time.monotonic() + LOGGED_S
        while session_id not in self.history.ending:
            if time.monotonic() > until:
                return False
            time.sleep(0.001)  # the servers go on
        return True

    def watches_left(self) -> list[tuple[int, list[bytes]]]:
        """Of data; servers do not tell the watches of children by session."""
        ours = {zk.session_id for app in self.applications for zk in app.clients}
        return self.servers.watches(ours)


def _watches(answer: str) -> Mapping[int, list[bytes]]:
    """What `wchc` says, by session."""
    found: dict[int, list[bytes]] = {}
    paths: list[bytes] = []
    for line in answer.splitlines():
        session = _SESSION.match(line)
        if session is not None:
            paths = found.setdefault(int(session[1], 16), [])
        elif line.startswith("\t"):
            paths.append(line[1:].encode())
    return found


class RealActor(Life):
    """An application with clients of its own, whose connections can be troubled."""

    def __init__(self, world: RealStage, name: str) -> None:
        self.world = world
        self.name = name
        self.random = Random(world.random.getrandbits(64))
        self.is_up = True
        self.resumed_us = 0
        self.clients: list[Client] = []
        self.proxies: list[Proxy] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def now_us(self) -> int:
        return self.world.now_us

    @property
    def task(self) -> asyncio.Task[None]:
        """Its life."""
        assert self._task is not None
        return self._task

    def start(self, work: Callable[[RealActor], Coroutine[Any, Any, None]]) -> None:
        """Live, behind proxies of its own, to the end of this work."""

        async def live() -> None:
            async with AsyncExitStack() as stack:
                for member in self.world.servers.members:
                    proxy = await stack.enter_async_context(Proxy(member.client_port))
                    self.proxies.append(proxy)
                await work(self)

        self._task = asyncio.create_task(live(), name=self.name)
        self._task.add_done_callback(self._ended)

    def connect(
        self,
        chroot: str = "",
        *,
        session_timeout: float = 4.0,
        request_timeout: float | None = None,
        while_disconnected: WhileDisconnected = "wait",
    ) -> Client:
        """A client of the servers, not started yet."""
        hosts = ",".join(f"{HOST}:{proxy.port}" for proxy in self.proxies)
        zk = kraal.connect(
            hosts + chroot,
            session_timeout=SLOWER * session_timeout,
            request_timeout=request_timeout,
            while_disconnected=while_disconnected,
            rng=self.random,
        )
        self.clients.append(zk)
        return zk

    def die(self) -> None:
        """No server hears of it again, and its session ends by its timeout."""
        self.is_up = False
        for proxy in self.proxies:
            proxy.refuse()

    def failed(self, error: BaseException) -> None:
        if not self.is_up:
            return
        if not isinstance(error, ViolationError):
            cause = error
            error = ViolationError("no application fails", f"{self.name}: {cause!r}")
            error.__cause__ = cause
        self.world.fail(error)
