"""A small language for stories about ensembles, told in the simulator's virtual time.

Every promise that the simulation checks is checked here too: one history, no acknowledged write
lost, watches, order, sessions.
"""

from __future__ import annotations

from collections.abc import Callable

from kraal.replica.status import Mode
from kraal.sim.checks.convergence import Convergence
from kraal.sim.client import Request, SimClient
from kraal.sim.protocol import Reply, read_buffer, read_strings
from kraal.sim.scheduler import MS
from kraal.sim.server import SimServer
from kraal.sim.world import EnsemblePlan, World
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode

EPHEMERAL = 1
PATIENCE_MS = 20_000


class Story:
    """Servers 1 to n, of which the last ones may be observers; nobody runs at first."""

    def __init__(
        self, voters: int, observers: int = 0, *, seed: int = 1, **settings: object
    ) -> None:
        self.world = World(seed, EnsemblePlan(voters=voters, observers=observers, **settings))  # type: ignore[arg-type]
        for server in self.world.servers.values():
            server.is_idle = True

    # Servers

    def server(self, server_id: int) -> SimServer:
        return self.world.servers[server_id]

    def start(self, *server_ids: int) -> None:
        for server_id in server_ids or self.world.servers:
            self.server(server_id).is_idle = False
            self.server(server_id).start()

    def power_off(self, *server_ids: int) -> None:
        """What was not flushed is gone."""
        for server_id in server_ids:
            self.server(server_id).crash(power=True)
            self.server(server_id).is_idle = True

    def state(self, server_id: int) -> str:
        """LOOKING, LEADING, FOLLOWING or OBSERVING."""
        return self.server(server_id).peer.state.name

    def leader(self) -> int | None:
        """The established leader of the newest epoch."""
        leader = self.world.leader()
        return leader.id if leader is not None else None

    def serves(self, server_id: int) -> Mode | None:
        """The mode in which it serves clients; None: it does not."""
        server = self.server(server_id)
        replica = server.port.replica if server.is_up else None
        return replica.mode if replica is not None else None

    def tree(self, server_id: int) -> DataTree:
        return self.server(server_id).peer.tree

    def counter(self, server_id: int) -> int:
        """The counter part of its last zxid, logged or applied."""
        return max(self.server(server_id).disk.durable_zxid, 0) & 0xFFFF_FFFF

    def synchronised_by(self, server_id: int) -> str:
        """What the leader brought it in step with since it was started last."""
        name, found = self.server(server_id).name, "DIFF"
        for _, who, what, _ in self.world.entries:
            if who == name and what.startswith("starts"):
                found = "DIFF"
            elif who == name and what.startswith("adopts a snapshot"):
                found = "SNAP"
            elif who == name and what.startswith("cuts its log"):
                found = "TRUNC"
        return found

    # Time

    def run(self, ms: int) -> None:
        self.world.run(ms)

    def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until something is so."""
        assert self.world.scheduler.run(PATIENCE_MS * MS, condition), "it never comes"

    def until_led_by(self, leader: int, *followers: int) -> None:
        self.until(
            lambda: (
                self.leader() == leader
                and all(self.serves(server_id) is not None for server_id in (leader, *followers))
            )
        )

    def until_all_serve(self) -> None:
        """One leader has everybody who runs behind it, and all trees are the same."""
        convergence = Convergence(self.world)
        convergence.wait_until_all_serve(PATIENCE_MS)
        self.run(500)
        convergence.compare()

    # The network

    def separate(self, some: list[int], others: list[int], *clients: Client) -> None:
        """Nothing passes between both sides; the clients are on the side of the first."""
        network = self.world.network
        here = [*map(self.server, some), *(client.sim for client in clients)]
        for one in here:
            for other in map(self.server, others):
                network.block(one, other)
                network.block(other, one)

    def deafen(self, server_id: int, to: int) -> None:
        """Nothing that `to` says reaches the server."""
        self.world.network.block(self.server(to), self.server(server_id))

    def heal(self) -> None:
        """Everybody hears everybody; what was on its way is lost with its connection."""
        network = self.world.network
        for near, far in list(network.connections):
            if (near.host, far.host) in network.blocked or (far.host, near.host) in network.blocked:
                network.cut(near, far, lose_all=True)
        network.heal()

    # Clients

    def client(self, server_id: int, *, read_only: bool = False) -> Client:
        """A client of one server, with a session."""
        client = Client(self, self.world.client(timeout_ms=4000, read_only=read_only))
        client.go_to(server_id)
        return client


class Client:
    """Asks and waits for the answer."""

    def __init__(self, story: Story, sim: SimClient) -> None:
        self.story = story
        self.sim = sim

    @property
    def session_id(self) -> int:
        return self.sim.session.id

    def go_to(self, *server_ids: int) -> None:
        """Use these servers from now on, with the same session."""
        self.sim.server_ids = list(server_ids)
        connection = self.sim.connection
        if connection is not None and connection.server.id not in server_ids:
            self.sim.hang_up()
        self.story.until(lambda: self.sim.is_connected)

    def ask(self, request: Request) -> list[Reply | None]:
        """Send; what comes back is put into the list: None for a connection that is lost."""
        answers: list[Reply | None] = []
        request.then = answers.append
        self.story.until(lambda: self.sim.request(request))
        return answers

    def say(self, op: int, path: str, data: str = "", **more: int) -> Reply:
        answers = self.ask(Request(op, path.encode(), data.encode(), **more))  # type: ignore[arg-type]
        self.story.until(lambda: bool(answers))
        assert answers[0] is not None, "the connection was lost"
        return answers[0]

    def create(self, path: str, data: str = "", *, ephemeral: bool = False) -> Reply:
        return self.say(OpCode.CREATE, path, data, flags=EPHEMERAL if ephemeral else 0)

    def write(self, path: str, data: str) -> Reply:
        return self.say(OpCode.SET_DATA, path, data)

    def reconfigure(self, joining: str | None = None, leaving: str | None = None) -> Reply:
        """Change the membership; stories that do need `spares`."""
        answers = self.ask(Request(OpCode.RECONFIG, change=(joining, leaving, None)))
        self.story.until(lambda: bool(answers))
        assert answers[0] is not None, "the connection was lost"
        return answers[0]

    def read(self, path: str) -> str | None:
        """The data, behind a sync; None: there is no such znode."""
        self.say(OpCode.SYNC, path)
        return self.read_here(path)

    def read_here(self, path: str) -> str | None:
        """The data as this server has it."""
        reply = self.say(OpCode.GET_DATA, path)
        return None if reply.err else (read_buffer(reply.body)[0] or b"").decode()

    def children(self, path: str) -> list[str]:
        names, _ = read_strings(self.say(OpCode.GET_CHILDREN, path).body)
        return sorted(name.decode() for name in names)

    def watch(self, path: str) -> None:
        """Wait for the next change of a znode, or its creation."""
        self.ask(Request(OpCode.EXISTS, path.encode(), watch=True))

    def events(self) -> list[tuple[int, str]]:
        """Kinds and paths of the events that came."""
        return [(event.kind, event.path.decode()) for event in self.sim.events]

    def die(self) -> None:
        self.sim.kill()
