"""One member of an ensemble in process, and the peer whose bytes are the fuzzer's.

The member is a whole `Peer`; disk, clock and connections are played here. Whatever the peer
sends: no input raises, what is logged has no hole, a tree that is served can be written as a
snapshot and read back, and when the peer is gone the member looks for a leader or leads on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import PurePath
from random import Random

from kraal.model.config import EnsembleSettings, ServerConfig, StorageConfig
from kraal.model.ensemble import EnsembleConfig
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counters
from kraal.replica.peer import Peer
from kraal.replica.replica import Replica
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.wire.records import quorum as wire
from kraal.wire.records.election import encode_notification
from kraal.wire.records.quorum import LearnerInfo, PacketReader, PacketType
from kraal.wire.records.txn import HEADER
from kraal.zab.history import Entry
from kraal.zab.learner_handler import LearnerHandler
from kraal.zab.state import State
from tests.support import raw_client as raw

ME, OTHER = 1, 2
TICK_MS = 1000
PACKET_LIMIT = 1 << 16
EPOCH = 1 << 32
NOWHERE = PurePath("unused")
SESSION = 0x0200_0000_0000_0001


def settings(lines: str) -> ServerConfig:
    ensemble = EnsembleSettings(
        config=EnsembleConfig.parse(lines),
        init_limit_ticks=5,
        sync_limit_ticks=5,
        observer_master_port=1,
        standalone_enabled=False,
    )
    return ServerConfig(
        storage=StorageConfig(data_dir=NOWHERE, data_log_dir=NOWHERE),
        ensemble=ensemble,
        server_id=ME,
        tick_time_ms=TICK_MS,
        extended_types=True,
        reconfig_enabled=True,
        max_buffer_bytes=PACKET_LIMIT // 2,
    )


ALONE = "server.1=a:1:2;3"
BOTH = "server.1=a:1:2;3\nserver.2=b:1:2;3"


class Wire:
    """A connection to somebody who takes everything; implements `Link`."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.is_closed = False

    def send(self, data: bytes) -> None:
        if not self.is_closed:
            self.sent += data

    def stream(self, slices: Iterator[bytes]) -> None:
        for data in slices:
            self.send(data)

    def close(self) -> None:
        self.is_closed = True

    finish = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def packets(self) -> list[wire.Packet]:
        """What was sent, up to a snapshot."""
        return PacketReader(1 << 24).feed(bytes(self.sent))


class Channel:
    """A client that reads everything."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        while data:
            (size,) = struct.unpack_from(">i", data)
            self.frames.append(data[4 : 4 + size])
            data = data[4 + size :]

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Member:
    """Implements `Shell` and `Courier` around one peer."""

    def __init__(self, config: ServerConfig) -> None:
        self.now_ms = 1000
        self.log: list[Entry] = []
        self.dialled: int | None = None
        self.is_dead = False
        """Of a failed disk; nothing here may do that."""
        self._jobs: list[Callable[[], None]] = []
        self._appended = self._flushed = 0
        self.tree = DataTree.pristine(extended_types=True)
        self.peer = Peer(
            config, self.tree, self, self, history=[], accepted_epoch=0, current_epoch=0,
            counters=Counters(started_ms=0), now_ms=self.now_ms, random=Random(1),
        )  # fmt: skip
        self.peer.start(*self.now)

    @property
    def now(self) -> tuple[int, int]:
        return self.now_ms, 1_700_000_000_000 + self.now_ms

    # Inputs

    def settle(self) -> None:
        """What the disk was asked is done, and what is to be sent is sent."""
        for _ in range(100):
            jobs, self._jobs = self._jobs, []
            for job in jobs:
                job()
            if self._flushed < self._appended:
                self._flushed = self._appended
                self.peer.logged(*self.now, self._flushed)
            self.peer.flush()
            if not self._jobs and self._flushed >= self._appended:
                return
        raise AssertionError("it never comes to rest")

    def pass_time(self, ms: int) -> None:
        for _ in range(ms // 100):
            self.now_ms += 100
            self.peer.tick(*self.now)
            self.settle()

    def vote(self, state: State, *, leader: int = OTHER) -> None:
        """The other server says whom it votes for, or follows."""
        zxid = self.peer.tree.last_zxid + (1 << 40)
        message = encode_notification(state, leader, zxid, 1, 0, b"")
        self.peer.notified(*self.now, OTHER, message)

    def check(self) -> None:
        """What holds in every state."""
        zxids = [zxid for zxid, _ in self.log]
        assert all(before < after for before, after in pairwise(zxids)), zxids
        tree = self.peer.tree
        tree.events.clear()
        if self.peer.replica is not None:
            pieces = list(snapshot.encode(tree))
            loaded, _ = snapshot.decode(pieces, extended_types=True, digests=True)
            assert set(loaded.nodes) == set(tree.nodes)

    def create_session(self) -> tuple[ClientConnection, Channel]:
        """A client of this member."""
        assert self.peer.replica is not None
        channel = Channel()
        conn = ClientConnection(channel, "127.0.0.1", 1, self.now_ms)
        self.peer.replica.opened(conn)
        self.peer.replica.connect(*self.now, conn, raw.connect_request())
        self.settle()
        return conn, channel

    # Shell

    def append(self, zxid: int, payload: bytes) -> None:
        assert zxid > self._appended, "the log goes forward"
        self.log.append((zxid, payload))
        self._appended = zxid

    def save_accepted_epoch(self, epoch: int) -> None:
        assert 0 <= epoch < 1 << 31

    def save_current_epoch(self, epoch: int) -> None:
        assert 0 <= epoch < 1 << 31

    def truncate(self, zxid: int) -> None:
        self._jobs.append(lambda: self.peer.cut_refused(*self.now))
        assert zxid >= 0

    def save_snapshot(self, tree: DataTree) -> None:
        assert tree.last_zxid >= 0
        self.log.clear()
        self._appended = self._flushed = tree.last_zxid
        self._jobs.append(lambda: self.peer.snapshot_saved(*self.now))

    def abandon_snapshot(self) -> None: ...

    def older_history(self, _zxid: int) -> Iterable[Entry] | None:
        return None

    def listen(self) -> None: ...
    def listen_for_observers(self) -> None: ...
    def stop_listening(self) -> None: ...
    def hang_up(self) -> None: ...

    def dial(self, leader: int, _config: EnsembleConfig) -> None:
        self.dialled = leader

    def dial_observer_master(self, master: int, _config: EnsembleConfig) -> None:
        self.dialled = master

    def serve(self, replica: Replica | None) -> None: ...

    def activate(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None: ...

    def wake(self) -> None: ...

    # Courier

    def send(self, server_id: int, message: bytes) -> None: ...


def leading() -> Member:
    """A lone voter that leads."""
    member = Member(settings(ALONE))
    member.pass_time(400)
    assert member.peer.replica is not None
    return member


def registered(member: Member, *, is_observer: bool) -> list[bytes]:
    """What brings a learner of this leader in step, packet by packet."""
    kind = PacketType.OBSERVER_INFO if is_observer else PacketType.FOLLOWER_INFO
    zxid = member.peer.tree.last_zxid
    return [
        wire.with_data(kind, 0, LearnerInfo(OTHER, wire.PROTOCOL_VERSION, 0).encode()),
        wire.with_data(PacketType.ACK_EPOCH, zxid, struct.pack(">i", 0)),
        wire.bare(PacketType.ACK, EPOCH),
        wire.request(SESSION, struct.pack(">iii", 0, -10, 9000), None),
    ]


def learner_of(member: Member) -> LearnerHandler:
    """A connection to the leader's quorum port."""
    handler = member.peer.learner_connected(member.now_ms, Wire(), "peer")
    assert handler is not None
    return handler


def learning() -> tuple[Member, Wire]:
    """A voter that follows the other one, and the connection to it."""
    member = Member(settings(BOTH))
    member.vote(State.LOOKING)
    member.pass_time(400)
    assert member.dialled == OTHER
    assert member.peer.state is State.FOLLOWING
    link = Wire()
    member.peer.dialled(*member.now, link)
    return member, link


def leading_packets() -> list[bytes]:
    """What brings a follower in step, packet by packet, and a transaction behind it."""
    created = seed_txn(EPOCH | 1)
    return [
        wire.with_data(PacketType.LEADER_INFO, EPOCH, struct.pack(">i", wire.PROTOCOL_VERSION)),
        wire.bare(PacketType.DIFF, 0),
        wire.with_data(PacketType.NEW_LEADER, EPOCH, BOTH.encode()),
        wire.bare(PacketType.UP_TO_DATE, -1),
        wire.proposal(EPOCH | 1, created),
        wire.bare(PacketType.COMMIT, EPOCH | 1),
    ]


def seed_txn(zxid: int) -> bytes:
    """A createSession transaction."""
    return HEADER.pack(SESSION, 0, zxid, 1_700_000_000_000, -10) + raw.i32(9000)


def renumbered(payload: bytes, zxid: int) -> bytes:
    """The same transaction under another zxid."""
    return payload[:12] + struct.pack(">q", zxid) + payload[20:]
