"""A whole replica in process, the clients around it, and a follower that applies its log.

The world plays the shell: it cuts bytes into frames, answers `logged`, lets time pass. After
every step it checks what must hold whatever the clients send:

- no input raises;
- replies come in the order of the requests, decode, and never show what is not durable;
- an event precedes every reply that could reveal its change;
- zxids have no gap, and what is logged decodes to what was encoded;
- the tree that installs the images of validation equals the tree of a follower that applies the
  logged bytes: znodes, stats, indexes, digest, events;
- the running digest is that of the tree computed from scratch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple, NoReturn

from kraal.model.config import ReaperConfig, ServerConfig, StorageConfig
from kraal.pipeline.connection import ClientConnection
from kraal.replica.leading import Leading
from kraal.tree import snapshot
from kraal.tree.apply import apply, digest_matches
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.wire.framing import FrameReader
from kraal.wire.records.txn import Txn
from tests.fuzz.trees import RecordedEvents, difference
from tests.support import raw_client as raw

OPERATIONS = {code: name for name, code in raw.OPCODES.items()}
OUT_OF_BAND = ("auth", "sasl")
FRAME_LIMIT = 1 << 16
ROUNDS_TO_REST = 1000
UNKNOWN_OPERATION = -6
ENFORCED_AUTH = -124


class Expected(NamedTuple):
    """A request that is not answered yet: the xid of its reply, and its operation."""

    xid: int
    op: str


class Client:
    """One connection: the replica's channel, and the judge of what comes through it."""

    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.conn = ClientConnection(self, host, 1, world.wall_ms)
        self.reader = FrameReader(FRAME_LIMIT)
        self.handshake: raw.Handshake | None = None
        self.expected: deque[Expected] = deque()
        self.out_of_band: list[int] = []
        self.is_slow = False
        """Whether every write fills its output, as that of a peer that does not read."""
        self.is_paused = False
        self.has_ended = False
        self.seen_zxid = 0

    # What the replica calls

    def write(self, data: bytes) -> None:
        assert not self.has_ended, "output behind the end of the connection"
        reader = raw.Reader(data)
        while reader.position < len(data):
            self._receive(reader.take(reader.i32()))
        if self.is_slow and not self.conn.blocked:
            self.world.replica.blocked(self.conn)

    def close(self) -> None:
        self.has_ended = True

    def abort(self) -> None:
        self.has_ended = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    # Judgement

    def _receive(self, frame: bytes) -> None:
        if self.handshake is None:
            self.handshake = raw.decode_handshake(frame)
            return
        xid = raw.Reader(frame).i32()
        if xid == raw.EVENT_XID:
            self._receive_event(raw.decode_event(frame))
        elif self.expected and self.expected[0].xid == xid:
            self._receive_reply(raw.decode_reply(self.expected.popleft().op, frame))
        elif xid in self.out_of_band:
            self.out_of_band.remove(xid)
            self._check_out_of_band(raw.decode_reply("sasl", frame))
        elif Expected(xid, self._op(xid)) in self.expected:
            self._receive_ahead(raw.decode_reply("ping", frame))
        elif self.expected and self.expected[0].op == "createSession" and xid == 0:
            self.expected.popleft()
            raw.decode_handshake(frame)
        else:
            self._fail(f"a reply to {xid}, but the next is {list(self.expected)[:3]}")

    def _op(self, xid: int) -> str:
        return next((op for expected, op in self.expected if expected == xid), "")

    def _receive_ahead(self, reply: raw.Reply) -> None:
        """Only the refusal of whoever must authenticate first may overtake; it is the last."""
        if reply.err != ENFORCED_AUTH:
            self._fail(f"a reply to {reply.xid}, but the next is {list(self.expected)[:3]}")
        self._receive_reply(reply)
        self.expected.clear()

    def _receive_event(self, event: raw.Event) -> None:
        assert event.type in raw.EVENT_NAMES, event
        assert (event.state, event.err) == (3, 0), event
        if event.zxid != -1:
            assert self.seen_zxid < event.zxid <= self.world.durable_zxid, event

    def _receive_reply(self, reply: raw.Reply) -> None:
        assert reply.value != "undecodable", reply
        assert not reply.rest, reply
        if reply.err == UNKNOWN_OPERATION and reply.zxid == -1:
            return
        if reply.err == ENFORCED_AUTH:
            assert reply.zxid == 0, reply
            return
        assert self.seen_zxid <= reply.zxid <= self.world.durable_zxid, reply
        self.seen_zxid = reply.zxid

    def _check_out_of_band(self, reply: raw.Reply) -> None:
        assert reply.zxid == 0, reply
        assert reply.err in (0, -115), reply

    def _fail(self, text: str) -> NoReturn:
        raise AssertionError(text)


class World:
    """A replica, its clients, its disk and its follower."""

    def __init__(self, config: ServerConfig) -> None:
        self.now_ms = 1_000
        self.wall_ms = 1_700_000_000_000
        self.durable_zxid = 0
        self.waiting: deque[tuple[int, bytes]] = deque()
        """Appended to the log and not yet durable."""
        self.clients: list[Client] = []
        self._next_xid = 1
        self.follower = DataTree.pristine(extended_types=config.extended_types)
        leader = DataTree.pristine(extended_types=config.extended_types)
        self.follower_events = RecordedEvents()
        self.leader_events = RecordedEvents()
        leader.events, self.follower.events = self.leader_events, self.follower_events
        self.replica = Leading(config, leader, self, first_session_id=0x100, now_ms=self.now_ms)

    # The disk

    def append(self, zxid: int, payload: bytes) -> None:
        last = self.waiting[-1][0] if self.waiting else self.durable_zxid
        assert zxid == last + 1, f"zxid {zxid} behind {last}"
        self.waiting.append((zxid, payload))

    def log(self, count: int) -> None:
        """The oldest records become durable; the follower applies them too."""
        for _ in range(min(count, len(self.waiting))):
            self.durable_zxid, payload = self.waiting.popleft()
            self._follow(payload)
        self.replica.committed(self.now_ms, self.wall_ms, self.durable_zxid)
        self._compare()

    def _follow(self, payload: bytes) -> None:
        txn = Txn.decode(payload)
        assert txn.zxid == self.durable_zxid
        assert Txn.decode(payload).encode() == payload, "another encoding of the same transaction"
        apply(self.follower, txn)
        self.follower.events.clear()
        assert digest_matches(self.follower, txn), (
            f"{signed(self.follower.digest)} behind {txn.kind}, not {txn.digest}"
        )

    def _compare(self) -> None:
        leader, follower = self.replica.tree, self.follower
        assert not (found := difference(leader, follower)), found
        assert leader.last_zxid == follower.last_zxid == self.durable_zxid
        for tree in (leader, follower):
            assert signed(tree.digest) == signed(tree.compute_digest())
        assert self.leader_events.take() == self.follower_events.take()

    # Clients

    def open(self, host: str = "127.0.0.1") -> Client:
        client = Client(self, host)
        self.clients.append(client)
        self.replica.opened(client.conn)
        return client

    def connect(self, client: Client, record: bytes) -> None:
        self.deliver(client, raw.i32(len(record)) + record)

    def send(self, client: Client, requests: Sequence[tuple[int, bytes]], cut: int = 0) -> None:
        """Pipeline requests; `cut` bytes of the last one come in a piece of their own."""
        data = b""
        for op, body in requests:
            xid, self._next_xid = self._next_xid, self._next_xid + 1
            if op == raw.OPCODES["ping"]:
                xid = raw.PING_XID
            if client.conn.session is not None and not client.has_ended:
                self._expect(client, xid, op)
            data += raw.i32(8 + len(body)) + raw.i32(xid) + raw.i32(op) + body
        self.deliver(client, data[: len(data) - cut])
        self.deliver(client, data[len(data) - cut :])

    def _expect(self, client: Client, xid: int, op: int) -> None:
        name = OPERATIONS.get(op, f"opcode {op}")
        if name in OUT_OF_BAND:
            client.out_of_band.append(xid)
        else:
            client.expected.append(Expected(xid, name))

    def deliver(self, client: Client, data: bytes) -> None:
        """Bytes from a socket, as the shell hands them to the replica."""
        conn = client.conn
        if conn.closed or not data:
            return
        frames, error = client.reader.feed(data)
        if frames and conn.session is None:
            first, *frames = frames
            self.replica.connect(self.now_ms, self.wall_ms, conn, first)
        if frames and not conn.closed:
            self.replica.frames(self.now_ms, self.wall_ms, conn, frames)
        if error is not None:
            self.hang_up(client)

    def hang_up(self, client: Client) -> None:
        """The TCP connection is gone."""
        client.has_ended = True
        if not client.conn.closed:
            self.replica.closed(client.conn)
        self.clients.remove(client)

    def set_slow(self, client: Client, is_slow: bool) -> None:
        client.is_slow = is_slow
        if not is_slow and client.conn.blocked and not client.conn.closed:
            self.replica.drained(self.now_ms, self.wall_ms, client.conn)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        self.wall_ms += ms
        self.replica.tick(self.now_ms, self.wall_ms)

    # The end

    def finish(self) -> None:
        """Everything comes to rest: nothing is left unanswered, half done or paused."""
        for _ in range(ROUNDS_TO_REST):
            for client in self.clients:
                self.set_slow(client, False)
            if not self.waiting:
                break
            self.log(len(self.waiting))
        assert not self.waiting, "it never comes to rest"
        assert self.replica.in_flight == 0
        for client in self.clients:
            if not client.conn.closed:
                assert not client.expected, f"never answered: {client.expected}"
                assert not client.out_of_band
                assert not client.is_paused
        tree = self.replica.tree
        for path, node in tree.nodes.items():
            assert self.replica.outstanding.node(path) is node, path
        assert set(tree.sessions) == set(self.replica.tracker.sessions)
        assert set(tree.ephemerals) <= set(tree.sessions), "ephemerals of no session"
        self._check_snapshot(tree)

    def _check_snapshot(self, tree: DataTree) -> None:
        pieces = list(snapshot.encode(tree))
        loaded, _ = snapshot.decode(pieces, extended_types=tree.extended_types, digests=True)
        assert not (found := difference(tree, loaded, usage=False)), found
        assert signed(loaded.digest) == signed(tree.digest)


def small_config(**settings: object) -> ServerConfig:
    """A server without files that reaps and expires soon."""
    nowhere = PurePath("unused")
    values: dict[str, object] = {
        "storage": StorageConfig(data_dir=nowhere, data_log_dir=nowhere),
        "reaper": ReaperConfig(check_interval_ms=1000, max_never_used_interval_ms=5000),
        "tick_time_ms": 1000,
        "min_session_timeout_ms": 2000,
        "max_session_timeout_ms": 20_000,
        **settings,
    }
    return ServerConfig(**values)  # type: ignore[arg-type]
