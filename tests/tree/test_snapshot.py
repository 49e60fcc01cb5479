"""The snapshot stream: the reference's bytes, damage, and writing while the tree changes."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraal.errors import DecodeError, RequestError
from kraal.tree import snapshot
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import SnapshotDigest
from kraal.tree.znode import EMPTY_STAT, Znode
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import (
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    Txn,
)
from tests.storage.support import History, described, golden


def decode(stream: bytes, piece: int = 1 << 20) -> tuple[DataTree, SnapshotDigest | None]:
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    tree, ending = snapshot.decode(pieces, extended_types=True, digests=True)
    return tree, ending.digest


def encode(tree: DataTree) -> bytes:
    return b"".join(snapshot.encode(tree))


def grown(seed: int, steps: int) -> History:
    history = History(Random(seed))
    for _ in range(steps):
        history.next()
    return history


REFERENCE = b"".join(golden("storage-snapshot-0.hex"))


def test_the_worked_dump_is_read_and_written_to_the_byte() -> None:
    assert len(REFERENCE) == 478
    tree, carried = decode(REFERENCE)
    assert carried is None
    assert described(tree) == described(DataTree.pristine(extended_types=True))
    assert tree.digest == 1371985504
    assert encode(tree) == REFERENCE
    assert encode(DataTree.pristine()) == REFERENCE


@given(st.integers(), st.integers(0, 60), st.sampled_from((1, 7, 64, 1 << 20)))
def test_reading_what_was_written(seed: int, steps: int, piece: int) -> None:
    tree = grown(seed, steps).tree
    stream = encode(tree)
    again, carried = decode(stream, piece)
    again.last_zxid = tree.last_zxid
    assert described(again) == described(tree)
    assert carried == (SnapshotDigest(tree.last_zxid, tree.digest) if steps else None)
    # ACL lists that no znode has are dropped.
    again_stream = encode(again)
    assert len(again_stream) <= len(stream)
    third, _ = decode(again_stream, piece)
    third.last_zxid = tree.last_zxid
    assert encode(third) == again_stream


@given(st.integers(), st.integers(0, 40), st.integers(1, 6), st.floats(0, 1))
def test_a_snapshot_of_a_changing_tree_converges(
    seed: int, steps: int, slice_nodes: int, rate: float
) -> None:
    """Section 4.5: replaying what was applied meanwhile leads to the same tree and digest."""
    history = grown(seed, steps)
    base = history.tree.last_zxid
    before = snapshot.SLICE_NODES
    snapshot.SLICE_NODES = slice_nodes
    meanwhile: list[Txn] = []
    pieces = []
    try:
        for piece in snapshot.encode(history.tree):
            pieces.append(piece)
            while history.rng.random() < rate * 0.9:
                meanwhile.append(history.next())
    finally:
        snapshot.SLICE_NODES = before
    tree, carried = decode(b"".join(pieces))
    tree.last_zxid = base
    for txn in meanwhile:
        with suppress(RequestError):  # replay ignores it
            apply(tree, Txn.decode(txn.payload))
        if carried is not None and txn.zxid >= carried.zxid:
            assert txn.digest in (None, tree.digest)
        if carried is not None and txn.zxid == carried.zxid:
            assert tree.digest == carried.digest
    assert described(tree) == described(history.tree)


def test_every_cut_and_every_flipped_byte_is_noticed() -> None:
    stream = encode(grown(1, 12).tree)
    whole = described(decode(stream)[0])
    assert whole["last_zxid"] == 12
    for cut in range(len(stream)):
        try:
            tree, _ = decode(stream[:cut])
        except DecodeError:
            continue
        # What is left may be a stream of an older form, behind a seal that holds.
        assert cut in (len(stream) - 21, len(stream) - 21 - 33)
        assert described(tree) == whole | {"last_zxid": 0}
    for at in range(len(stream)):
        damaged = bytearray(stream)
        damaged[at] ^= 0x41
        with pytest.raises(DecodeError):
            decode(bytes(damaged))
        for extreme in (b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xfe"):
            if stream[at : at + 4] != extreme:
                with pytest.raises(DecodeError):
                    decode(stream[:at] + extreme + stream[at + 4 :])


def test_the_sections_at_the_end_speak_for_themselves() -> None:
    """Where the reference needs its settings to agree with the writer's (section 4.4)."""
    history = grown(2, 20)
    for digests in (True, False):
        history.tree.digests = digests
        for last_zxid_section in (True, False):
            stream = b"".join(snapshot.encode(history.tree, last_zxid_section=last_zxid_section))
            tree, carried = decode(stream)
            assert (carried is not None) is digests
            assert len(tree.nodes) == len(history.tree.nodes)
            off, _ = snapshot.decode(stream, extended_types=True, digests=False)
            assert (off.digests, off.digest) == (False, 0)


@given(st.integers(1, 60), st.booleans(), st.booleans(), st.sampled_from((1, 13, 70, 1 << 20)))
def test_the_last_sections_are_read_without_the_rest(
    steps: int, digests: bool, last_zxid_section: bool, piece: int
) -> None:
    tree = grown(7, steps).tree
    tree.digests = digests
    stream = b"".join(snapshot.encode(tree, last_zxid_section=last_zxid_section))
    tree.digests = True
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    expected = snapshot.Ending(
        SnapshotDigest(tree.last_zxid, tree.digest) if digests else None,
        tree.last_zxid if last_zxid_section else None,
    )
    assert snapshot.ending(pieces) == expected
    assert snapshot.decode(stream, extended_types=True, digests=True)[1] == expected
    for at in (0, 30, len(stream) - 30, len(stream) - 1):
        damaged = bytearray(stream)
        damaged[at] ^= 4
        assert snapshot.ending([bytes(damaged)]) is None
    assert snapshot.ending([stream[:-1]]) is None
    assert snapshot.ending([]) is None


def test_a_mixture_is_written_without_a_digest() -> None:
    tree = grown(2, 20).tree
    stream = b"".join(snapshot.encode(tree, digest_holds=False))
    assert len(stream) == len(encode(tree))
    assert stream[-21 - 13 - 20 : -21 - 13] == bytes(11) + b"\2" + bytes(8)
    again, carried = decode(stream)
    assert carried is None
    assert described(again) == described(tree)


def test_bytes_behind_the_last_seal_are_ignored() -> None:
    assert decode(REFERENCE + b"more\x00\x00\x00\x01/")[0].digest == 1371985504


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "cut off"),
        (b"ZKLG" + REFERENCE[4:], "not a snapshot"),
        (REFERENCE[:32] + b"\xff" * 4 + REFERENCE[59:], "is null"),
        (REFERENCE[:59] + REFERENCE[0x196:], "checksum"),
        (REFERENCE[:59] + REFERENCE[0x87:], "b'/zookeeper' comes before its parent"),
        (REFERENCE[:59] + b"\x00\x00\x00\x01x" + REFERENCE[63:], "an impossible path: b'x'"),
        (REFERENCE[:59] + b"\xff\xff\xff\xff" + REFERENCE[63:], "an impossible path"),
        (REFERENCE[:63] + b"\xff\xff\xff\xfe" + REFERENCE[67:], "-2 bytes of data"),
        (REFERENCE[:67] + bytes(7) + b"\x09" + REFERENCE[75:], "unknown ACL list 9"),
        (REFERENCE[:119] + b"\xff\x01" + b"\x01" * 6 + REFERENCE[127:], "an impossible znode"),
    ],
)
def test_what_is_no_snapshot(stream: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode(stream)


def test_kinds_of_znodes_keep_their_owner() -> None:
    history = History(Random(1))
    history.apply(OpCode.CREATE_SESSION, CreateSessionTxn(4000), 7)
    history.apply(OpCode.CREATE, CreateTxn(b"/e", None, None, True, -1), 7)
    history.apply(OpCode.CREATE_CONTAINER, CreateContainerTxn(b"/c", b"", None, -1))
    history.apply(OpCode.CREATE_TTL, CreateTtlTxn(b"/t", b"d", None, -1, 3600000))
    tree, _ = decode(encode(history.tree))
    assert tree.ephemerals == {7: {b"/e": None}}
    assert tree.containers == {b"/c": None}
    assert tree.ttls == {b"/t": 3600000}
    assert tree.nodes[b"/t"].stored_owner() == 0xFF0000000036EE80 - (1 << 64)
    assert [tree.nodes[path].ephemeral_owner for path in (b"/e", b"/c", b"/t")] == [7, 0, 0]


def test_an_acl_list_that_appears_meanwhile_is_left_to_replay() -> None:
    history = grown(3, 30)
    stream = snapshot.encode(history.tree)
    pieces = [next(stream)]
    for _ in range(30):
        history.next()
    pieces += stream
    assert decode(b"".join(pieces))[0].nodes


def test_slices_are_small_in_znodes_and_in_bytes() -> None:
    tree = DataTree.pristine()
    sessions, children, large = 1000, 3000, 1 << 20
    tree.sessions.update(dict.fromkeys(range(sessions), 30_000))
    for path, data in (
        (b"/many", b""), *((b"/many/%05d" % n, b"x" * 10) for n in range(children)),
        (b"/large", b""), *((b"/large/%d" % n, b"y" * large) for n in range(8)),
    ):  # fmt: skip
        tree.load(path, Znode(data, tree.acls.open, EMPTY_STAT))
    tree.loaded()
    slices = list(snapshot.encode(tree))
    assert max(piece.count(b"/many/") for piece in slices) <= snapshot.SLICE_NODES
    assert max(map(len, slices)) < large + snapshot.SLICE_BYTES + 10_000
    most = max(len(piece) for piece in slices if b"/" not in piece)
    assert most <= 12 * snapshot.SLICE_SESSIONS
    again, _ = decode(b"".join(slices))
    assert set(again.nodes) == set(tree.nodes)
    assert again.sessions == tree.sessions
