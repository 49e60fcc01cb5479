"""What goes wrong: one fault after the other, each for some time, several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from kraal.sim.scheduler import MS, Host
from kraal.sim.server import SimServer

if TYPE_CHECKING:
    from kraal.sim.application import Application
    from kraal.sim.world import World

FOREVER_US = 1 << 62
OPERATIONS = ("create", "write", "sync", "sync_directory", "rename", "unlink", "truncate", "read")
OPERATIONS_MAX = 40
"""Of the file system, until the power fails in the midst of one."""


class Nemesis:
    """Brings faults upon a world until `stop`, which mends everything."""

    def __init__(
        self, world: World, weights: Mapping[str, int], *, pause_ms: tuple[int, int]
    ) -> None:
        self._world = world
        self._random: Random = world.random
        self._pause_ms = pause_ms
        self._is_over = False
        self._heal_count = 0
        self.count = 0
        faults: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "power": self._power,
            "tear": self._tear,
            "bad disk": self._bad_disk,
            "kill leader": self._kill_leader,
            "lonely leader": self._lonely_leader,
            "all": self._all_die,
            "partition": self._partition,
            "isolate": self._isolate,
            "one way": self._one_way,
            "cut": self._cut,
            "pause": self._pause,
            "clock": self._clock,
            "slow disk": self._slow_disk,
            "slow network": self._slow_network,
            "hang up": self._hang_up,
            "deaf client": self._deaf_client,
            "client dies": self._client_dies,
            "client leaves": self._client_leaves,
            "application hangs up": self._application_hangs_up,
            "application is deaf": self._application_is_deaf,
            "application dies": self._application_dies,
            "application pauses": self._application_pauses,
            "session ends": self._session_ends,
            "names": self._names,
        }
        self._faults = [faults[name] for name in weights]
        self._weights = list(weights.values())

    def start(self) -> None:
        """Begin."""
        self._world.disturbed_us = FOREVER_US
        self._next()

    def _next(self) -> None:
        delay = self._random.randint(*self._pause_ms) * MS
        self._world.scheduler.after(delay, self._strike)

    def _strike(self) -> None:
        if not self._is_over:
            self.count += 1
            self._random.choices(self._faults, self._weights)[0]()
            self._next()

    def stop(self) -> None:
        """Everything is mended: all servers run, and the network is quiet."""
        self._is_over = True
        world = self._world
        world.network.heal()
        world.are_names_known = True
        world.network.conditions.late = world.network.conditions.lost = 0.0
        world.network.conditions.repeated = 0.0
        for server_id in world.server_ids:
            server = world.servers[server_id]
            server.fails_after = None
            server.speed.slowed = 1
            if server.is_up and server.has_bad_disk:
                server.crash(power=False)
            if server.is_up:
                server.resume()
            else:
                server.start()
        for app in world.applications:
            if app.is_paused:
                app.resume()
        world.disturbed_us = world.scheduler.now_us

    # Whom it strikes

    def _server(self) -> SimServer | None:
        found = [server for server in self._world.servers.values() if server.is_up]
        return self._random.choice(found) if found else None

    def _later(self, longest_ms: int, action: Callable[[], None]) -> None:
        delay = self._random.randint(1, longest_ms) * MS
        self._world.scheduler.after(delay, lambda: None if self._is_over else action())

    def _restart(self, server: SimServer) -> None:
        self._start(server, self._random.randint(1, self._random.choice((10, 300, 3000))))

    def _start(self, server: SimServer, delay_ms: int) -> None:
        def start() -> None:
            if not server.is_up and not self._is_over:
                server.start()

        self._world.scheduler.after(delay_ms * MS, start)

    # Servers

    def _kill(self) -> None:
        server = self._server()
        if server is not None:
            server.crash(power=False)
            self._restart(server)

    def _power(self) -> None:
        server = self._server()
        if server is not None:
            server.crash(power=True)
            self._restart(server)

    def _tear(self) -> None:
        server = self._server()
        if server is not None:
            server.fails_after = self._random.randint(0, OPERATIONS_MAX)

            def start() -> None:
                server.fails_after = None
                if not server.is_up:
                    server.start()

            self._later(3000, start)

    def _bad_disk(self) -> None:
        server = self._server()
        if server is None:
            return
        server.has_bad_disk = True
        kind = self._random.choice(OPERATIONS)
        server.fs.fail(kind, after=self._random.randint(0, OPERATIONS_MAX // 2))

        def start() -> None:
            if server.is_up and server.has_bad_disk:
                server.crash(power=False)  # what is planned and did not happen is off then
            if not server.is_up:
                server.start()

        self._later(3000, start)

    def _kill_leader(self) -> None:
        server = self._world.leader()
        if server is not None:
            server.crash(power=self._random.random() < 0.7)
            self._restart(server)

    def _lonely_leader(self) -> None:
        """What it proposes reaches a minority at most; then it dies and is soon back."""
        leader = self._world.leader()
        if leader is None:
            return
        network, life = self._world.network, leader.life
        others = [server for server in self._world.servers.values() if server is not leader]
        self._random.shuffle(others)
        deaf = others[self._random.choice((0, 0, 1)) :]
        self._world.trace(leader, "is heard by %d others only", len(others) - len(deaf))
        for other in deaf:
            network.block(leader, other)

        def end() -> None:
            is_silent = self._random.random() < 0.5
            if is_silent:
                # What it had alone is found before there is anything new.
                self._world.silence(2000)
            if leader.life == life:
                leader.crash(power=self._random.random() < 0.5)
                if is_silent:
                    self._start(leader, self._random.randint(250, 800))
                else:
                    self._restart(leader)
            for other in deaf:
                network.unblock(leader, other)

        self._later(300, end)

    def _all_die(self) -> None:
        for server in self._world.servers.values():
            if server.is_up:
                server.crash(power=self._random.random() < 0.8)
                self._restart(server)

    def _pause(self) -> None:
        server = self._world.leader() if self._random.random() < 0.4 else self._server()
        if server is not None and not server.is_paused:
            life = server.life
            self._world.trace(server, "is paused")
            server.pause()

            def resume() -> None:
                if server.life == life:
                    self._world.trace(server, "goes on")
                    server.resume()

            self._later(self._random.choice((50, 500, 3000)), resume)

    def _clock(self) -> None:
        server = self._server()
        if server is not None:
            server.clock.wall_ms += self._random.randint(-100_000, 100_000)

    def _slow_disk(self) -> None:
        server = self._server()
        if server is not None:
            self._world.trace(server, "has a slow disk")
            server.speed.slowed = self._random.choice((10, 50, 200))

            def mend() -> None:
                server.speed.slowed = 1

            self._later(2000, mend)

    # The network

    def _heal_later(self) -> None:
        self._heal_count += 1
        count = self._heal_count

        def heal() -> None:
            if count == self._heal_count:
                self._world.trace(self._first(), "the network is whole again")
                self._world.network.heal()

        self._later(self._random.choice((100, 1000, 4000)), heal)

    def _first(self) -> Host:
        return next(iter(self._world.servers.values()))

    def _hosts(self) -> list[Host]:
        world = self._world
        return [*world.servers.values(), *world.clients, *world.applications]

    def _divide(self, some: list[Host], *, one_way: bool) -> None:
        network = self._world.network
        names = ", ".join(host.name for host in some)
        self._world.trace(self._first(), "cut off%s: %s", " one way" if one_way else "", names)
        for inside in some:
            for outside in self._hosts():
                if outside not in some:
                    network.block(inside, outside)
                    if not one_way:
                        network.block(outside, inside)
        self._heal_later()

    def _partition(self) -> None:
        some = [host for host in self._hosts() if self._random.random() < 0.5]
        self._divide(some, one_way=False)

    def _isolate(self) -> None:
        server = self._world.leader() if self._random.random() < 0.6 else self._server()
        if server is not None:
            self._divide([server], one_way=False)

    def _one_way(self) -> None:
        server = self._world.leader() if self._random.random() < 0.5 else self._server()
        if server is not None:
            if self._random.random() < 0.5:
                self._divide([server], one_way=True)
            else:
                others = [host for host in self._hosts() if host is not server]
                self._divide(others, one_way=True)

    def _cut(self) -> None:
        living = self._world.network.living()
        if living:
            near, far = self._random.choice(living)
            self._world.trace(near.host, "loses its connection %s", near.name)
            self._world.network.cut(near, far)

    def _slow_network(self) -> None:
        conditions = self._world.network.conditions
        conditions.late = self._random.choice((0.05, 0.3))
        conditions.lost = self._random.choice((0.0, 0.1, 0.5))
        conditions.repeated = self._random.choice((0.0, 0.2))

        def mend() -> None:
            conditions.late = conditions.lost = conditions.repeated = 0.0

        self._later(3000, mend)

    # Clients

    def _hang_up(self) -> None:
        if self._world.clients:
            self._random.choice(self._world.clients).hang_up()

    def _deaf_client(self) -> None:
        """It does not take its output for a while."""
        client = self._random.choice(self._world.clients)
        if client.connection is not None:
            link = client.connection.link
            link.pause_reading()
            self._world.scheduler.after(self._random.randint(1, 1500) * MS, link.resume_reading)

    def _client_dies(self) -> None:
        clients = [client for client in self._world.clients if client.is_up]
        if len(clients) > 1:
            self._random.choice(clients).kill()
            self._world.replace_client()

    def _client_leaves(self) -> None:
        if self._world.clients:
            self._random.choice(self._world.clients).close_session()

    # Applications

    def _application(self) -> Application | None:
        found = [app for app in self._world.applications if app.is_up and not app.is_paused]
        return self._random.choice(found) if found else None

    def _application_hangs_up(self) -> None:
        """It loses a connection, each time with another part of what was on its way."""
        app = self._application()
        if app is not None and app.loop.transports:
            transport = self._random.choice(list(app.loop.transports))
            app.trace("loses its connection %s", transport.near.name)
            lose_all = self._random.random() < 0.3
            self._world.network.cut(transport.near, transport.near.peer, lose_all=lose_all)

    def _application_is_deaf(self) -> None:
        """What servers send it stays on its way for a while; it runs on."""
        app = self._application()
        if app is not None:
            hosts = [*self._world.servers.values()]
            app.trace("hears nothing")
            for server in hosts:
                self._world.network.block(server, app)

            def mend() -> None:
                for server in hosts:
                    self._world.network.unblock(server, app)

            self._later(self._random.choice((100, 1000)), mend)

    def _application_dies(self) -> None:
        app = self._application()
        if app is not None:
            app.kill()
            delay = self._random.randint(1, 1000) * MS
            self._world.scheduler.after(delay, self._world.replace_application)

    def _application_pauses(self) -> None:
        app = self._application()
        if app is None:
            return
        app.trace("is paused")
        app.pause()

        def resume() -> None:
            if app.is_up and app.is_paused:
                app.trace("goes on")
                app.resume()

        self._later(self._random.choice((50, 1000, 4000)), resume)

    def _session_ends(self) -> None:
        """The session of an application ends while it uses it: somebody closes it."""
        sessions, leader = self._world.checks.history.tree.sessions, self._world.leader()
        if sessions and leader is not None and not leader.is_paused:
            session_id = self._random.choice(sorted(sessions))
            self._world.trace(leader, "ends session 0x%x", session_id)
            self._world.checks.sessions.ended_on_request.add(session_id)
            leader.end_session(session_id)

    def _names(self) -> None:
        """For a while no name has an address."""
        world = self._world
        world.are_names_known = False

        def mend() -> None:
            world.are_names_known = True

        self._later(2000, mend)
