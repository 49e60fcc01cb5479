"""Load for a server that will be killed: sessions that pipeline writes and note every reply.

Each client works until its connection ends. It guesses the state of its znodes only to make
requests that mean something; whether the replies were right is judged later, in the order in
which the log has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random

from tests.interop.kill_line import Line, Turn
from tests.interop.kill_model import EPHEMERAL, SEQUENTIAL, Node, Write
from tests.support import raw_client as raw

ROOT = "/kill"
SHARED = f"{ROOT}/shared"
COUNTER = f"{ROOT}/counter"
STATIC = f"{ROOT}/static"
ABANDONED = f"{ROOT}/abandoned"
LOCKED = f"{ROOT}/locked"

READ_ONLY: tuple[raw.Acl, ...] = ((1, "world", "anyone"),)
ACLS: tuple[tuple[raw.Acl, ...], ...] = (
    raw.OPEN_ACL, ((31, "ip", "127.0.0.1"),), ((31, "ip", "127.0.0.1"), (1, "world", "anyone")),
)  # fmt: skip
SESSION_TIMEOUT_MS = 60_000
ABANDONED_TIMEOUT_MS = 300
HOUR_MS = 3_600_000

_PATHS_MAX = 120
_SHARED_MAX = 40
_PARENTS_MAX = 5
_WINDOW = 48


class Maker:
    """Makes requests that mean something for what it guesses of the tree."""

    def __init__(self, number: int, seed: int, static: int, *, takes_rights: bool) -> None:
        self.random = Random(f"{seed} writer {number}")
        self.home = f"{ROOT}/w{number}"
        self.number = number
        self._static = static
        # Apache ZooKeeper judges a request behind a setACL by the list before or after it,
        # whichever way the race goes; its load takes no rights away.
        self._takes_rights = takes_rights
        self._made = 0
        self._paths: deque[str] = deque()
        self._parents: deque[str] = deque(maxlen=_PARENTS_MAX)
        self._shared: deque[str] = deque()

    def know(self, nodes: Iterable[str]) -> None:
        """Forget what was guessed; these znodes there are."""
        self._paths = deque(path for path in nodes if path.startswith(f"{self.home}/"))
        mine = f"{SHARED}/{self.number}-"
        self._shared = deque(path for path in nodes if path.startswith(mine))
        parents = [path for path in self._paths if path.startswith(f"{self.home}/p")]
        self._parents = deque((path for path in parents if path.count("/") == 3), _PARENTS_MAX)

    def learn(self, write: Write, value: object) -> None:
        """Only now is the name of a sequential znode known."""
        if write.flags & SEQUENTIAL and write.op in ("create", "create2"):
            path = value[0] if isinstance(value, tuple) else value
            assert isinstance(path, str)
            (self._shared if path.startswith(SHARED) else self._paths).append(path)

    def make(self) -> Write:
        """The next request."""
        if len(self._paths) > _PATHS_MAX or len(self._shared) > _SHARED_MAX:
            return self._delete()
        return self.random.choices(_MAKERS, _WEIGHTS)[0](self)

    def ephemeral(self, below: str) -> Write:
        flags = EPHEMERAL | SEQUENTIAL
        return Write("create2", f"{below}/{self.number}-", self._data(), flags=flags)

    def _new_name(self) -> str:
        self._made += 1
        return f"n{self._made}"

    def _data(self) -> bytes | None:
        chance = self.random.random()
        if chance < 0.05:
            return None
        if chance < 0.1:
            return b""
        size = 60_000 if chance > 0.995 else self.random.randrange(200)
        return f"{self.number} {self._made} ".encode() + self.random.randbytes(size)

    def _any_path(self) -> str:
        if not self._paths:
            return self.home
        return self._paths[self.random.randrange(len(self._paths))]

    def _create(self) -> Write:
        below = self.home
        if self._parents and self.random.random() < 0.5:
            below = self._parents[self.random.randrange(len(self._parents))]
        path = f"{below}/{self._new_name()}"
        op = self.random.choice(("create", "create", "create2", "createContainer", "createTTL"))
        flags = {"createContainer": 4, "createTTL": 5}.get(op, 0)
        if flags == 0:
            flags = self.random.choice((0, 0, EPHEMERAL))
        self._paths.append(path)
        acl = self.random.choice(ACLS)
        return Write(op, path, self._data(), acl, flags, ttl_ms=HOUR_MS)

    def _create_parent(self) -> Write:
        path = f"{self.home}/p{self._new_name()}"
        self._paths.append(path)
        self._parents.append(path)
        return Write("create", path, self._data())

    def _sequential(self) -> Write:
        if self.random.random() < 0.3:
            return self.ephemeral(SHARED)
        below = self.random.choice((SHARED, SHARED, self.home))
        op = self.random.choice(("create", "create2"))
        return Write(op, f"{below}/{self.number}-", self._data(), flags=SEQUENTIAL)

    def _set_data(self) -> Write:
        chance = self.random.random()
        if chance < 0.2:
            return Write("setData", COUNTER, f"{self.number} {self._made}".encode())
        if chance < 0.5 and self._static:
            path = f"{STATIC}/{self.random.randrange(self._static)}"
            return Write("setData", path, self._data())
        return Write("setData", self._any_path(), self._data())

    def _set_acl(self) -> Write:
        path = self._any_path()
        # A parent that nobody may change would keep its children for ever.
        can_lock = self._takes_rights and path.startswith(f"{self.home}/n")
        acl = READ_ONLY if can_lock and self.random.random() < 0.2 else self.random.choice(ACLS)
        return Write("setACL", path, acl=acl)

    def _delete(self) -> Write:
        places = [place for place in (self._paths, self._shared) if place]
        if not places:
            return Write("delete", f"{self.home}/none")
        place = max(places, key=len)
        index = self.random.randrange(len(place))
        path = place[index]
        if path not in self._parents:  # most likely it has children
            del place[index]
        return Write("delete", path)

    def _multi(self) -> Write:
        path = f"{self.home}/m{self._new_name()}"
        parts = [
            Write("create", path, self._data()),
            Write("create2", f"{path}/below", self._data(), flags=EPHEMERAL),
            Write("setData", COUNTER, f"{self.number} multi {self._made}".encode()),
            Write("createContainer", f"{path}/container", flags=4),
            Write("create", f"{SHARED}/{self.number}-", flags=EPHEMERAL | SEQUENTIAL),
            Write("setData", path, self._data(), version=0),
            Write("check", path, version=1),
        ]
        if self.random.random() < 0.5:
            parts.append(Write("delete", f"{path}/below"))
        self._paths.append(path)
        return Write("multi", parts=tuple(parts))

    def _refused(self) -> Write:
        """A write that the server must refuse, alone or as the last part of a multi."""
        missing = f"{self.home}/missing"
        refused = self.random.choice((
            Write("create", self.home),
            Write("create2", f"{missing}/below"),
            Write("create", f"{LOCKED}/{self._made}"),
            Write("setData", COUNTER, b"refused", version=-7),
            Write("setData", missing, b"refused"),
            Write("setData", LOCKED, b"refused"),
            Write("delete", ROOT),
            Write("delete", missing),
            Write("delete", COUNTER, version=10**9),
        ))  # fmt: skip
        if self.random.random() < 0.3:
            return Write("setACL", self.home, acl=())
        if self.random.random() < 0.4:
            return refused
        made = Write("create", f"{self.home}/r{self._new_name()}", b"refused")
        changed = Write("setData", COUNTER, b"refused")
        after = Write("delete", COUNTER)
        return Write("multi", parts=(made, changed, refused, after))


_MAKERS: tuple[Callable[[Maker], Write], ...] = (
    Maker._create, Maker._create_parent, Maker._sequential, Maker._set_data,
    Maker._set_acl, Maker._delete, Maker._multi, Maker._refused,
)  # fmt: skip
_WEIGHTS = (30, 3, 18, 25, 4, 22, 8, 10)


class Writer(Maker):
    """A client with one session, which it keeps over the deaths of the server."""

    def __init__(self, number: int, seed: int, static: int, *, takes_rights: bool) -> None:
        super().__init__(number, seed, static, takes_rights=takes_rights)
        self.session = 0
        self.turn = Turn()
        self._last_zxid = 0

    def begin(self, port: int, nodes: Mapping[str, Node]) -> bool:
        """Take up the session, or make one; False when the server does not know it any more.

        `nodes` is what the server holds.
        """
        self.know(nodes)
        self.turn = Turn()
        self._line = self._connect(port, self.session)
        if self._line.session == 0:
            return False
        self.session = self._line.session
        return True

    def run(self, port: int) -> None:
        """Send and receive until the server is gone."""
        try:
            self._work(port)
        except (raw.ClosedError, ConnectionError):
            pass
        except Exception as error:  # whatever ends the thread must be heard of
            self.turn.problems.append(f"session {self.session:x}: {error!r}")
        finally:
            self._line.close()

    def _connect(self, port: int, session: int = 0, timeout_ms: int = SESSION_TIMEOUT_MS) -> Line:
        return Line(port, self.turn, timeout_ms, session, self._last_zxid)

    def _work(self, port: int) -> None:
        while True:
            self._send()
            self._receive(self._line, self.random.randrange(_WINDOW))
            chance = self.random.random()
            if chance < 0.01:
                self._change_session(port)
            elif chance < 0.02:
                self._move(port)
            elif chance < 0.03:
                self._abandon_session(port)

    def _send(self) -> None:
        requests = []
        for _ in range(_WINDOW - self._line.client.outstanding):
            requests.append(self._line.encode(self.make()))
        if self.random.random() < 0.3:
            requests.append(self._line.encode_read(COUNTER))
        self._line.send(requests)

    def _receive(self, line: Line, left: int = 0) -> None:
        for exchange in line.receive(left, COUNTER):
            reply, write = exchange.reply, exchange.write
            assert reply is not None
            if write is not None and not reply.err:
                self.learn(write, reply.value)
        self._last_zxid = max(self._last_zxid, line.connection.last_zxid)

    def _change_session(self, port: int) -> None:
        """Close the session and open another."""
        self._line.send([self._line.encode(None)])
        self._receive(self._line)
        self._line.close()
        self.session = 0
        self._line = self._connect(port)
        self.session = self._line.session

    def _move(self, port: int) -> None:
        """Drop the connection with requests under way, and come back with the session."""
        self._send()
        self._line.close()
        self._line = self._connect(port, self.session)
        if self._line.session != self.session:
            self.turn.problems.append(f"session {self.session:x} was refused on a move")
            raise raw.ClosedError

    def _abandon_session(self, port: int) -> None:
        """A session that makes ephemerals, then nobody hears of it again."""
        line = self._connect(port, timeout_ms=ABANDONED_TIMEOUT_MS)
        line.connection.abandoned = True
        try:
            line.send([line.encode(self.ephemeral(ABANDONED)) for _ in range(3)])
            if self.random.random() < 0.5:
                line.receive()
        finally:
            line.close()


def furnish(port: int, writers: int, static: int) -> Turn:
    """Create the places that the load is about."""
    paths = [ROOT, SHARED, COUNTER, STATIC, ABANDONED, *(f"{ROOT}/w{n}" for n in range(writers))]
    writes = [Write("create", path) for path in paths]
    writes.append(Write("create", LOCKED, acl=READ_ONLY))
    writes += [Write("create", f"{STATIC}/{n}", b"static") for n in range(static)]
    return _exchange(port, [*writes, None])


def end_session(port: int, session: int) -> Turn:
    """Close a session that nobody holds; nothing happens when it has expired."""
    return _exchange(port, [None], session)


def _exchange(port: int, writes: list[Write | None], session: int = 0) -> Turn:
    """One connection, all requests at once, all replies."""
    turn = Turn()
    line = Line(port, turn, SESSION_TIMEOUT_MS, session)
    if line.session:
        line.send([line.encode(write) for write in writes])
        line.receive()
    line.close()
    return turn
