"""Followers of somebody who was elected and does not lead as a leader should, in virtual time.

Whatever it sends, its followers leave it, and among themselves they find a leader again.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import count

import pytest

from kraal.sim.server import SimServer
from kraal.sim.world import World
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import encode_stream
from kraal.wire.opcodes import OpCode
from kraal.wire.records import quorum as wire
from kraal.wire.records import txn as txns
from kraal.wire.records.quorum import PacketType
from kraal.wire.records.txn import Txn
from kraal.zab.state import State
from tests.sim.strangers import (
    Line,
    Stranger,
    client_of,
    leader_of,
    plan,
    started,
    without_judges,
    write,
)

EPOCH = 5
E0 = EPOCH << 32
SESSION = 0x0300_0000_0000_0001


def leader_info(epoch: int = EPOCH) -> bytes:
    version = wire.PROTOCOL_VERSION.to_bytes(4, "big")
    return wire.with_data(PacketType.LEADER_INFO, epoch << 32, version)


def new_leader(epoch: int = EPOCH, config: bytes = b"") -> bytes:
    return wire.with_data(PacketType.NEW_LEADER, epoch << 32, config)


UP_TO_DATE = wire.bare(PacketType.UP_TO_DATE, -1)


def session_txn(zxid: int) -> bytes:
    """A transaction that does little."""
    body = txns.CreateSessionTxn(9000)
    return Txn(SESSION, 0, zxid, 1000, OpCode.CREATE_SESSION, body, None).encode()


def create_txn(zxid: int, path: bytes) -> bytes:
    body = txns.CreateTxn(path, b"x", None, False, 1)
    return Txn(SESSION, 1, zxid, 1000, OpCode.CREATE2, body, None).encode()


def proposal(zxid: int) -> bytes:
    return wire.proposal(zxid, session_txn(zxid))


def commit(zxid: int) -> bytes:
    return wire.bare(PacketType.COMMIT, zxid)


class Play:
    """Two servers of three, and the third one, whom they elect."""

    def __init__(self, *, with_history: bool = False, reconfig_enabled: bool = False) -> None:
        self.world = World(1, plan(3))
        for server in self.world.servers.values():
            server.config = replace(server.config, reconfig_enabled=reconfig_enabled)
        self.stranger = Stranger(self.world, 3)
        self.servers = [self.world.servers[1], self.world.servers[2]]
        if with_history:
            self.stranger.is_up = False
            started(self.world, 1, 2)
            write(client_of(self.world, 1), b"/before")
            self.world.clients.clear()
            for server in self.servers:
                server.crash(power=False)
            self.stranger.is_up = True
        without_judges(self.world)
        for server in self.servers:
            server.start()
        self.zxid = self.servers[0].peer.tree.last_zxid
        self.stranger.backs, self.stranger.claims = State.LOOKING, (4 << 32, 4)
        self.lines = self.wait_for_followers()

    def wait_for_followers(self) -> list[Line]:
        """Until both dial the stranger."""
        self.stranger.dialled_in.clear()
        for _ in range(100):
            self.world.run(50)
            if len(self.stranger.dialled_in) >= 2:
                self.world.run(20)
                return list(self.stranger.dialled_in)
        raise AssertionError("they do not follow it")

    def send(self, *packets: bytes) -> None:
        for line in self.lines:
            line.send(*packets)
        self.world.run(60)

    def lead(self, *, upto: str = "serving") -> None:
        """Lead them well, up to a phase."""
        self.send(leader_info())
        if upto == "epoch":
            return
        self.send(wire.bare(PacketType.DIFF, self.zxid))
        if upto == "history":
            return
        self.send(new_leader())
        assert all(line.kinds()[-1] == PacketType.ACK for line in self.lines)
        if upto == "adopted":
            return
        self.send(UP_TO_DATE)
        assert {server.peer.current_epoch for server in self.servers} == {EPOCH}

    @property
    def have_left(self) -> bool:
        return all(line.is_closed for line in self.lines)

    def recover(self) -> SimServer:
        """The stranger is gone: the others lead and follow, and serve; returns the leader."""
        self.stranger.backs = None
        self.stranger.is_up = False
        for line in self.lines:
            if not line.is_closed:
                line.close()
        self.world.run(8000)
        leader = leader_of(self.world)
        zxid = write(client_of(self.world, leader.id), b"/after-%d" % self.world.now_ms())
        self.world.run(300)
        trees = [server.peer.tree for server in self.servers]
        assert [tree.last_zxid for tree in trees] == [zxid, zxid]
        assert trees[0].digest == trees[1].digest
        for server in self.servers:  # what is on their disks is sound, too
            server.crash(power=False)
            server.start()
            assert server.peer.tree.last_zxid == zxid
        self.world.run(3000)
        return leader_of(self.world)


# Epochs


def test_a_leader_of_a_lower_epoch_is_left() -> None:
    play = Play()
    play.send(leader_info(EPOCH))
    for line in play.lines:
        line.close()
    play.lines = play.wait_for_followers()
    play.send(leader_info(EPOCH - 1))
    assert play.have_left
    assert {server.peer.accepted_epoch for server in play.servers} == {EPOCH}
    assert play.recover().peer.current_epoch == EPOCH + 2


def test_a_leader_of_the_same_epoch_is_followed_and_does_not_count_on_it() -> None:
    play = Play()
    play.send(leader_info(EPOCH))
    for line in play.lines:
        line.close()
    play.lines = play.wait_for_followers()
    play.send(leader_info(EPOCH))
    for line in play.lines:
        kind, _, data, _ = line.packets[-1]
        assert (kind, data) == (PacketType.ACK_EPOCH, struct.pack(">i", -1))
    play.recover()


@pytest.mark.parametrize("epoch", [-1, -(1 << 31), 1 << 26, (1 << 31) - 1])
def test_a_leader_of_an_impossible_epoch_is_left(epoch: int) -> None:
    play = Play(with_history=True)
    play.send(leader_info(epoch))
    assert play.have_left
    assert play.recover().peer.current_epoch == 3


# Before there is a history


@pytest.mark.parametrize(
    "first",
    [wire.bare(PacketType.LEADER_INFO, E0), wire.with_data(PacketType.LEADER_INFO, E0, b"12"),
     wire.bare(PacketType.DIFF, 0), proposal(E0 | 1), UP_TO_DATE, b"HTTP/1.1 400 Bad Request\r\n",
     struct.pack(">iqi", PacketType.LEADER_INFO, E0, 0x7FFF_FFFF) + bytes(9)],
    ids=["null", "short", "DIFF", "a proposal", "UPTODATE", "another protocol", "gigantic"],
)  # fmt: skip
def test_the_first_packet_is_leaderinfo(first: bytes) -> None:
    play = Play()
    play.send(first)
    assert play.have_left
    assert {server.peer.accepted_epoch for server in play.servers} == {0}
    play.recover()


@pytest.mark.parametrize(
    "opening",
    [new_leader(), UP_TO_DATE, proposal(E0 | 1), wire.bare(99, 0),
     wire.bare(PacketType.TRUNC, 1 << 40), wire.bare(PacketType.TRUNC, -1),
     wire.bare(PacketType.SNAP, -1), wire.bare(PacketType.SNAP, (EPOCH + 1) << 32),
     wire.bare(PacketType.SNAP, E0) + b"\0\0\0\0\0\0\0\0\xff\xff\xff\xfe" + bytes(99),
     wire.bare(PacketType.SNAP, E0) + b"\x7f\xff\xff\xff" + bytes(99),
     wire.bare(PacketType.SNAP, E0) + b"".join(encode_stream(DataTree.pristine()))[:-4] + b"Nope"],
    ids=["NEWLEADER", "UPTODATE", "a proposal", "unknown", "a later cut", "a negative cut",
         "a negative tree", "a tree of a later epoch", "no tree", "a gigantic count",
         "a bad signature"],
)  # fmt: skip
def test_the_opening_must_make_sense(opening: bytes) -> None:
    play = Play(with_history=True)
    play.lead(upto="epoch")
    play.send(opening)
    if opening[:4] == struct.pack(">i", PacketType.SNAP) and not play.have_left:
        play.world.run(2500)  # it is read as a tree of many sessions that never ends
    assert play.have_left
    assert {server.peer.tree.last_zxid for server in play.servers} == {play.zxid}
    assert b"/before" in play.recover().peer.tree.nodes


@pytest.mark.parametrize("answer", [PacketType.SNAP, PacketType.DIFF])
def test_where_the_log_cannot_be_cut_the_leader_is_asked_for_everything(
    answer: PacketType,
) -> None:
    play = Play(with_history=True)
    play.lead(upto="epoch")
    first = play.lines
    play.stranger.dialled_in.clear()
    cut = (play.zxid >> 32) - 1 << 32 | 7  # of an epoch that nobody had
    play.send(wire.bare(PacketType.TRUNC, cut))
    play.world.run(300)
    assert all(line.is_closed for line in first)
    assert {server.peer.state for server in play.servers} == {State.FOLLOWING}
    play.lines = list(play.stranger.dialled_in)
    assert len(play.lines) == 2
    for line in play.lines:
        ((kind, zxid, _, _),) = line.take()
        assert (kind, zxid) == (PacketType.FOLLOWER_INFO, E0)
    play.send(leader_info())
    for line in play.lines:
        # With nothing, and without a vote: the leader of this epoch has counted it already.
        assert line.take() == [(PacketType.ACK_EPOCH, 0, b"\xff\xff\xff\xff", ())]
    assert {server.peer.tree.last_zxid for server in play.servers} == {play.zxid}
    if answer == PacketType.SNAP:
        stream = b"".join(encode_stream(DataTree.pristine()))
        play.send(wire.bare(PacketType.SNAP, 1 << 32 | 7) + stream)
    else:
        play.send(wire.bare(PacketType.DIFF, 1 << 32 | 7))
        play.send(
            *(part for n in range(1, 8) for part in (proposal(1 << 32 | n), commit(1 << 32 | n)))
        )
    play.send(new_leader())
    play.world.run(300)
    play.send(UP_TO_DATE)
    assert {server.peer.tree.last_zxid for server in play.servers} == {1 << 32 | 7}
    assert all(b"/before" not in server.peer.tree.nodes for server in play.servers)
    play.recover()


def test_only_the_leader_that_was_promised_to_is_told_of_nothing() -> None:
    """Another one might count on it, and what was committed would be lost."""
    play = Play(with_history=True)
    play.lead(upto="epoch")
    play.stranger.dialled_in.clear()
    play.send(wire.bare(PacketType.TRUNC, 7))
    play.world.run(300)
    play.lines = list(play.stranger.dialled_in)
    assert len(play.lines) == 2
    play.send(leader_info(EPOCH + 1))
    assert play.have_left
    assert b"/before" in play.recover().peer.tree.nodes


# History and broadcast: what is proposed and committed


def after(zxid: int) -> dict[str, bytes]:
    """What must not come when `zxid` is the last that came."""
    one, two = zxid + 1, zxid + 2
    return {
        "a gap": proposal(two),
        "a repetition": proposal(one) + proposal(one),
        "an older one": proposal(one) + proposal(two) + proposal(one),
        "of a later epoch": proposal((EPOCH + 1) << 32 | 1),
        "the last of all": proposal((1 << 63) - 1),
        "a negative one": proposal(-5),
        "without a transaction": wire.bare(PacketType.PROPOSAL, one),
        "an empty one": wire.proposal(one, b""),
        "garbage": wire.proposal(one, b"garbage" * 9),
        "of another zxid": wire.proposal(one, session_txn(two)),
        "of an unknown kind": wire.proposal(one, session_txn(one)[:28] + struct.pack(">ii", 99, 1)),
        "that deletes the root": wire.proposal(
            one,
            Txn(SESSION, 1, one, 1, OpCode.DELETE, txns.DeleteTxn(b"/"), None).encode(),
        ),
        "a path without a slash": wire.proposal(one, create_txn(one, b"nowhere")),
        "no path": wire.proposal(
            one, Txn(1, 1, one, 1, OpCode.DELETE, txns.DeleteTxn(None), None).encode()
        ),
        "a commit of nothing": commit(one),
        "a commit out of turn": proposal(one) + proposal(two) + commit(two),
        "a commit twice": proposal(one) + commit(one) + commit(one),
        "a commit of another": proposal(one) + commit(one + 77),
        "told before it is committed": proposal(one) + wire.inform(two, session_txn(two)),
        "told without a transaction": wire.bare(PacketType.INFORM, one),
        "activation without a leader": proposal(one) + wire.bare(9, one),
        "activation of nothing": wire.with_data(9, one, bytes(8)),
        "activation that is cut off": wire.with_data(19, one, b"123"),
        "a gigantic buffer": struct.pack(">iqi", 2, one, 0x7FFF_FFFF) + bytes(9),
        "a negative buffer": struct.pack(">iqi", 2, one, -7) + bytes(9),
        "many identities": struct.pack(">iqii", 2, one, -1, 1 << 30) + bytes(9),
    }


@pytest.mark.parametrize("what", after(0))
@pytest.mark.parametrize("phase", ["history", "adopted", "serving"])
def test_what_is_proposed_and_committed_must_follow(phase: str, what: str) -> None:
    if phase != "serving" and what == "activation without a leader":
        return  # there it is as good as a commit
    play = Play(with_history=phase == "history")
    play.lead(upto=phase)
    zxid = play.zxid if phase == "history" else E0
    if phase == "history" and what not in ("a gap", "an older one", "a repetition"):
        play.send(proposal(zxid + 1), commit(zxid + 1))
        zxid += 1
    play.send(after(zxid)[what])
    assert play.have_left
    play.recover()


@pytest.mark.parametrize("phase", ["history", "adopted", "serving"])
def test_what_makes_no_sense_and_does_no_harm_is_borne(phase: str) -> None:
    play = Play()
    play.lead(upto=phase)
    play.send(*[wire.bare(PacketType.PING, 0)] * 50)
    if phase == "serving":
        play.send(
            wire.bare(PacketType.SYNC, 0), wire.bare(PacketType.SYNC, 0), UP_TO_DATE, new_leader(),
            wire.with_data(PacketType.REVALIDATE, -1, wire.validity(5, True)),
            wire.bare(PacketType.REQUEST, -1), wire.bare(PacketType.ACK, 7), wire.bare(99, 7),
        )  # fmt: skip
        assert not play.have_left
        pings = [
            packet for line in play.lines for packet in line.packets if packet[0] == PacketType.PING
        ]
        assert len(pings) == 100
        assert all(data == b"" for _, _, data, _ in pings), "null would crash the reference"
    assert not play.have_left
    if phase == "history":
        play.send(new_leader())
    if phase != "serving":
        play.send(UP_TO_DATE)
    play.send(proposal(E0 | 1), commit(E0 | 1))
    assert {server.peer.tree.last_zxid for server in play.servers} == {E0 | 1}
    play.recover()


@pytest.mark.parametrize(
    "config",
    [b"\xff\xfe\x00", b"server.1=x", b"server.foo=a:1:2", b"version=zz", b"x" * 100_000,
     b"server.3=s3:2888:3888:participant\nversion=0", b"=\n=", b"server.1=[::1:1:2\nversion=5"],
    ids=["bytes", "a port less", "no id", "no version", "long", "without them", "signs", "bracket"],
)  # fmt: skip
def test_a_configuration_that_cannot_be_read_is_no_reason_to_leave(config: bytes) -> None:
    play = Play()
    play.send(leader_info(), wire.bare(PacketType.DIFF, 0), new_leader(config=config), UP_TO_DATE)
    play.send(proposal(E0 | 1), commit(E0 | 1))
    assert {server.peer.tree.last_zxid for server in play.servers} == {E0 | 1}
    play.recover()


# Silence, and too much of everything


@pytest.mark.parametrize("phase", ["nothing", "epoch", "history", "adopted", "serving"])
def test_a_leader_that_falls_silent_is_left_in_time(phase: str) -> None:
    play = Play()
    if phase != "nothing":
        play.lead(upto=phase)
    play.world.run(700)
    assert not play.have_left
    play.world.run(1500)
    assert play.have_left
    play.recover()


def test_a_tree_that_never_ends_is_left_in_time() -> None:
    play = Play()
    play.lead(upto="epoch")
    stream = b"".join(encode_stream(DataTree.pristine()))
    play.send(wire.bare(PacketType.SNAP, E0) + stream[: len(stream) // 2])
    play.world.run(2500)
    assert play.have_left
    assert {server.peer.tree.last_zxid for server in play.servers} == {0}
    play.recover()


def test_a_whole_tree_and_a_history_behind_it_are_adopted() -> None:
    """The fake leader can do it right as well, so the plays above test what they mean to."""
    play = Play(with_history=True)
    play.lead(upto="epoch")
    tree = DataTree.pristine()
    stream = b"".join(encode_stream(tree))
    play.send(wire.bare(PacketType.SNAP, (EPOCH - 1) << 32 | 7) + stream)
    zxids = [(EPOCH - 1) << 32 | 8, E0 | 1]
    play.send(*(part for zxid in zxids for part in (proposal(zxid), commit(zxid))))
    play.send(new_leader())
    play.world.run(300)
    play.send(UP_TO_DATE, proposal(E0 | 2), commit(E0 | 2))
    assert {server.peer.tree.last_zxid for server in play.servers} == {E0 | 2}
    assert all(b"/before" not in server.peer.tree.nodes for server in play.servers)
    play.recover()


def test_what_was_proposed_and_not_committed_is_in_the_next_history() -> None:
    """It was acknowledged, so it may have been committed."""
    play = Play()
    play.lead()
    numbers = count(1)
    play.send(*(proposal(E0 | next(numbers)) for _ in range(5)))
    for line in play.lines:
        acked = [zxid for kind, zxid, _, _ in line.packets if kind == PacketType.ACK]
        assert acked[-5:] == [E0 | number for number in range(1, 6)]
    assert {server.peer.tree.last_zxid for server in play.servers} == {play.zxid}
    play.stranger.backs = None
    for line in play.lines:
        line.close()
    play.world.run(4000)
    assert SESSION in leader_of(play.world).peer.tree.sessions


def test_a_designated_leader_that_does_not_vote_is_not_believed() -> None:
    """A reconfiguration may name anybody; nobody leads who is not in it."""
    play = Play(reconfig_enabled=True)
    play.lead()
    text = b"server.3=s3:2888:3888:participant\nversion=500000001"
    body = txns.SetDataTxn(b"/zookeeper/config", text, -1)
    payload = Txn(SESSION, 1, E0 | 1, 1, OpCode.RECONFIG, body, None).encode()
    for line, server in zip(play.lines, _by_line(play), strict=True):
        line.send(
            wire.proposal(E0 | 1, payload),
            wire.with_data(PacketType.COMMIT_AND_ACTIVATE, E0 | 1, struct.pack(">q", server.id)),
        )
    play.world.run(100)
    assert {server.peer.state for server in play.servers} == {State.LOOKING}
    assert {tuple(server.peer.config.members) for server in play.servers} == {(3,)}


def _by_line(play: Play) -> list[SimServer]:
    """The servers in the order of their connections."""
    ids = [struct.unpack_from(">q", line.packets[0][2] or b"")[0] for line in play.lines]
    return [play.world.servers[server_id] for server_id in ids]
