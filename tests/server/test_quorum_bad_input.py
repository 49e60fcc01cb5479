"""Bad input on the quorum port of a real ensemble: it leads on, and nobody else notices."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.server.conftest import Memory, create, data_of
from tests.support import raw_client as raw
from tests.support import raw_quorum as quorum
from tests.support.ensembles import KRAAL, Ensemble, Member, Shape
from tests.support.raw_client import i32, i64
from tests.support.raw_quorum import FakeLeader, RawPeer, packet

MB = 1 << 20
STRANGER = 77
LIMITS = {
    "tick_ms": 200, "init_limit": 10, "sync_limit": 10, "settings": {"maxSessionTimeout": 60_000},
}  # fmt: skip


def connected(member: Member) -> raw.RawClient:
    client = raw.RawClient(member.client_port, timeout=30.0)
    client.connect(raw.connect_request(timeout=60_000))
    return client


def quorum_port(ensemble: Ensemble, member: Member) -> int:
    return ensemble._ports[member.id][1]


def election_port(ensemble: Ensemble, member: Member) -> int:
    return ensemble._ports[member.id][2]


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three servers that serve; nothing in this module makes them elect again."""
    shape = Shape(participants=(KRAAL,) * 3, **LIMITS)  # type: ignore[arg-type]
    with Ensemble(tmp_path_factory.mktemp("quorum"), shape) as found:
        found.start()
        yield found
        for member in found.members.values():
            assert "Traceback" not in member.log_text(), member.log_text()[-3000:]


@pytest.fixture
def leader(ensemble: Ensemble) -> Member:
    return ensemble.wait_leader()


@pytest.fixture(autouse=True)
def bystanders(request: pytest.FixtureRequest) -> Iterator[None]:
    """Clients of every member beside what is going on; their sessions and writes go on."""
    if "ensemble" not in request.fixturenames:
        yield
        return
    ensemble: Ensemble = request.getfixturevalue("ensemble")
    before, epoch = ensemble.wait_leader(), ensemble.wait_leader().zxid() >> 32
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(member)) for member in ensemble.members.values()]
        yield
        for number, client in enumerate(clients):
            path = f"/bystander-{number}"
            create(client, path)
            assert client.call("setData", raw.set_data_body(path, b"still here", -1)).err == 0
            assert client.call("sync", raw.ustring("/")).err == 0
            assert data_of(client, path) == b"still here"
            assert client.call("delete", raw.path_and_int(path, -1)).err == 0
            assert client.call("closeSession").err == 0
    assert ensemble.wait_leader() is before
    assert before.zxid() >> 32 == epoch, "there was an election"


def dial(ensemble: Ensemble, leader: Member) -> RawPeer:
    return RawPeer.dial(quorum_port(ensemble, leader))


# Registration


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: zookeeper\r\n\r\n",
        bytes.fromhex("1603010200010001fc0303") + bytes(600),
        bytes.fromhex("5f2435013501edcc0000000000000000") + bytes(20),
        b"ruok" + bytes(16),
        bytes(4096),
        b"\xff" * 4096,
        packet(quorum.ACK, 1),
        packet(quorum.FOLLOWER_INFO, 0),
        packet(quorum.FOLLOWER_INFO, 0, b"123"),
        packet(quorum.FOLLOWER_INFO, 0, quorum.learner_info(STRANGER, version=1)),
        packet(quorum.FOLLOWER_INFO, 0, quorum.learner_info(STRANGER, config=1 << 40)),
        i32(quorum.FOLLOWER_INFO) + i64(0) + i32(0x7FFF_FFFF) + bytes(4),
        i32(quorum.FOLLOWER_INFO) + i64(0) + i32(-5) + bytes(4),
        i32(quorum.FOLLOWER_INFO) + i64(0) + i32(0) + i32(0x7FFF_FFFF) + bytes(4),
        i32(quorum.FOLLOWER_INFO) + i64(0) + i32(2 * MB) + bytes(MB),
    ],
)
def test_who_does_not_speak_the_protocol_is_cut_off(
    ensemble: Ensemble, leader: Member, first: bytes
) -> None:
    with dial(ensemble, leader) as peer:
        peer.send(first)
        assert peer.is_closed()


def test_a_registration_in_pieces_is_understood(ensemble: Ensemble, leader: Member) -> None:
    with dial(ensemble, leader) as peer:
        for byte in packet(quorum.FOLLOWER_INFO, 0, quorum.learner_info(STRANGER)):
            peer.send(bytes([byte]))
            time.sleep(0.002)  # a segment of its own
        found = peer.receive()
        assert (found.kind, found.data) == (quorum.LEADER_INFO, i32(quorum.VERSION))


def test_silent_connections_leave_room_for_others(ensemble: Ensemble, leader: Member) -> None:
    port = quorum_port(ensemble, leader)
    silent = [socket.create_connection((quorum.HOST, port)) for _ in range(400)]
    try:
        with dial(ensemble, leader) as peer:
            assert peer.learn(STRANGER) > 0
    finally:
        for end in silent:
            end.close()


def test_random_bytes_behind_every_stage(ensemble: Ensemble, leader: Member) -> None:
    random = Random(7)
    sound = [
        packet(kind, random.choice((0, -1, 1 << 32, 1 << 40)), data)
        for kind in range(20)
        for data in (None, b"", bytes(12), random.randbytes(40))
    ]
    for number in range(150):
        with dial(ensemble, leader) as peer:
            stage = number % 3
            if stage == 2:
                peer.learn(STRANGER + number)
            elif stage == 1:
                peer.send(packet(quorum.FOLLOWER_INFO, 0, quorum.learner_info(STRANGER + number)))
            for _ in range(random.randint(1, 6)):
                piece = bytearray(random.choice(sound))
                if random.random() < 0.5:
                    piece[random.randrange(len(piece))] = random.randrange(256)
                peer.send(bytes(piece))
            peer.send(random.randbytes(random.randint(0, 200)))


# A learner in step


def test_null_data_is_answered_or_cut_off(ensemble: Ensemble, leader: Member) -> None:
    for kind in (quorum.REQUEST, quorum.REVALIDATE):
        with dial(ensemble, leader) as peer:
            peer.learn(STRANGER)
            peer.send(packet(kind, -1))
            assert peer.is_closed()
    with dial(ensemble, leader) as peer:
        peer.learn(STRANGER)
        peer.send(packet(quorum.PING, 0), packet(quorum.REVALIDATE, -1, i64(5) + i32(1)))
        found = peer.receive_but_pings()
        assert (found.kind, found.data) == (quorum.REVALIDATE, i64(5) + b"\0")


def test_an_ack_of_what_was_never_proposed(ensemble: Ensemble, leader: Member) -> None:
    with dial(ensemble, leader) as peer:
        first = peer.learn(STRANGER)
        peer.send(packet(quorum.ACK, first + 1_000_000))
        assert peer.is_closed()


def test_a_learner_that_stops_reading_does_not_hold_others_up(
    ensemble: Ensemble, leader: Member
) -> None:
    """It is sent every proposal; what waits for it is bounded by its time without an ACK."""
    assert leader.server is not None
    memory = Memory(leader.server)
    with dial(ensemble, leader) as peer, connected(leader) as client:
        peer.learn(STRANGER)
        data = bytes(500_000)
        for number in range(60):
            assert create(client, f"/large-{number}", data) == 0
            assert client.call("setData", raw.set_data_body(f"/large-{number}", b"", -1)).err == 0
        assert ensemble.wait_in_step() > 0
        time.sleep(2.5)  # syncLimit is 2 s
        assert peer.is_closed()
    assert memory.peak_growth() < 200 * MB


def test_one_that_is_silent_behind_the_epoch_is_let_go(ensemble: Ensemble, leader: Member) -> None:
    with dial(ensemble, leader) as peer:
        peer.send(packet(quorum.FOLLOWER_INFO, 0, quorum.learner_info(STRANGER)))
        assert peer.receive().kind == quorum.LEADER_INFO
        began = time.monotonic()
        assert peer.is_closed()
        assert time.monotonic() - began < 20


def test_closed_connections_leave_nothing_behind(ensemble: Ensemble, leader: Member) -> None:
    assert leader.server is not None
    for _ in range(200):
        with dial(ensemble, leader) as peer:
            peer.send(packet(quorum.ACK, 1))
    memory = Memory(leader.server)
    for _ in range(2000):
        with dial(ensemble, leader) as peer:
            peer.send(packet(quorum.ACK, 1))
    assert memory.growth() < 8 * MB
    descriptors = Path(f"/proc/{leader.server.pid}/fd")
    assert len(list(descriptors.iterdir())) < 200


# A fake leader

EPOCH = 9
E0 = EPOCH << 32
HEADER = struct.Struct(">qiqqi")


def session_txn(zxid: int) -> bytes:
    return HEADER.pack(0x300_0000_0001, 0, zxid, 1000, -10) + i32(9000)


PLAYS: dict[str, list[bytes]] = {
    "no epoch": [packet(quorum.LEADER_INFO, E0)],
    "a cut that cannot be": [
        packet(quorum.LEADER_INFO, E0, i32(quorum.VERSION)),
        packet(quorum.TRUNC, 1),
    ],
    "no tree": [
        packet(quorum.LEADER_INFO, E0, i32(quorum.VERSION)),
        packet(quorum.SNAP, E0) + b"\0\0\0\0\0\0\0\1" + bytes(8) + i32(-9),
    ],
    "a commit of nothing": [
        packet(quorum.LEADER_INFO, E0, i32(quorum.VERSION)),
        packet(quorum.DIFF, 0),
        packet(quorum.COMMIT, E0 | 1),
    ],
    "garbage while serving": [
        packet(quorum.LEADER_INFO, E0, i32(quorum.VERSION)),
        packet(quorum.DIFF, 0),
        packet(quorum.NEW_LEADER, E0, b"no=configuration"),
        packet(quorum.UP_TO_DATE, -1),
        packet(quorum.PROPOSAL, E0 | 1, session_txn(E0 | 1)) + packet(quorum.COMMIT, E0 | 1),
        packet(quorum.PROPOSAL, E0 | 2, b"garbage"),
    ],
    "a proposal of null": [
        packet(quorum.LEADER_INFO, E0, i32(quorum.VERSION)),
        packet(quorum.DIFF, 0),
        packet(quorum.NEW_LEADER, E0),
        packet(quorum.UP_TO_DATE, -1),
        packet(quorum.PROPOSAL, E0 | 1),
    ],
}


@pytest.mark.timeout(180)
def test_followers_of_a_fake_leader_leave_it_and_elect_another(tmp_path: Path) -> None:
    shape = Shape(participants=(KRAAL,) * 3, **LIMITS)  # type: ignore[arg-type]
    with Ensemble(tmp_path, shape) as ensemble:
        victim, other, absent = ensemble.members.values()
        ensemble.start()
        with connected(victim) as client:
            assert create(client, "/before", b"kept") == 0
        for member in ensemble.members.values():
            member.stop()
        config = "\n".join([*ensemble.server_lines(), "version=0"])
        victim.launch()
        ports = quorum_port(ensemble, absent), election_port(ensemble, absent)
        with FakeLeader(absent.id, *ports, config) as fake:
            for name, play in PLAYS.items():
                votes_at = election_port(ensemble, victim)
                with fake.elect_by(votes_at, zxid=99 << 32, epoch=99) as follower:
                    assert follower.receive().kind == quorum.FOLLOWER_INFO
                    for part in play:
                        follower.send(part)
                        time.sleep(0.05)
                    assert follower.is_closed(), name
                assert victim.alive, f"{name}: {victim.log_text()[-2000:]}"
        other.launch()
        ensemble.wait_serving(60, [victim, other])
        for member in (victim, other):
            with connected(member) as client:
                assert data_of(client, "/before") == b"kept"
                assert create(client, f"/after-{member.id}") == 0
        # What it logged meanwhile is sound.
        victim.stop()
        victim.launch()
        ensemble.wait_serving(60, [victim, other])
        assert "Traceback" not in victim.log_text()
