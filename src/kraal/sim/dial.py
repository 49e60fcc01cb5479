"""Connecting to a simulated server: names, addresses, and what becomes of an attempt."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from kraal.sim.network import Endpoint
from kraal.sim.scheduler import MS, Host

if TYPE_CHECKING:
    from kraal.sim.server import SimServer
    from kraal.sim.world import World

CLIENT_PORT = 2181
SYN_AGAIN_US = 200 * MS
"""Between two attempts of a machine to reach one that it does not hear."""
DEAD_SILENT = 0.2
"""Share of attempts at a server that is down of which nothing is heard: its machine is down."""


class Directory:
    """Where the servers of a world are; every one has a name and an address."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._servers = {
            name: server
            for server in world.servers.values()
            for name in (f"s{server.id}", f"10.0.0.{server.id}")
        }

    def server(self, host: str | bytes | None) -> SimServer | None:
        """The server of this name or address."""
        name = host.decode() if isinstance(host, bytes) else host or ""
        return self._servers.get(name)

    def address(self, host: str | bytes | None) -> str | None:
        """What a look-up of a name finds."""
        server = self.server(host)
        return None if server is None else f"10.0.0.{server.id}"

    @property
    def connect_string(self) -> str:
        """All servers, as clients are told of them."""
        return ",".join(f"s{server_id}:{CLIENT_PORT}" for server_id in self.world.servers)


class Dial:
    """One attempt to connect; it succeeds, is refused, or goes on until it is given up."""

    def __init__(
        self,
        directory: Directory,
        caller: Host,
        address: str,
        port: int | None,
        waiter: asyncio.Future[Endpoint],
    ) -> None:
        self._world = directory.world
        self._caller = caller
        self._server = directory.server(address)
        self._where = f"{address}:{port}"
        self._is_served = port == CLIENT_PORT
        self._waiter = waiter
        self._near: Endpoint | None = None

    def attempt(self) -> None:
        """Say that somebody wants to connect, and hear what there is to it."""
        world, server, caller = self._world, self._server, self._caller
        network = world.network
        if self._waiter.done():
            return
        is_heard = (
            server is not None
            and network.reaches(caller, server)
            and network.reaches(server, caller)
        )
        if server is None or not is_heard:
            caller.after(SYN_AGAIN_US, self.attempt)
        elif server.is_up and self._is_served:
            near, far = network.connect(caller, server, f"{caller.name}-{server.id}")
            far.pause_reading()  # until it is accepted
            near.pause_reading()  # until there is a protocol
            server.after(network.delay(), partial(server.port.accept, far))
            caller.after(2 * network.delay(), partial(self._connected, near))
            self._near = near
        elif world.random.random() < DEAD_SILENT:
            caller.after(SYN_AGAIN_US, self.attempt)
        else:
            caller.after(2 * network.delay(), self._refused)

    def _connected(self, near: Endpoint) -> None:
        if not self._waiter.done():
            self._waiter.set_result(near)

    def _refused(self) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(ConnectionRefusedError(111, f"{self._where} refuses"))

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._waiter.cancel()
        if self._near is not None:
            self._near.close()
