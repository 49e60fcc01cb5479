"""What a peer of the ensemble may send: fuzz targets for its packets and notifications."""

from __future__ import annotations

import struct

from kraal.errors import DecodeError
from kraal.wire.records import quorum as wire
from kraal.wire.records.election import encode_notification
from kraal.wire.records.quorum import PacketReader, PacketType
from kraal.zab.state import State
from tests.fuzz import seeds
from tests.fuzz.member import (
    BOTH,
    EPOCH,
    OTHER,
    SESSION,
    Member,
    leading,
    leading_packets,
    learner_of,
    learning,
    registered,
    renumbered,
    settings,
)
from tests.support import raw_client as raw

LIMIT = 1 << 12


def packets(data: bytes) -> None:
    """The whole, and in pieces of every size up to ten."""
    whole, error = _read(data, len(data) or 1)
    for size in range(1, 11):
        in_pieces, failed = _read(data, size)
        assert in_pieces == whole, f"in pieces of {size}"
        assert failed == error, f"in pieces of {size}"


def _read(data: bytes, size: int) -> tuple[list[wire.Packet], bool]:
    """The packets, up to a SNAP and without what was cut together with an error."""
    reader = PacketReader(LIMIT)
    found: list[wire.Packet] = []
    for at in range(0, len(data), size):
        try:
            found += reader.feed(data[at : at + size])
        except DecodeError:
            return [], True
        if found and found[-1][0] == PacketType.SNAP:
            return [], False
    return found, False


def leader(data: bytes) -> None:
    """A learner that is in step up to a stage, and then sends whatever it likes."""
    stage, rest = data[:1], data[1:]
    choice = stage[0] if stage else 0
    member = leading()
    handler = learner_of(member)
    steps = registered(member, is_observer=bool(choice & 8))
    for packet in steps[: choice & 7]:
        member.peer.learner_received(*member.now, handler, packet)
        member.settle()
    half = len(rest) // 2 if choice & 16 else len(rest)
    for piece in (rest[:half], rest[half:]):
        member.peer.learner_received(*member.now, handler, piece)
        member.settle()
        member.check()
    member.peer.learner_disconnected(handler)
    member.pass_time(1000)
    _serves_on(member)


def _serves_on(member: Member) -> None:
    """It still leads, and a client's write is committed."""
    assert member.peer.state is State.LEADING
    replica = member.peer.replica
    assert replica is not None
    assert replica.in_flight == 0
    conn, channel = member.create_session()
    body = raw.create_body("/fuzz-serves-on", b"", raw.OPEN_ACL, 0)
    frame = raw.i32(1) + raw.i32(raw.OPCODES["create"]) + body
    replica.frames(*member.now, conn, [frame])
    member.settle()
    xid, _, err = struct.unpack_from(">iqi", channel.frames[-1])
    assert xid == 1
    assert err in (0, -110)
    member.check()


def observer_master(data: bytes) -> None:
    """An observer of a follower: the same stages, and the leader never answers."""
    choice, rest = data[0] if data else 0, data[1:]
    member, up = learning()
    member.peer.leader_received(*member.now, up, b"".join(leading_packets()[:4]))
    member.settle()
    link = type(up)()
    handler = member.peer.observer_connected(member.now_ms, link, "observer")
    assert handler is not None
    for packet in registered(member, is_observer=True)[: choice & 7]:
        member.peer.learner_received(*member.now, handler, packet)
    member.peer.learner_received(*member.now, handler, rest)
    member.settle()
    member.peer.leader_received(*member.now, up, b"".join(leading_packets()[4:]))
    member.settle()
    assert member.peer.state is State.FOLLOWING
    assert member.peer.tree.last_zxid == EPOCH | 1
    member.check()


def learner(data: bytes) -> None:
    """A leader that is good up to a stage, and then sends whatever it likes."""
    choice, rest = data[0] if data else 0, data[1:]
    member, link = learning()
    for packet in leading_packets()[: choice & 7]:
        member.peer.leader_received(*member.now, link, packet)
        member.settle()
    half = len(rest) // 2 if choice & 16 else len(rest)
    for piece in (rest[:half], rest[half:]):
        if not link.is_closed:
            member.peer.leader_received(*member.now, link, piece)
        member.settle()
        member.check()
    _looks_again(member, link)


def _looks_again(member: Member, link: object) -> None:
    """When the connection is gone, so is the term, and the next election begins."""
    if member.peer.term is not None:
        member.peer.leader_disconnected(*member.now, link)  # type: ignore[arg-type]
    member.settle()
    member.pass_time(500)
    assert member.peer.replica is None
    assert member.peer.state in (State.LOOKING, State.FOLLOWING, State.OBSERVING, State.LEADING)
    member.check()


def learner_txns(data: bytes) -> None:
    """A leader whose packets are sound and whose transactions are the fuzzer's."""
    member, link = learning()
    for packet in leading_packets():
        member.peer.leader_received(*member.now, link, packet)
        member.settle()
    zxid = EPOCH | 1
    for payload in data.split(b"\xff\xfe"):
        zxid += 1
        made = renumbered(payload, zxid)
        both = wire.proposal(zxid, made) + wire.bare(PacketType.COMMIT, zxid)
        if not link.is_closed:
            member.peer.leader_received(*member.now, link, both)
        member.settle()
    member.check()
    _looks_again(member, link)


def notification(data: bytes) -> None:
    """One message of a voter or of anybody, while looking and while leading."""
    for server_id in (OTHER, 99):
        member = Member(settings(BOTH))
        member.peer.notified(*member.now, server_id, data)
        member.pass_time(500)
        member.check()
        member = leading()
        member.peer.notified(*member.now, server_id, data)
        member.pass_time(200)
        assert member.peer.state is State.LEADING
        member.check()


# Sound input


def packet_seeds() -> list[bytes]:
    member = leading()
    sound = registered(member, is_observer=False) + leading_packets()
    sound.append(wire.with_data(PacketType.PING, 0, wire.touches([(SESSION, 1000)])))
    return [b"".join(sound), *sound]


def leader_seeds() -> list[bytes]:
    """Each kind of packet that a learner sends, behind each stage."""
    said = [
        wire.with_data(PacketType.PING, 0, wire.touches([(SESSION, 1000)])),
        wire.with_data(PacketType.REVALIDATE, -1, wire.touches([(SESSION, 1000)])),
        wire.bare(PacketType.ACK, EPOCH | 1),
        wire.bare(PacketType.ACK, EPOCH | 9),
        *(
            wire.request(SESSION, raw.i32(7) + raw.i32(op) + body, ())
            for op, body in seeds.requests()[::4]
        ),
    ]
    steps = registered(leading(), is_observer=False)
    return [
        bytes([stage]) + packet for stage in (0, 1, 2, 3, 4, 12, 20) for packet in (*steps, *said)
    ]


def learner_seeds() -> list[bytes]:
    steps = leading_packets()
    said = [
        wire.bare(PacketType.SNAP, EPOCH) + seeds.snapshot_streams()[0],
        wire.bare(PacketType.TRUNC, 0),
        wire.bare(PacketType.SYNC, 0),
        wire.bare(PacketType.PING, 5),
        wire.with_data(PacketType.REVALIDATE, -1, wire.validity(SESSION, True)),
        *(
            packet
            for payload in seeds.txns()
            for packet in (
                wire.proposal(EPOCH | 2, renumbered(payload, EPOCH | 2))
                + wire.bare(PacketType.COMMIT, EPOCH | 2),
                wire.inform(EPOCH | 2, renumbered(payload, EPOCH | 2)),
            )
        ),
    ]
    return [bytes([stage]) + packet for stage in (0, 1, 2, 3, 4, 6) for packet in (*steps, *said)]


def txn_seeds() -> list[bytes]:
    payloads = seeds.txns()
    return [b"\xff\xfe".join(payloads), *payloads]


def notification_seeds() -> list[bytes]:
    return [
        encode_notification(state, leader_id, 5, 1, 0, config)
        for state in State
        for leader_id in (1, OTHER, -(1 << 63))
        for config in (b"", BOTH.encode(), BOTH.encode() + b"\nversion=5")
    ]
