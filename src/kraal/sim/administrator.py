"""Somebody who changes the membership: servers join, leave, and change their roles."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from kraal.model.ensemble import EnsembleConfig, Role
from kraal.sim.client import Request
from kraal.sim.scheduler import MS
from kraal.sim.world import server_line
from kraal.wire.opcodes import OpCode

if TYPE_CHECKING:
    from kraal.sim.world import World

Change = tuple[str | None, str | None, str | None]


class Administrator:
    """Asks for another membership now and then, until it is over."""

    def __init__(self, world: World, *, pause_ms: tuple[int, int]) -> None:
        self._world = world
        self._random: Random = world.random
        self._pause_ms = pause_ms
        self._client = world.client(timeout_ms=4000)
        self.is_over = False

    def start(self) -> None:
        """Begin."""
        self._later()

    def _later(self) -> None:
        self._client.after(self._random.randint(*self._pause_ms) * MS, self._act)

    def _act(self) -> None:
        if self.is_over:
            return
        leader = self._world.leader()
        if leader is not None:
            request = Request(OpCode.RECONFIG, change=self._change(leader.peer.config))
            if self._client.request(request):
                self._world.trace(self._client, "asks for %s", request)
        self._later()

    def _change(self, present: EnsembleConfig) -> Change:
        random, servers = self._random, self._world.servers
        server_id = random.choice(list(servers))
        chosen = random.random()
        if chosen < 0.3:
            return None, str(server_id), None
        if chosen < 0.45:
            return None, None, self._all_anew()
        self._run(server_id)
        leaving = random.choice(list(present.members)) if random.random() < 0.2 else None
        role = Role.PARTICIPANT if random.random() < 0.7 else Role.OBSERVER
        return server_line(server_id, role), None if leaving is None else str(leaving), None

    def _all_anew(self) -> str:
        random = self._random
        lines = []
        for server_id in self._world.servers:
            if random.random() < 0.7:
                self._run(server_id)
                role = Role.PARTICIPANT if random.random() < 0.7 else Role.OBSERVER
                lines.append(server_line(server_id, role))
        return ",".join(lines)

    def _run(self, server_id: int) -> None:
        """Who is to join must be there."""
        server = self._world.servers[server_id]
        if server.is_idle:
            server.is_idle = False
            server.start()
