"""Every decoder and parser: what feeds it, and the exceptions that it may raise.

A target takes bytes. Any other exception is a finding, and so is a check of its own that fails:
decoding what was encoded gives the same again, and pieces give what the whole gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from kraal.errors import ConfigError, CorruptError, DecodeError, ErrorCode, RequestError
from kraal.model import properties
from kraal.model.config import SecurityConfig, ServerConfig, SnapshotCodec
from kraal.model.ensemble import EnsembleConfig
from kraal.model.path import is_valid
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.auth.sasl import LoginRefusedError
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counts
from kraal.pipeline.prepare import multi
from kraal.pipeline.read import Reader
from kraal.pipeline.session_tracker import SessionTracker
from kraal.pipeline.watch_limit import WatchLimit
from kraal.pipeline.watch_table import WatchTable
from kraal.replica.handshake import Handshake
from kraal.server.config.file import load
from kraal.server.quorum_sasl import QuorumAuthError
from kraal.storage import log_format
from kraal.storage.snapshot_codec import decoded
from kraal.tree import quota, snapshot
from kraal.tree.snapshot import StreamDecoder
from kraal.wire.framing import FrameReader
from kraal.wire.jute.schema import Record
from kraal.wire.records import proto
from kraal.wire.records.data import decode_acls, encode_acls
from kraal.wire.records.txn import Txn
from tests.fuzz import quorum, sasl, seeds
from tests.fuzz.fake_socket import FakeSocket
from tests.fuzz.requests import Request
from tests.fuzz.world import Client, World, small_config
from tests.support import raw_client as raw

FRAME_LIMIT = 4096
RECORD_LIMIT = 1 << 20
NOWHERE = PurePath("unused")
_IGNORED_KEYS = (
    "dataDir", "dataLogDir", "clientPortAddress", "dynamicConfigFile",
    "java.security.auth.login.config",
)  # fmt: skip
"""Settings that would make the loader read other files or look names up."""


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder under fuzzing."""

    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], Sequence[bytes]]

    def feed(self, data: bytes) -> None:
        """Run it; an exception that is not allowed is a finding."""
        try:
            self.run(data)
        except self.allowed:
            return


# Frames


def framing(data: bytes) -> None:
    """The whole, byte by byte, and in pieces of every size up to ten."""
    for dropped_max in (0, 2 * FRAME_LIMIT):
        _framing(data, dropped_max)


def _framing(data: bytes, dropped_max: int) -> None:
    whole = FrameReader(FRAME_LIMIT, dropped_max).feed(data)
    for size in range(1, 11):
        reader = FrameReader(FRAME_LIMIT, dropped_max)
        frames: list[bytes] = []
        failed = False
        for at in range(0, len(data), size):
            more, error = reader.feed(data[at : at + size])
            frames += more
            if error is not None:
                failed = True
                break
        assert frames == whole[0], f"in pieces of {size}"
        assert failed == (whole[1] is not None), f"in pieces of {size}"


def handshake(data: bytes) -> None:
    """Whatever the first frame is, the answer is a decision or a close."""
    world = World(small_config())
    decider = Handshake(world.replica.config, world.replica.tree, SessionTracker(1000), 1)
    decision = decider.decide(data)
    if decision is not None:
        assert 2000 <= decision.timeout_ms <= 20_000
        assert decision.session_id or decision.is_new


def replica_frame(data: bytes) -> None:
    """One frame on an established session, whatever it holds."""
    world = World(small_config(extended_types=True))
    client = _established(world)
    world.send(client, [Request(int.from_bytes(data[:4], "big", signed=True), data[4:])])
    world.finish()


def byte_stream(data: bytes) -> None:
    """A whole connection as one piece and byte by byte: the same comes back."""
    answers = []
    for size in (len(data) or 1, 1):
        world = World(small_config(extended_types=True))
        client = Listening(world)
        for at in range(0, len(data), size):
            world.deliver(client, data[at : at + size])
        world.log(len(world.waiting))
        world.log(len(world.waiting))
        answers.append((bytes(client.output), client.has_ended))
    assert answers[0] == answers[1]


def client_socket(data: bytes) -> None:
    """The shell's end of a connection with four-letter words, in one piece and byte by byte."""
    ends = []
    for size in (len(data) or 1, 1):
        socket = FakeSocket()
        for at in range(0, len(data), size):
            socket.receive(data[at : at + size])
        ends.append((socket.has_ended, bool(socket.output)))
        socket.lose()
    assert ends[0] == ends[1]


class Listening(Client):
    """A client that keeps what it gets instead of judging it."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "127.0.0.1")
        self.output = bytearray()
        world.clients.append(self)
        world.replica.opened(self.conn)

    def write(self, data: bytes) -> None:
        self.output += data


def _established(world: World) -> Client:
    client = world.open()
    world.connect(client, raw.connect_request())
    world.log(1)
    return client


# Records


def record(shape: type[Record], data: bytes) -> None:
    """A record of a request: what was read can be written and read again.

    But for supplementary characters, which are written as surrogates that nobody reads.
    """
    values, end = shape.unpack(data)
    assert 0 <= end <= len(data)
    written = shape.pack(*values)
    again, _ = shape.unpack(written)
    assert again == values or any(map(_is_supplementary, values))
    assert shape.decode(written)[0].encode() == shape.pack(*again)


def _is_supplementary(value: object) -> bool:
    return isinstance(value, str) and any(char > "\uffff" for char in value)


def multi_request(data: bytes) -> None:
    multi.decode(data, 0)


def reads(data: bytes) -> None:
    """Every read with this body; a read that fails says so."""
    reader, conn = _reader()
    for op, handler in reader.handlers.items():
        frame = raw.i32(7) + raw.i32(op) + data
        try:
            answer = handler(conn, 7, frame)
        except (DecodeError, RequestError):
            continue
        assert len(answer) >= 20
        assert int.from_bytes(answer[:4], "big") == len(answer) - 4


def _reader() -> tuple[Reader, ClientConnection]:
    tree = seeds.tree()
    authority = Authority(SecurityConfig())
    client = Listening(World(small_config()))
    counts = Counts()
    watches = WatchTable(lambda _conn, _acl: True, lambda _conn, _data: None, counts)
    return Reader(tree, watches, authority, WatchLimit(100, counts)), client.conn


def acls(data: bytes) -> None:
    """An ACL vector: refused, or stored in a form that stays."""
    decode_acls(data)
    authority = Authority(SecurityConfig())
    identities = ClientConnection(Listening(World(small_config())), "127.0.0.1", 1, 0).auth
    try:
        request, _ = proto.SetAclRequest.decode(raw.ustring("/a") + data + raw.i32(-1))
        stored = authority.stored_list(request.acl, identities)
    except RequestError as error:
        assert error.code in (ErrorCode.INVALID_ACL, ErrorCode.MARSHALLING_ERROR)
        return
    assert encode_acls(decode_acls(stored)) == stored


def auth_packet(data: bytes) -> None:
    """Scheme, a zero byte, credentials."""
    scheme, _, credentials = data.partition(b"\0")
    earned = Authority(SecurityConfig()).authenticate(
        scheme.decode("utf-8", "replace"), credentials, "127.0.0.1"
    )
    assert earned


def path(data: bytes) -> None:
    """The patterns agree with the rules, spelled out (client-protocol.md section 5.4)."""
    assert is_valid(data) == _is_legal(data), data


def _is_legal(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    if not text.startswith("/"):
        return False
    if text == "/":
        return True
    if any(name in ("", ".", "..") for name in text[1:].split("/")):
        return False
    return not any(_is_illegal(ord(char)) for char in text)


def _is_illegal(code: int) -> bool:
    controls = code <= 0x1F or 0x7F <= code <= 0x9F
    return controls or 0xD800 <= code <= 0xF8FF or code >= 0xFFF0


def quota_text(data: bytes) -> None:
    """Limits may be unreadable; usage never hurts, and adding to it can be repeated."""
    used = data
    for _ in range(3):
        used = quota.add_usage(used, 1, 10)
    quota.usage(used)
    quota.hard_limits(data)


# Disk


def transaction(data: bytes) -> None:
    """What decodes can be encoded and decoded to the same."""
    decoded_txn = Txn.decode(data)
    again = Txn.decode(decoded_txn.encode())
    assert again.encode() == decoded_txn.payload


def log_file(data: bytes) -> None:
    """A file of the transaction log; every record that is found is a sound one."""
    scanner = log_format.LogScanner("log", lambda at, size: data[at : at + size], RECORD_LIMIT)
    end = log_format.FILE_HEADER_BYTES
    for offset, payload in scanner:
        assert data[offset:].startswith(log_format.frame(payload))
        assert offset == end
        end += len(payload) + log_format.FRAMING_BYTES
    assert scanner.end == end


def snapshot_file(data: bytes) -> None:
    """A snapshot, whole and in small pieces; one that is accepted can be written again."""
    tree, _ = snapshot.decode(data, extended_types=True, digests=True)
    in_pieces, _ = snapshot.decode(_pieces(data), extended_types=True, digests=True)
    assert list(in_pieces.nodes) == list(tree.nodes)
    tree.last_zxid = 2**63 - 1  # no znode is too new for it
    written = b"".join(snapshot.encode(tree))
    assert list(snapshot.decode(written, extended_types=True, digests=True)[0].nodes) == list(
        tree.nodes
    )


def snapshot_stream(data: bytes) -> None:
    """What follows a SNAP packet, whole and in small pieces: the same tree and the same rest.

    Without a tree nothing is said: what is refused as a whole may seem cut off in pieces.
    """
    ends: list[tuple[list[bytes], bytes] | None] = []
    for size in (len(data) or 1, 7):
        reader = StreamDecoder(extended_types=True, digests=True, max_buffer_bytes=RECORD_LIMIT)
        rest, at = None, 0
        with suppress(DecodeError):
            while rest is None and at < len(data):
                rest = reader.feed(data[at : at + size])
                at += size
        ends.append(None if rest is None else (list(reader.tree.nodes), rest + data[at:]))
    assert ends[0] == ends[1]


def packed_snapshot(codec: SnapshotCodec, data: bytes) -> None:
    """The same bytes come out whether they go in whole or in pieces."""
    whole = b"".join(decoded([data], codec))
    assert b"".join(decoded(_pieces(data), codec)) == whole


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 7] for at in range(0, len(data), 7))


# Text


def config_text(data: bytes) -> ServerConfig:
    """zoo.cfg: a configuration or a ConfigError that names the key."""
    settings = {
        key: value for key, value in properties.parse(data).items() if key not in _IGNORED_KEYS
    }
    return load(
        None, defines={}, environment={}, overrides={**settings, "dataDir": "/nonexistent"}
    ).config


def environment(data: bytes) -> ServerConfig:
    """Pairs of lines: the name behind `KRAAL_`, and the value."""
    lines = iter(data.decode("latin-1").split("\n"))
    variables = {f"KRAAL_{name}": value for name, value in zip(lines, lines, strict=False)}
    ignored = {key.replace(".", "").lower() for key in _IGNORED_KEYS}
    kept = {
        name: value
        for name, value in variables.items()
        if name[6:].replace("_", "").lower() not in ignored
    }
    overrides = {"dataDir": "/nonexistent", "clientPortAddress": "127.0.0.1"}
    return load(None, defines={}, environment=kept, overrides=overrides).config


def membership(data: bytes) -> None:
    """What a peer says about the ensemble: read and written, it reads back as the same."""
    config = EnsembleConfig.parse(data.decode("utf-8", "replace"), multi_address=True)
    assert EnsembleConfig.parse(config.text(), multi_address=True) == config


RECORDS: tuple[type[Record], ...] = tuple(
    shape
    for shape in vars(proto).values()
    if isinstance(shape, type) and issubclass(shape, Record) and shape is not Record
)


def _bodies() -> list[bytes]:
    return [body for _, body in seeds.requests()]


def _ops() -> list[bytes]:
    return [raw.i32(op) + body for op, body in seeds.requests()]


TARGETS: dict[str, Target] = {
    "framing": Target(framing, (), seeds.streams),
    "handshake": Target(handshake, (), seeds.connect_requests),
    "replica-frame": Target(replica_frame, (), _ops),
    "byte-stream": Target(byte_stream, (), seeds.streams),
    "client-socket": Target(client_socket, (), seeds.streams),
    **{
        f"record-{shape.__name__}": Target(partial(record, shape), (DecodeError,), _bodies)
        for shape in RECORDS
    },
    "multi": Target(multi_request, (DecodeError,), _bodies),
    "reads": Target(reads, (), _bodies),
    "acls": Target(acls, (DecodeError,), lambda: [seeds.ACLS, raw.i32(0), raw.i32(-1)]),
    "auth-packet": Target(
        auth_packet, (RequestError,), lambda: [b"digest\0user:pass", b"ip\0", b"world\0anyone"]
    ),
    "path": Target(path, (), lambda: [b"/", b"/a/b", b"/a/../b", "/\u00e9\ufffd".encode()]),
    "quota-text": Target(
        quota_text, (ValueError,), lambda: [b"count=1,bytes=2", b"count=1,bytes=2=;byteHardLimit=3"]
    ),
    "txn": Target(transaction, (DecodeError,), seeds.txns),
    "log": Target(log_file, (CorruptError,), seeds.logs),
    "snapshot": Target(snapshot_file, (DecodeError,), seeds.snapshots),
    "snapshot-stream": Target(snapshot_stream, (), seeds.snapshot_streams),
    "snapshot-gzip": Target(
        partial(packed_snapshot, SnapshotCodec.GZIP),
        (DecodeError,),
        partial(seeds.packed, SnapshotCodec.GZIP),
    ),
    "snapshot-snappy": Target(
        partial(packed_snapshot, SnapshotCodec.SNAPPY),
        (DecodeError,),
        partial(seeds.packed, SnapshotCodec.SNAPPY),
    ),
    "packets": Target(quorum.packets, (), quorum.packet_seeds),
    "leader": Target(quorum.leader, (), quorum.leader_seeds),
    "observer-master": Target(quorum.observer_master, (), quorum.leader_seeds),
    "learner": Target(quorum.learner, (), quorum.learner_seeds),
    "learner-txns": Target(quorum.learner_txns, (), quorum.txn_seeds),
    "notification": Target(quorum.notification, (), quorum.notification_seeds),
    "sasl-response": Target(sasl.client_response, (LoginRefusedError,), sasl.client_responses),
    "sasl-challenge": Target(sasl.challenge, (DecodeError,), sasl.challenges),
    "sasl-accepted": Target(sasl.accepted, (), sasl.packets),
    "sasl-dialled": Target(sasl.dialled, (QuorumAuthError,), sasl.packets),
    "jaas": Target(sasl.jaas_file, (ConfigError,), lambda: [sasl.JAAS]),
    "membership": Target(membership, (ConfigError,), seeds.memberships),
    "config": Target(config_text, (ConfigError,), seeds.texts),
    "environment": Target(
        environment, (ConfigError,), lambda: [b"TICK_TIME\n2000\nSNAP_COUNT\nx", b"SERVER_1\nh:1:2"]
    ),
}
