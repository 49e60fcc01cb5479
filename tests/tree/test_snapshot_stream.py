"""The stream behind a SNAP packet: the reference's bytes, every cut, damage, bounds."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraal.errors import DecodeError, RequestError
from kraal.tree import snapshot
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import StreamDecoder, encode_stream
from kraal.wire.records.data import Stat
from kraal.wire.records.txn import Txn
from tests.storage.support import History, described, golden

LIMIT = 4096
REFERENCE = b"".join(golden("quorum-snapshot-stream.hex"))
END = b"\0\0\0\1/\0\0\0\x0aBenWasHere"
ROOT_AT = 43
"""Where the znodes of the reference's stream begin."""


def decoder(limit: int = LIMIT) -> StreamDecoder:
    return StreamDecoder(extended_types=True, digests=True, max_buffer_bytes=limit)


def decoded(*pieces: bytes, rest: bytes = b"") -> DataTree:
    """The tree of these pieces, of which the last ends the stream and leaves `rest`."""
    reader = decoder()
    for piece in pieces[:-1]:
        assert reader.feed(piece) is None
    assert reader.feed(pieces[-1]) == rest
    return reader.tree


def grown(seed: int, steps: int) -> History:
    history = History(Random(seed))
    for _ in range(steps):
        history.next()
    return history


def test_the_captured_stream_is_read_and_written_to_the_byte() -> None:
    assert len(REFERENCE) == 529
    tree = decoded(REFERENCE)
    assert list(tree.nodes) == [b"", b"/", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota"]
    config = tree.nodes[b"/zookeeper/config"]
    assert config.data is not None
    assert config.data.startswith(b"server.1=zk1:32011:32021:participant\n")
    stat = Stat.unpack(config.stat)
    assert (stat.mtime, stat.version, stat.aversion) == (0x1A202E2E107, -1, -1)
    assert tree.digest == tree.compute_digest() == 1371985504
    assert tree.last_zxid == 0
    assert b"".join(encode_stream(tree)) == REFERENCE


@pytest.mark.parametrize("behind", [b"", b"\0", REFERENCE])
def test_every_cut_leaves_what_follows_the_stream(behind: bytes) -> None:
    history = grown(3, 25)
    whole = described(history.tree)
    stream = b"".join(encode_stream(history.tree))
    for cut in range(len(stream)):
        tree = decoded(stream[:cut], stream[cut:] + behind, rest=behind)
        tree.last_zxid = history.tree.last_zxid
        assert described(tree) == whole


@given(st.integers(), st.integers(0, 60), st.lists(st.integers(0, 1 << 14)), st.integers(1, 90))
def test_random_trees_in_random_pieces(
    seed: int, steps: int, cuts: list[int], slice_nodes: int
) -> None:
    history = grown(seed, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "SLICE_NODES", slice_nodes)
        stream = b"".join(encode_stream(history.tree))
    ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    tree = decoded(*(stream[begin:end] for begin, end in pairwise(ends)))
    tree.last_zxid = history.tree.last_zxid
    assert described(tree) == described(history.tree)


def test_byte_by_byte() -> None:
    history = grown(5, 80)
    stream = b"".join(encode_stream(history.tree))
    tree = decoded(*(stream[at : at + 1] for at in range(len(stream))))
    tree.last_zxid = history.tree.last_zxid
    assert described(tree) == described(history.tree)


@settings(deadline=None)
@given(st.integers(), st.integers(0, 40), st.integers(1, 6), st.floats(0, 1))
def test_a_stream_of_a_changing_tree_converges(
    seed: int, steps: int, slice_nodes: int, rate: float
) -> None:
    """What was applied meanwhile follows the stream; with it the trees are equal."""
    history = grown(seed, steps)
    base = history.tree.last_zxid
    meanwhile: list[Txn] = []
    reader = decoder()
    rest: bytes | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "SLICE_NODES", slice_nodes)
        for piece in encode_stream(history.tree):
            assert rest is None
            rest = reader.feed(piece)
            while history.rng.random() < rate * 0.9:
                meanwhile.append(history.next())
    assert rest == b""
    tree = reader.tree
    tree.last_zxid = base
    for txn in meanwhile:
        with suppress(RequestError):  # the stream had the effect already
            apply(tree, Txn.decode(txn.payload))
    assert described(tree) == described(history.tree)
    assert tree.digest == tree.compute_digest()


def test_damage_is_an_error_or_a_wait_and_nothing_else() -> None:
    stream = b"".join(encode_stream(grown(1, 12).tree))
    for cut in range(len(stream)):
        reader = decoder()
        assert reader.feed(stream[:cut]) is None
    extremes = (b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xfe", b"\0\0\0\1")
    for at in range(len(stream)):
        for damage in (bytes([stream[at] ^ 0x41]), bytes([stream[at] ^ 0x80]), *extremes):
            damaged = stream[:at] + damage + stream[at + len(damage) :]
            for size in (7, len(damaged)):
                reader = decoder()
                with suppress(DecodeError):
                    for begin in range(0, len(damaged), size):
                        if reader.feed(damaged[begin : begin + size]) is not None:
                            assert reader.tree.nodes[b""] is reader.tree.nodes[b"/"]
                            break


def size_of(size: int) -> bytes:
    return struct.pack(">i", size)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (REFERENCE[:ROOT_AT] + size_of(LIMIT + 1), "a path of 4097 bytes"),
        (REFERENCE[:ROOT_AT] + size_of(-1), "an impossible path"),
        (REFERENCE[:ROOT_AT] + bytes(4) + size_of(LIMIT + 1), "a znode with 4097 bytes of data"),
        (REFERENCE[:ROOT_AT] + bytes(4) + size_of(-2), "has -2 bytes of data"),
        (REFERENCE[:20] + bytes(4) + size_of(LIMIT), "impossible length 4096 in an ACL entry"),
        (REFERENCE[:20] + bytes(4) + size_of(-2), "impossible length -2 in an ACL entry"),
        (REFERENCE[:16] + size_of(-1), "ACL list 1 is null"),
        (REFERENCE[:ROOT_AT] + END, "without a root"),
        (REFERENCE[:-14] + size_of(9), "no signature"),
        (REFERENCE[:-10] + b"BenWasThere", "no signature"),
        (REFERENCE[:ROOT_AT] + REFERENCE[ROOT_AT + 76 :], "comes before its parent"),
    ],
)
def test_what_no_leader_sends_is_refused_as_soon_as_it_shows(stream: bytes, why: str) -> None:
    for size in (1, len(stream)):
        reader = decoder()
        with pytest.raises(DecodeError, match=why):
            for at in range(0, len(stream), size):
                assert reader.feed(stream[at : at + size]) is None


def test_buffers_up_to_the_limit_are_taken() -> None:
    data = bytes(LIMIT)
    stream = REFERENCE[:ROOT_AT] + bytes(4) + size_of(LIMIT) + data + b"\xff" * 8 + bytes(60) + END
    assert decoded(*(stream[at : at + 100] for at in range(0, len(stream), 100))).nodes[
        b""
    ].data == (data)


def test_no_more_than_a_znode_is_held() -> None:
    """One znode again and again, so that the tree does not grow with the stream."""
    limit = 1 << 14
    node = bytes(4) + size_of(limit) + bytes(limit) + b"\xff" * 8 + bytes(60)
    reader = StreamDecoder(extended_types=False, digests=False, max_buffer_bytes=limit)
    reader.feed(REFERENCE[:ROOT_AT])
    tracemalloc.start()
    try:
        for at in range(0, 500 * len(node), 10_000):
            begin = at % len(node)
            assert reader.feed((node + node)[begin : begin + 10_000]) is None
        assert tracemalloc.get_traced_memory()[1] < 20 * limit
    finally:
        tracemalloc.stop()


def test_nothing_is_taken_behind_the_end() -> None:
    reader = decoder()
    with pytest.raises(AssertionError, match="more to come"):
        _ = reader.tree
    reader.feed(REFERENCE)
    with pytest.raises(AssertionError, match="the stream is over"):
        reader.feed(b"")
    failed = decoder()
    with pytest.raises(DecodeError):
        failed.feed(REFERENCE[:ROOT_AT] + END)
    with pytest.raises(AssertionError, match="after an error"):
        failed.feed(b"")
