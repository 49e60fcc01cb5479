"""Members of a simulated ensemble that say exactly what a test has them say."""

from __future__ import annotations

import struct

from kraal.replica.status import Mode
from kraal.sim.checks.watcher import Watcher
from kraal.sim.client import Request, SimClient
from kraal.sim.network import Endpoint
from kraal.sim.protocol import Reply
from kraal.sim.scheduler import Action
from kraal.sim.server import SimServer
from kraal.sim.world import EnsemblePlan, World
from kraal.wire.opcodes import OpCode
from kraal.wire.records import quorum as wire
from kraal.wire.records.election import Notification, decode_notification, encode_notification
from kraal.wire.records.quorum import LearnerInfo, Packet, PacketReader, PacketType
from kraal.zab.state import State

LIMIT = 4 << 20
VERSION = wire.PROTOCOL_VERSION


def follower_info(
    server_id: int, accepted: int = 0, *, version: int = VERSION, config: int = 0
) -> bytes:
    info = LearnerInfo(server_id, version, config).encode()
    return wire.with_data(PacketType.FOLLOWER_INFO, accepted << 32, info)


def observer_info(server_id: int, accepted: int = 0, *, config: int = 0) -> bytes:
    info = LearnerInfo(server_id, VERSION, config).encode()
    return wire.with_data(PacketType.OBSERVER_INFO, accepted << 32, info)


def ack_epoch(zxid: int, current: int) -> bytes:
    return wire.with_data(PacketType.ACK_EPOCH, zxid, struct.pack(">i", current))


def ack(zxid: int) -> bytes:
    return wire.bare(PacketType.ACK, zxid)


class Line:
    """The stranger's end of a quorum connection."""

    def __init__(self, link: Endpoint) -> None:
        self.link = link
        self.reader = PacketReader(LIMIT)
        self.packets: list[Packet] = []
        """What came; behind a SNAP packet nothing can be told apart until `skip_snapshot`."""
        self.raw = b""
        self.is_closed = False
        self._in_snapshot = False
        link.received = self._received
        link.lost = self._lost

    def send(self, *packets: bytes) -> None:
        for packet in packets:
            self.link.send(packet)

    def close(self) -> None:
        self.link.close()

    def _lost(self) -> None:
        self.is_closed = True

    def _received(self, data: bytes) -> None:
        if self._in_snapshot:
            self.raw += data
            self._end_snapshot()
            return
        fresh = self.reader.feed(data)
        self.packets += fresh
        if fresh and fresh[-1][0] == PacketType.SNAP:
            self._in_snapshot = True
            self.raw = self.reader.take_rest()
            self._end_snapshot()

    def _end_snapshot(self) -> None:
        _, end, rest = self.raw.partition(b"\0\0\0\1/\0\0\0\x0aBenWasHere")
        if end:
            self._in_snapshot = False
            self.raw = b""
            self.packets += self.reader.feed(rest)

    def kinds(self) -> list[int]:
        return [packet[0] for packet in self.packets if packet[0] != PacketType.PING]

    def take(self) -> list[Packet]:
        """What came since the last call, but for pings."""
        packets, self.packets = self.packets, []
        return [packet for packet in packets if packet[0] != PacketType.PING]


class Stranger(SimServer):
    """Stands in the place of a member; nothing happens in it by itself."""

    def __init__(self, world: World, server_id: int) -> None:
        super().__init__(world, world.servers[server_id].config)
        world.servers[server_id] = self
        self.is_up = self.is_idle = self.is_listening = True
        self.heard: list[tuple[int, Notification]] = []
        self.dialled_in: list[Line] = []
        """Those who took it for a leader, or for an observer master."""
        self.backs: State | None = None
        """With which state it answers everybody who looks; None: it answers nobody."""
        self.claims = (0, 0)
        """The zxid and the epoch that it claims to have."""

    def turn(self, action: Action) -> None:
        action()

    # Elections

    def notified(self, server_id: int, message: bytes) -> None:
        said = decode_notification(message)
        self.heard.append((server_id, said))
        if self.backs is not None and said.state == State.LOOKING:
            self.vote(server_id, said.round)

    def vote(self, server_id: int, round_: int, *, leader: int | None = None) -> None:
        """Tell a server who is, or should be, the leader: this one, unless another is named."""
        assert self.backs is not None
        zxid, epoch = self.claims
        assert self.config.ensemble is not None
        text = self.config.ensemble.config.text().encode()
        named = self.id if leader is None else leader
        message = encode_notification(self.backs, named, zxid, round_, epoch, text)
        target = self.world.servers[server_id]
        self.world.network.carry(self, target, lambda: target.notified(self.id, message))

    # Connections

    def accept(self, _of_observers: bool, link: Endpoint) -> None:
        self.dialled_in.append(Line(link))
        link.resume_reading()

    def connect(self, server: SimServer, *, of_observers: bool = False) -> Line:
        """Dial a server's quorum port."""
        near, far = self.world.network.connect(self, server, f"stranger {self.id}-{server.id}")
        far.pause_reading()
        server.after(self.world.network.delay(), lambda: server.accept(of_observers, far))
        return Line(near)

    def learn(self, server: SimServer, zxid: int = 0, *, is_observer: bool = False) -> Line:
        """Become a learner in step with a server, as a good one does."""
        line = self.connect(server, of_observers=is_observer and server.takes_observers)
        line.send((observer_info if is_observer else follower_info)(self.id))
        self.world.run(20)
        ((kind, epoch_zxid, _, _),) = line.take()
        assert kind == PacketType.LEADER_INFO
        line.send(ack_epoch(zxid, 0))
        self.world.run(50)
        assert line.kinds()[-1] == PacketType.NEW_LEADER
        line.send(ack(epoch_zxid))
        self.world.run(20)
        assert line.kinds()[-1] == PacketType.UP_TO_DATE
        line.send(ack(epoch_zxid))
        self.world.run(20)
        return line


def started(world: World, *server_ids: int) -> SimServer:
    """Start these servers and wait until one of them leads."""
    for server_id in server_ids:
        world.servers[server_id].start()
    world.run(2000)
    return leader_of(world)


def leader_of(world: World) -> SimServer:
    """The only one that serves as the leader."""
    (leader,) = (
        server
        for server in world.servers.values()
        if not isinstance(server, Stranger) and server.is_up
        and server.peer.replica is not None and server.peer.replica.mode == Mode.LEADER
    )  # fmt: skip
    return leader


def without_judges(world: World) -> World:
    """Nobody looks at the history: what a fake leader makes of it is not what is judged here."""
    world.checks = Watcher()  # type: ignore[assignment]
    return world


def write(client: SimClient, path: bytes) -> int:
    """Create a znode; returns its zxid."""
    replies: list[Reply | None] = []
    assert client.request(Request(OpCode.CREATE, path, b"x", then=replies.append))
    client.world.run(200)
    assert replies, f"nobody answers the creation of {path!r}"
    assert replies[0] is not None, "the connection was lost"
    assert replies[0].err == 0
    return replies[0].zxid


def call(client: SimClient, request: Request) -> Reply:
    """One request and its reply."""
    replies: list[Reply | None] = []
    request.then = replies.append
    assert client.request(request)
    client.world.run(200)
    assert replies, f"nobody answers {request}"
    assert replies[0] is not None, "the connection was lost"
    return replies[0]


def client_of(world: World, *server_ids: int, timeout_ms: int = 2000) -> SimClient:
    """A connected client of these servers."""
    client = world.client(timeout_ms)
    client.server_ids = list(server_ids)
    world.run(500)
    assert client.is_connected
    return client


def plan(voters: int = 3, observers: int = 0, **ensemble: object) -> EnsemblePlan:
    return EnsemblePlan(voters=voters, observers=observers, ensemble=ensemble)
