"""A follower answers its client with the bytes that the server which validated would send."""

from __future__ import annotations

import struct
from collections import Counter, deque
from random import Random

import pytest

from kraal.errors import DecodeError, ErrorCode
from kraal.model.acl import Id
from kraal.model.config import SecurityConfig
from kraal.pipeline.applied_reply import applied_reply
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.prepare.draft import Context, Draft, Rules
from kraal.pipeline.prepare.preparer import ZNODE_WRITES, PreparedTxn, Preparer
from kraal.pipeline.reply import NO_REPLY
from kraal.tree.apply import apply, install
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn as txns
from kraal.wire.records.txn import Txn
from tests.fuzz.requests import request
from tests.interop.differential_rules import STATS
from tests.support import raw_client as raw

REQUESTS = 2000
SESSIONS = (0x100, 0x200)
AUTHORITY = Authority(SecurityConfig())
IDENTITIES = (
    Id("ip", "127.0.0.1"),
    *AUTHORITY.authenticate("digest", b"u1:p1", "127.0.0.1"),
)
REPLY_HEADER_BYTES = 20
DATA_LENGTH = slice(REPLY_HEADER_BYTES + 52, REPLY_HEADER_BYTES + 56)


class Pair:
    """A tree that writes are validated against, and a follower's that applies what comes of it."""

    def __init__(self) -> None:
        self.leader = DataTree.pristine(extended_types=True)
        self.follower = DataTree.pristine(extended_types=True)
        rules = Rules(
            extended_types=True, enforce_quota=True, reconfig_enabled=False, close_session_txn=True
        )
        self.outstanding = Outstanding(self.leader)
        self.preparer = Preparer(Context(self.leader, self.outstanding, AUTHORITY, rules))
        self.zxid = 0
        self.in_flight: deque[tuple[int, int, PreparedTxn]] = deque()
        self.answered: Counter[str] = Counter()

    def propose(self, op: int, body: bytes, session_id: int = SESSIONS[0], xid: int = 1) -> None:
        draft = Draft(session_id, xid, IDENTITIES, self.zxid + 1, 1000 + self.zxid)
        try:
            if op == OpCode.CLOSE_SESSION:
                made = self.preparer.close_session(draft)
            else:
                made = self.preparer.write(draft, op, struct.pack(">ii", xid, op) + body)
        except DecodeError:
            return
        self.zxid += 1
        self.in_flight.append((xid, op, made))

    def commit(self) -> None:
        """The oldest one: both replies to it are the same."""
        xid, op, (payload, changes, digest, reply) = self.in_flight.popleft()
        install(self.leader, changes)
        self.outstanding.installed(changes)
        txn = Txn.decode(payload)
        self.leader.advance(txn.zxid, digest)
        frame = applied_reply(xid, op, txn, apply(self.follower, txn), txn.zxid)
        if isinstance(txn.body, txns.SetAclTxn) and (txn.body.path or b"").endswith(STATS.encode()):
            # The length of usage is that of the moment of the write, which two servers see apart.
            frame, reply = _without_length(frame), _without_length(reply)
        assert frame == reply, f"{txn.kind} {txn.body}"
        is_failed_multi = isinstance(txn.body, txns.MultiTxn) and txn.body.failed
        self.answered["failed multi" if is_failed_multi else OpCode(txn.kind).name] += 1
        self.leader.events.clear()
        self.follower.events.clear()


def _without_length(frame: bytes) -> bytes:
    blanked = bytearray(frame)
    blanked[DATA_LENGTH] = bytes(4)
    return bytes(blanked)


def _run(seed: int) -> Pair:
    random, pair = Random(seed), Pair()
    asked = (*ZNODE_WRITES, OpCode.CLOSE_SESSION)
    for xid in range(REQUESTS):
        op, body = request(random)
        if op in asked:
            pair.propose(op, body, random.choice(SESSIONS), xid)
        while len(pair.in_flight) > random.randrange(20):
            pair.commit()
    while pair.in_flight:
        pair.commit()
    return pair


@pytest.mark.parametrize("seed", range(6))
def test_random_writes(seed: int) -> None:
    _run(seed)


def test_random_writes_reach_every_form_of_reply() -> None:
    answered = sum((_run(seed).answered for seed in range(4)), Counter[str]())
    kinds = {OpCode(kind).name for kind in ZNODE_WRITES} - {"RECONFIG"}
    assert all(answered[kind] >= 4 for kind in kinds | {"failed multi", "ERROR", "CLOSE_SESSION"})


def test_a_multi_whose_results_show_what_later_parts_change() -> None:
    pair = Pair()
    parts = [
        (raw.OPCODES["create2"], raw.create_body("/a", b"x", raw.OPEN_ACL, 0)),
        (raw.OPCODES["setData"], raw.set_data_body("/a", b"yy", 0)),
        (raw.OPCODES["createContainer"], raw.create_body("/a/c", b"", raw.OPEN_ACL, 4)),
        (raw.OPCODES["createTTL"], raw.create_ttl_body("/a/t", b"", raw.OPEN_ACL, 5, 60_000)),
        (raw.OPCODES["create"], raw.create_body("/a/s", b"", raw.OPEN_ACL, 2)),
        (raw.OPCODES["check"], raw.path_and_int("/a", 1)),
        (raw.OPCODES["delete"], raw.path_and_int("/a/c", -1)),
    ]
    pair.propose(OpCode.MULTI, raw.multi_body(parts))
    pair.commit()
    assert pair.answered["MULTI"] == 1


def test_what_a_usage_znode_is_created_with_is_what_its_creator_sees() -> None:
    """The tree computes another text for it at once."""
    pair = Pair()
    for path in ("/a", "/zookeeper/quota/a", f"/zookeeper/quota/a/{STATS}"):
        pair.propose(OpCode.CREATE2, raw.create_body(path, b"x", raw.OPEN_ACL, 0))
        pair.commit()
    assert pair.follower.nodes[f"/zookeeper/quota/a/{STATS}".encode()].data != b"x"
    assert pair.answered == {"CREATE2": 3}


def test_a_reconfiguration_is_answered_with_the_members_and_the_stat() -> None:
    """Read as reference/client-protocol.md section 5.2 has it: a GetDataResponse."""
    tree = DataTree.pristine()
    text = b"server.1=h:1:2:participant\nversion=100000002"
    body = txns.SetDataTxn(b"/zookeeper/config", text, -1)
    txn = Txn(SESSIONS[0], 9, 0x1_0000_0002, 5, OpCode.RECONFIG, body, None)
    frame = applied_reply(9, OpCode.RECONFIG, txn, apply(tree, txn), txn.zxid)
    head = struct.unpack_from(">iiqi", frame)
    assert head == (len(frame) - 4, 9, txn.zxid, 0)
    stat = tree.nodes[b"/zookeeper/config"].stat
    assert frame[REPLY_HEADER_BYTES:] == raw.buffer(text) + stat
    assert struct.unpack_from(">i", stat, 32) == (-1,)


def test_a_refused_write_is_answered_with_its_code() -> None:
    error = txns.ErrorTxn(ErrorCode.NO_NODE)
    txn = Txn(SESSIONS[0], 9, 12, 5, OpCode.ERROR, error, None)
    frame = applied_reply(9, OpCode.SET_DATA, txn, b"", 12)
    assert frame == struct.pack(">iiqi", 16, 9, 12, ErrorCode.NO_NODE)


@pytest.mark.parametrize(
    "body",
    [
        txns.ErrorTxn(ErrorCode.SESSION_MOVED),
        txns.MultiTxn(
            [
                (OpCode.ERROR, txns.ErrorTxn(ErrorCode.SESSION_MOVED)),
                (OpCode.ERROR, txns.ErrorTxn(ErrorCode.RUNTIME_INCONSISTENCY)),
            ]
        ),
    ],
)
def test_who_has_moved_is_not_told(body: Record) -> None:
    """Reference section 2.8: the connection is closed instead."""
    kind = OpCode.MULTI if isinstance(body, txns.MultiTxn) else OpCode.ERROR
    txn = Txn(SESSIONS[0], 1, 1, 1000, kind, body, None)
    tree = DataTree.pristine(extended_types=True)
    assert applied_reply(1, OpCode.SET_DATA, txn, apply(tree, txn), 1) == NO_REPLY
