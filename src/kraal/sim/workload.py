"""What clients ask for: everything at once, on few znodes, so that they meet."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from kraal.sim.client import Request, SimClient
from kraal.sim.scheduler import MS
from kraal.wire.opcodes import OpCode

if TYPE_CHECKING:
    from kraal.sim.world import World

PARENTS = (b"/a", b"/b", b"/c")
NAMES = tuple(b"/n%d" % number for number in range(6))
SILENCES = 0.02
"""Share of bursts in whose place all clients fall silent for a while."""
EPHEMERAL = 1
SEQUENTIAL = 2
CONTAINER = 4


class Workload:
    """Drives the clients of a world until it is stopped."""

    def __init__(
        self, world: World, *, pause_ms: tuple[int, int], pipelined: int, hot_bursts: float
    ) -> None:
        self._world = world
        self._random: Random = world.random
        self._pause_ms = pause_ms
        self._pipelined = pipelined
        self._hot_bursts = hot_bursts
        self._serial = 0
        self._hot: bytes | None = None
        """What everything in the present burst is about."""
        self.is_over = False
        kinds: list[tuple[int, Callable[[], Request]]] = [
            (14, self._create),
            (6, self._sequential),
            (6, self._ephemeral),
            (4, self._container),
            (8, self._delete),
            (20, self._set_data),
            (6, self._multi),
            (14, self._get_data),
            (10, self._exists),
            (8, self._children),
            (4, self._sync),
            (1, self._add_watch),
        ]
        self._kinds = [make for _, make in kinds]
        self._weights = [weight for weight, _ in kinds]

    def drive(self, client: SimClient) -> None:
        """Let a client ask for something now and then."""

        def act() -> None:
            if self.is_over:
                return
            connection, now = client.connection, self._world.scheduler.now_us
            if self._random.random() < SILENCES:
                self._world.silence(self._random.randint(200, 1500))
            if now < self._world.silent_until_us:
                pass  # nobody asks for anything
            elif connection is not None and len(connection.outstanding) < 20:
                self._hot = self._path() if self._random.random() < self._hot_bursts else None
                for _ in range(self._random.randint(1, self._pipelined)):
                    client.request(self.request())
                self._hot = None
            client.after(self._random.randint(*self._pause_ms) * MS, act)

        client.after(self._random.randint(*self._pause_ms) * MS, act)

    def request(self) -> Request:
        """Any request."""
        if self._hot is not None:
            makers = (self._create, self._delete, self._set_data, self._exists)
            return self._random.choice(makers)()
        return self._random.choices(self._kinds, self._weights)[0]()

    # Parts

    def _path(self) -> bytes:
        if self._hot is not None:
            return self._hot
        random = self._random
        path = random.choice(PARENTS)
        if random.random() < 0.3:
            return path
        path += random.choice(NAMES)
        return path if random.random() < 0.8 else path + b"/x"

    def _data(self) -> bytes:
        self._serial += 1
        return b"%d" % self._serial

    def _version(self, path: bytes) -> int:
        """None asked for, the present one, or a wrong one."""
        chosen = self._random.random()
        node = self._world.checks.history.tree.nodes.get(path)
        if chosen < 0.5 or node is None:
            return -1
        return node.version if chosen < 0.9 else node.version + 1

    def _op(self) -> int:
        return OpCode.CREATE if self._random.random() < 0.6 else OpCode.CREATE2

    def _watch(self) -> bool:
        return self._random.random() < 0.3

    # Requests

    def _create(self) -> Request:
        return Request(self._op(), self._path(), self._data())

    def _sequential(self) -> Request:
        flags = SEQUENTIAL | (EPHEMERAL if self._random.random() < 0.5 else 0)
        return Request(self._op(), self._random.choice(PARENTS) + b"/s", self._data(), flags=flags)

    def _ephemeral(self) -> Request:
        return Request(self._op(), self._path(), self._data(), flags=EPHEMERAL)

    def _container(self) -> Request:
        return Request(OpCode.CREATE_CONTAINER, self._path(), self._data(), flags=CONTAINER)

    def _delete(self) -> Request:
        path = self._path()
        if self._hot is None and self._random.random() < 0.5:
            # Keep the tree small: sequential znodes go, too.
            parent = self._random.choice(PARENTS)
            node = self._world.checks.history.tree.nodes.get(parent)
            if node is not None and node.children:
                path = self._random.choice(sorted(node.children))
        return Request(OpCode.DELETE, path, version=self._version(path))

    def _set_data(self) -> Request:
        path = self._path()
        return Request(OpCode.SET_DATA, path, self._data(), self._version(path))

    def _check(self) -> Request:
        path = self._path()
        return Request(OpCode.CHECK, path, version=self._version(path))

    def _multi(self) -> Request:
        makers = (self._create, self._sequential, self._ephemeral, self._delete, self._set_data,
                  self._check)  # fmt: skip
        count = self._random.randint(1, 4)
        return Request(OpCode.MULTI, parts=[self._random.choice(makers)() for _ in range(count)])

    def _get_data(self) -> Request:
        return Request(OpCode.GET_DATA, self._path(), watch=self._watch())

    def _exists(self) -> Request:
        return Request(OpCode.EXISTS, self._path(), watch=self._watch())

    def _children(self) -> Request:
        op = self._random.choice((OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2))
        return Request(op, self._random.choice(PARENTS), watch=self._watch())

    def _sync(self) -> Request:
        return Request(OpCode.SYNC, self._path())

    def _add_watch(self) -> Request:
        return Request(OpCode.ADD_WATCH, self._path(), flags=self._random.randint(0, 1))
