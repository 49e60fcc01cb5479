"""Processor time of an ensemble of three without sockets and disk: microseconds per write.

    python -m bench.micro_ensemble [--shape 9x100] [--at spread|leader|follower]
                                   [--profile leader|follower]

Three real `Peer`s in one process, joined in memory. Their turns run one after another, and what
each takes is counted apart: what is left of a write's cost on the leader and on a follower when
the kernel and the event loop are taken away. Connections stand at all members, as `make bench`
spreads them, or at one role only. Clients move in step: all send what they may have outstanding,
and when all is answered, again. A follower's figure is the mean of both.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from random import Random
from time import process_time

from bench.micro import OPEN_ACL, FramingSink, NullChannel, create, set_data
from kraal.model.config import EnsembleSettings, ServerConfig, StorageConfig
from kraal.model.ensemble import Address, EnsembleConfig
from kraal.model.ensemble import Member as ServerLine
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counters
from kraal.replica.peer import Peer
from kraal.replica.replica import Replica
from kraal.replica.status import Mode
from kraal.tree.data_tree import DataTree
from kraal.zab.history import Entry

MEMBERS = 3
KEYS = 1000
WALL_MS = 1_700_000_000_000
TICK_MS = 20
PATIENCE_MS = 60_000
WRITES = 60_000  # per operation, after the warm-up
STRETCHES = 20
XIDS_EACH = 10_000_000  # of a connection: xids make paths, and created paths must be new
PROFILE_LINES = 30

Input = Callable[[], object]


class Link:
    """One end of a connection in memory: what is sent is an input of the other end's member."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.other = self
        self.received: Callable[[bytes], object] = lambda _data: None

    def send(self, data: bytes) -> None:
        other = self.other
        other.member.inputs.append(lambda: other.received(data))

    def stream(self, slices: Iterator[bytes]) -> None:
        for data in slices:
            self.send(data)

    def close(self) -> None:
        raise AssertionError("nothing goes wrong in memory")

    finish = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Member:
    """One server: implements the peer's `Shell` and `Courier`, and counts its processor time."""

    def __init__(self, lab: Lab, config: ServerConfig) -> None:
        self.lab = lab
        self.id = config.server_id
        self.inputs: list[Input] = []
        self.spent = 0.0
        self.profiler: cProfile.Profile | None = None
        self.sink = FramingSink()
        self.replica: Replica | None = None
        self.is_listening = False
        self.dialling: int | None = None
        self._is_awake = False
        self.peer = Peer(
            config, DataTree.pristine(), self, self, history=[], accepted_epoch=0,
            current_epoch=0, counters=Counters(started_ms=0), now_ms=0, random=Random(0),
        )  # fmt: skip

    @property
    def now(self) -> tuple[int, int]:
        return self.lab.now_ms, WALL_MS + self.lab.now_ms

    def turn(self) -> bool:
        """What came since the last turn, then one flush of links and log, as the server's loop.

        False when there was nothing to do.
        """
        inputs = self.inputs
        if not inputs and not self._is_awake and not self.sink.parts:
            return False
        self.inputs = []
        if self.profiler is not None:
            self.profiler.enable()
        began = process_time()
        for run in inputs:
            run()
        if self._is_awake:
            self._is_awake = False
            self.peer.flush()
        if self.sink.parts:
            b"".join(self.sink.parts)
            self.sink.parts.clear()
            self.inputs.append(partial(self.peer.logged, *self.now, self.sink.zxid))
        self.spent += process_time() - began
        if self.profiler is not None:
            self.profiler.disable()
        return True

    def connect(self, leader: Member) -> None:
        """The connection from a learner to its leader."""
        up, down = Link(self), Link(leader)
        up.other, down.other = down, up
        handler = leader.peer.learner_connected(self.lab.now_ms, down, f"member {self.id}")
        assert handler is not None
        down.received = lambda data: leader.peer.learner_received(*leader.now, handler, data)
        up.received = lambda data: self.peer.leader_received(*self.now, up, data)
        self.peer.dialled(*self.now, up)

    def open_client(self) -> ClientConnection:
        """A client of this member with a new session."""
        assert self.replica is not None
        conn = ClientConnection(NullChannel(), "127.0.0.1", 1, self.lab.now_ms)
        self.replica.opened(conn)
        request = struct.pack(">iqiqi", 0, 0, 30_000, 0, 16) + bytes(17)
        self.inputs.append(partial(self.replica.connect, *self.now, conn, request))
        return conn

    # What the peer asks

    def send(self, server_id: int, message: bytes) -> None:
        other = self.lab.members[server_id]
        other.inputs.append(lambda: other.peer.notified(*other.now, self.id, message))

    def append(self, zxid: int, payload: bytes) -> None:
        self.sink.append(zxid, payload)

    def save_accepted_epoch(self, epoch: int) -> None: ...
    def save_current_epoch(self, epoch: int) -> None: ...
    def abandon_snapshot(self) -> None: ...
    def hang_up(self) -> None: ...

    def truncate(self, zxid: int) -> None:
        raise AssertionError(f"all begin with nothing, yet {zxid:x} is to be kept")

    def save_snapshot(self, tree: DataTree) -> None:
        assert tree is self.peer.tree
        self.inputs.append(lambda: self.peer.snapshot_saved(*self.now))

    def older_history(self, _zxid: int) -> Iterable[Entry] | None:
        return None

    def listen(self) -> None:
        self.is_listening = True

    def listen_for_observers(self) -> None: ...

    def stop_listening(self) -> None:
        self.is_listening = False

    def dial(self, leader: int, config: EnsembleConfig) -> None:
        assert leader in config.members
        self.dialling = leader

    def dial_observer_master(self, master: int, _config: EnsembleConfig) -> None:
        raise AssertionError(f"there are no observers who would dial {master}")

    def serve(self, replica: Replica | None) -> None:
        self.replica = replica

    def activate(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None: ...

    def wake(self) -> None:
        self._is_awake = True


class Lab:
    """An ensemble that serves, with connections to it."""

    def __init__(self) -> None:
        self.now_ms = 0
        lines = {
            number: ServerLine(
                id=number, quorum=(Address("x", number),), election=(Address("x", 100 + number),)
            )
            for number in range(1, MEMBERS + 1)
        }
        settings = EnsembleSettings(
            config=EnsembleConfig(members=lines), init_limit_ticks=10, sync_limit_ticks=5
        )
        storage = StorageConfig(data_dir=PurePath("unused"), data_log_dir=PurePath("unused"))
        self.members = {
            number: Member(self, ServerConfig(storage=storage, ensemble=settings, server_id=number))
            for number in lines
        }
        for member in self.members.values():
            member.peer.start(*member.now)
        self._elect()
        everyone = sorted(self.members.values(), key=lambda member: member.id)
        self.leader = next(member for member in everyone if self._mode(member) == Mode.LEADER)
        self.followers = [member for member in everyone if member is not self.leader]

    @staticmethod
    def _mode(member: Member) -> Mode | None:
        return None if member.replica is None else member.replica.mode

    def _elect(self) -> None:
        """Let time pass until everybody serves."""
        while any(self._mode(member) is None for member in self.members.values()):
            assert self.now_ms < PATIENCE_MS, "no leader"
            self.settle()
            for member in self.members.values():
                leader = self.members.get(member.dialling or 0)
                if leader is not None and leader.is_listening:
                    member.dialling = None
                    member.connect(leader)
            self.settle()
            self.now_ms += TICK_MS
            for member in self.members.values():
                member.peer.tick(*member.now)
        self.settle()

    def settle(self) -> None:
        """Turns of all members until nothing is left to do."""
        busy = True
        while busy:
            turns = [member.turn() for member in self.members.values()]
            busy = any(turns)


@dataclass(frozen=True)
class Cost:
    """Microseconds of processor time per write of the whole ensemble."""

    leader: float
    follower: float


@dataclass
class Client:
    """A connection, the member that it stands at, and its next xid."""

    member: Member
    conn: ClientConnection
    xid: int


class Bench:
    """Clients in one shape at an ensemble; every round each sends its outstanding requests."""

    def __init__(self, connections: int, outstanding: int, at: str) -> None:
        self.lab = lab = Lab()
        self.outstanding = outstanding
        self.round_writes = connections * outstanding
        spots = {
            "spread": [lab.leader, *lab.followers], "leader": [lab.leader],
            "follower": lab.followers[:1],
        }[at]  # fmt: skip
        places = [spots[number % len(spots)] for number in range(connections)]
        self.clients = [
            Client(member, member.open_client(), 1 + XIDS_EACH * number)
            for number, member in enumerate(places)
        ]
        lab.settle()
        assert all(client.conn.session is not None for client in self.clients)
        self._fill()

    def _fill(self) -> None:
        """The znodes that are written to."""
        root = struct.pack(">iii", 1, 1, 6) + b"/bench" + struct.pack(">i", 0) + OPEN_ACL
        self._submit(self.clients[0], [root + struct.pack(">i", 0)])
        self.lab.settle()
        for key in range(-KEYS, 0):
            self._submit(self.clients[0], [create(key)])
            self.lab.settle()
        assert len(self.lab.leader.peer.tree.nodes) > KEYS

    def _submit(self, client: Client, frames: list[bytes]) -> None:
        member = client.member
        assert member.replica is not None
        member.inputs.append(partial(member.replica.frames, *member.now, client.conn, frames))

    def _round(self, request: Callable[[int], bytes]) -> None:
        """One round; requests are made outside of the members' time."""
        for client in self.clients:
            xids = range(client.xid, client.xid + self.outstanding)
            client.xid += self.outstanding
            self._submit(client, [request(xid) for xid in xids])
        self.lab.settle()

    def time(self, request: Callable[[int], bytes]) -> Cost:
        """The least of some stretches: what other programs did to the rest does not count."""
        rounds = max(1, WRITES // STRETCHES // self.round_writes)
        best = Cost(float("inf"), float("inf"))
        effects = self._effects()
        for _ in range(STRETCHES):
            for member in self.lab.members.values():
                member.spent = 0.0
            for _ in range(rounds):
                self._round(request)
            each = 1e6 / (rounds * self.round_writes)
            followers = self.lab.followers
            follower = sum(member.spent for member in followers) / len(followers) * each
            best = Cost(
                min(best.leader, self.lab.leader.spent * each), min(best.follower, follower)
            )
        # Refused writes would be fast.
        done = self._effects() - effects
        assert done == STRETCHES * rounds * self.round_writes, f"only {done} writes took place"
        return best

    def _effects(self) -> int:
        """How many creates and changes the trees, which must be equal, have seen."""
        trees = [member.peer.tree for member in self.lab.members.values()]
        assert len({(tree.last_zxid, tree.digest) for tree in trees}) == 1, "the trees differ"
        return sum(1 + node.version for node in trees[0].nodes.values())


def report(bench: Bench, role: str | None, label: str) -> None:
    """Print a line for each operation, then the profile of a role over both."""
    for request in (set_data, create):
        bench.time(request)  # once for the interpreter's specialisation of the code
        cost = bench.time(request)
        print(
            f"{label:16} {request.__name__:9} leader {cost.leader:6.2f} µs, "
            f"follower {cost.follower:6.2f} µs, three members "
            f"{cost.leader + 2 * cost.follower:6.2f} µs"
        )
    if role is not None:
        profiler = cProfile.Profile()
        lab = bench.lab
        profiled = lab.leader if role == "leader" else lab.followers[0]
        profiled.profiler = profiler
        for request in (set_data, create):
            bench.time(request)
        profiled.profiler = None
        print(f"\nProfile of a {role}, both operations; its times hold the profiler's own cost.")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(PROFILE_LINES)


def shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or not 0 < int(found[1]) <= 200 or not 0 < int(found[2]) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not CONNECTIONSxOUTSTANDING")
    return int(found[1]), int(found[2])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.micro_ensemble")
    add = parser.add_argument
    add("--shape", type=shape, action="append", help="connections x outstanding (48x1 and 9x100)")
    add(
        "--at",
        choices=("spread", "leader", "follower"),
        default="spread",
        help="the clients are spread over the members, or all at the leader or a follower",
    )
    add("--profile", choices=("leader", "follower"), help="cProfile of one role")
    options = parser.parse_args()
    gc.disable()
    for connections, outstanding in options.shape or ((48, 1), (9, 100)):
        bench = Bench(connections, outstanding, options.at)
        report(bench, options.profile, f"{options.at} {connections}x{outstanding}")


if __name__ == "__main__":
    main()
