"""Packets of the quorum port: captured bytes, pieces of any size, and what no peer may send."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from kraal.errors import DecodeError
from kraal.model.acl import Id
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import LearnerInfo, Packet, PacketReader, PacketType

LIMIT = 1 << 20
EPOCH_1 = 0x1_0000_0000
SESSION = 0x0100_0017_63DD_0000


def _hex(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


# reference/quorum-protocol.md section 10
CAPTURED = [
    (
        wire.with_data(PacketType.FOLLOWER_INFO, 0, LearnerInfo(1, 0x10000, 0).encode()),
        "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff",
    ),
    (
        wire.with_data(
            PacketType.FOLLOWER_INFO, EPOCH_1, LearnerInfo(2, 0x10000, 0x1_0000_0005).encode()
        ),
        "0000000b 0000000100000000 00000014 0000000000000002 00010000 0000000100000005 ffffffff",
    ),
    (
        wire.with_data(PacketType.LEADER_INFO, EPOCH_1, wire.PROTOCOL_VERSION.to_bytes(4, "big")),
        "00000011 0000000100000000 00000004 00010000 ffffffff",
    ),
    (wire.bare(PacketType.DIFF, 0x1_0000_0009), "0000000d 0000000100000009 ffffffff ffffffff"),
    (wire.bare(PacketType.UP_TO_DATE, -1), "0000000c ffffffffffffffff ffffffff ffffffff"),
    (wire.acks([EPOCH_1]), "00000003 0000000100000000 ffffffff ffffffff"),
    (wire.commits([0x1_0000_0002]), "00000004 0000000100000002 ffffffff ffffffff"),
    (
        wire.request(SESSION, _hex("00000000 fffffff6 00002710"), None),
        "00000001 ffffffffffffffff 00000014 0100001763dd0000 00000000 fffffff6 00002710 ffffffff",
    ),
    (
        wire.request(SESSION, _hex("00000001 00000001 00000002 2f61"), (Id("ip", "127.0.0.1"),)),
        "00000001 ffffffffffffffff 00000016 0100001763dd0000 00000001 00000001 00000002 2f61"
        "00000001 00000002 6970 00000009 3132372e302e302e31",
    ),
    (
        wire.with_data(PacketType.PING, 0x1_0000_0005, wire.touches([(SESSION, 10_000)])),
        "00000005 0000000100000005 0000000c 0100001763dd0000 00002710 ffffffff",
    ),
    (
        wire.with_data(PacketType.PING, EPOCH_1, wire.touches([])),
        "00000005 0000000100000000 00000000 ffffffff",
    ),
    (
        wire.with_data(PacketType.REVALIDATE, -1, wire.validity(SESSION, True)),
        "00000006 ffffffffffffffff 00000009 0100001763dd0000 01 ffffffff",
    ),
    (wire.bare(PacketType.SYNC, 0), "00000007 0000000000000000 ffffffff ffffffff"),
    (
        wire.with_data(PacketType.COMMIT_AND_ACTIVATE, 0x1_0000_0002, wire.long_data(3)),
        "00000009 0000000100000002 00000008 0000000000000003 ffffffff",
    ),
]


@pytest.mark.parametrize(("made", "captured"), CAPTURED)
def test_packets_are_the_captured_bytes(made: bytes, captured: str) -> None:
    assert made == _hex(captured)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 10_000])
def test_packets_arrive_in_pieces_of_any_size(size: int) -> None:
    stream = b"".join(made for made, _ in CAPTURED)
    reader = PacketReader(LIMIT)
    packets: list[Packet] = []
    for at in range(0, len(stream), size):
        packets += reader.feed(stream[at : at + size])
    assert packets == [PacketReader(LIMIT).feed(made)[0] for made, _ in CAPTURED]
    assert not reader.take_rest()


def test_what_follows_snap_is_left_alone() -> None:
    reader = PacketReader(LIMIT)
    (snap,) = reader.feed(wire.bare(PacketType.SNAP, EPOCH_1) + b"\xff" * 100)
    assert snap[:2] == (PacketType.SNAP, EPOCH_1)
    assert reader.take_rest() == b"\xff" * 100
    assert reader.feed(wire.bare(PacketType.DIFF, 1)) == [(PacketType.DIFF, 1, None, ())]


def test_null_and_empty_stay_distinct() -> None:
    reader = PacketReader(LIMIT)
    null, empty = reader.feed(wire.bare(5, 1) + wire.with_data(5, 1, b""))
    assert (null[2], empty[2]) == (None, b"")


@pytest.mark.parametrize(
    "bad",
    [
        "00000002 0000000000000001 7fffffff 00000000",  # a gigantic buffer
        "00000002 0000000000000001 fffffffe 00000000",  # a negative length
        "00000001 0000000000000001 00000000 7fffffff",  # identities without end
        "00000001 0000000000000001 00000000 00000001 fffffff0",  # a negative scheme
        "00000001 0000000000000001 00000000 00000001 7ffffff0",  # a gigantic scheme
    ],
)
def test_impossible_lengths_end_the_connection(bad: str) -> None:
    with pytest.raises(DecodeError):
        PacketReader(LIMIT).feed(_hex(bad))


def test_a_packet_that_never_ends_is_bounded() -> None:
    reader = PacketReader(LIMIT)
    head = _hex("00000001 0000000000000001 00000000 000003e8")
    with pytest.raises(DecodeError):
        for _ in range(LIMIT // 1000):
            reader.feed(head)
            head = b"\x00\x00\x03\xe8" + b"x" * 1000 + b"\x00\x00\x03\xe8" + b"y" * 1000


@pytest.mark.parametrize("data", [None, b"", b"\0" * 7])
def test_learners_that_do_not_say_who_they_are(data: bytes | None) -> None:
    with pytest.raises(DecodeError):
        LearnerInfo.decode(data)


def test_old_learners_leave_fields_out() -> None:
    whole = LearnerInfo(7, 0x10000, 9).encode()
    assert LearnerInfo.decode(whole[:8]) == (7, 0, 0)
    assert LearnerInfo.decode(whole[:12]) == (7, 0x10000, 0)
    assert LearnerInfo.decode(whole + b"more") == (7, 0x10000, 9)


@pytest.mark.parametrize("size", [1, 11, 13])
def test_touched_sessions_are_whole(size: int) -> None:
    with pytest.raises(DecodeError):
        wire.read_touches(b"\0" * size)


def test_long_identities_come_through_and_are_not_kept() -> None:
    """Short ones are remembered; nobody can fill the memory with long ones."""
    before, _ = _traced()
    for number in range(300):
        identities = (Id("ip", "127.0.0.1"), Id("digest", f"{number:0100000}"))
        packet = wire.request(SESSION, bytes(8), identities)
        ((_, _, _, read),) = PacketReader(LIMIT).feed(packet)
        assert read == identities
    after, peak = _traced()
    tracemalloc.stop()
    assert after - before < 1 << 20
    assert peak - before < 4 << 20


def _traced() -> tuple[int, int]:
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    return tracemalloc.get_traced_memory()


def test_identities_without_end_are_refused() -> None:
    reader = PacketReader(LIMIT)
    head = struct.pack(">iqii", PacketType.REQUEST, -1, 0, 100)
    reader.feed(head)
    with pytest.raises(DecodeError):
        for _ in range(200):
            reader.feed(struct.pack(">i", 100_000) + bytes(100_000))
