"""Snapshots as files: names, codecs, validity, and what is visible when."""

from __future__ import annotations

import errno
import gzip
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraal.errors import DecodeError, StorageError
from kraal.model.config import SnapshotCodec
from kraal.storage import data_dir, snapshot_store
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.names import Named, log_name, needed_logs, pick, snapshot_name, zxid_of
from kraal.storage.snapshot_codec import decoded, encoder
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree import snapshot
from tests.storage.support import SNAPSHOT_DIR, History, configured, described, write_snapshot


def opened(**settings: Any) -> tuple[MemoryFileSystem, SnapshotStore]:
    fs = MemoryFileSystem(Random(1))
    config = configured(**settings)
    data_dir.prepare(fs, config)
    return fs, SnapshotStore(fs, config, extended_types=True)


def history(steps: int = 60) -> History:
    made = History(Random(1))
    for _ in range(steps):
        made.next()
    return made


@pytest.mark.parametrize(
    ("name", "zxid"),
    [
        ("log.0", 0),
        ("log.1f", 0x1F),
        ("log.1F", 0x1F),
        ("log.00ff", 0xFF),
        ("log.5.bak", 5),
        ("log.7fffffffffffffff", 0x7FFF_FFFF_FFFF_FFFF),
        ("log.8000000000000000", None),
        ("log.ffffffffffffffff", None),
        ("log.", None),
        ("log.xyz", None),
        ("log", None),
        ("logs.5", None),
        ("snapshot.5", None),
        ("unfinished-log.5", None),
    ],
)
def test_zxids_in_names(name: str, zxid: int | None) -> None:
    assert zxid_of(name, "log") == zxid


def test_names_and_their_order() -> None:
    assert log_name(0x2_0000_0001) == "log.200000001"
    assert snapshot_name(0xA, SnapshotCodec.NONE) == "snapshot.a"
    assert snapshot_name(0xA, SnapshotCodec.GZIP) == "snapshot.a.gz"
    assert snapshot_name(0xA, SnapshotCodec.SNAPPY) == "snapshot.a.snappy"
    found = pick(["log.10", "log.9", "log.9.bak", "log.x", "snapshot.1"], "log")
    assert found == [Named(9, "log.9"), Named(9, "log.9.bak"), Named(16, "log.10")]
    assert needed_logs(found, 16) == found
    assert needed_logs(found, 17) == found[2:]
    assert needed_logs(found, 3) == found
    assert needed_logs([], 3) == []
    assert Named(1, "snapshot.1.gz").codec is SnapshotCodec.GZIP
    assert Named(1, "snapshot.1.tmp").codec is SnapshotCodec.NONE


@pytest.mark.parametrize("codec", SnapshotCodec)
def test_round_trip(codec: SnapshotCodec) -> None:
    fs, store = opened(snapshot_codec=codec)
    tree = history().tree
    name = write_snapshot(fs, configured(snapshot_codec=codec), tree)
    assert name == snapshot_name(60, codec)
    [found] = store.valid()
    assert found == Named(60, name)
    again, ending = store.read(found)
    again.last_zxid = 60
    assert described(again) == described(tree)
    assert ending == store.ending(found)
    assert ending.zxids == [60, 60]
    assert store.verify(found)
    assert b"".join(store.stream(found)) == b"".join(snapshot.encode(tree))


@pytest.mark.parametrize("codec", SnapshotCodec)
def test_damage_is_found(codec: SnapshotCodec) -> None:
    fs, store = opened(snapshot_codec=codec)
    name = write_snapshot(fs, configured(snapshot_codec=codec), history().tree)
    path = SNAPSHOT_DIR / name
    whole = fs.read(path)
    for size in range(0, len(whole), 97):
        fs.truncate(path, size)
        assert not store.verify(Named(60, name)), size
        with pytest.raises(DecodeError):
            store.read(Named(60, name))
    fs.create(path).write(whole, 0)
    for at in range(100, len(whole), 211):
        fs.corrupt(path, at)
        assert not store.verify(Named(60, name)), at
        with pytest.raises(DecodeError):
            store.read(Named(60, name))
        fs.corrupt(path, at)
    assert store.verify(Named(60, name))


@given(
    st.sampled_from(list(SnapshotCodec)),
    st.lists(st.binary(max_size=200) | st.integers(1, 90000).map(bytes), max_size=8),
    st.sampled_from((1, 1000, 1 << 20)),
)
def test_codecs_in_pieces(codec: SnapshotCodec, pieces: list[bytes], size: int) -> None:
    coder = encoder(codec)
    coded = b"".join([*(coder.encode(piece) for piece in pieces), coder.finish()])
    if size == 1 and len(coded) > 5000:
        size = 100
    parts = [coded[at : at + size] for at in range(0, len(coded), size)]
    assert b"".join(decoded(parts, codec)) == b"".join(pieces)
    if codec is SnapshotCodec.GZIP:
        assert gzip.decompress(coded) == b"".join(pieces)
        assert b"".join(decoded([coded + coded], codec)) == b"".join(pieces) * 2


def test_snappy_has_the_framing_of_xerial() -> None:
    coder = encoder(SnapshotCodec.SNAPPY)
    coded = coder.encode(b"a" * 40000) + coder.finish()
    assert coded[:16].hex() == "82534e4150505900" + "00000001" * 2
    size = int.from_bytes(coded[16:20], "big")
    second = 20 + size
    assert int.from_bytes(coded[second : second + 4], "big") == len(coded) - second - 4
    # A block of literals only, as a simple encoder writes it.
    literal = b"\x05\x10hello"
    framed = coded[:16] + len(literal).to_bytes(4, "big") + literal
    assert b"".join(decoded([framed], SnapshotCodec.SNAPPY)) == b"hello"
    for broken in (framed[:-1], framed[:10], b"x" * 30, framed + b"\x7f" * 9):
        with pytest.raises(DecodeError):
            list(decoded([broken], SnapshotCodec.SNAPPY))


def test_which_files_look_valid() -> None:
    """Section 4.4: names, size and ends; the rest shows when reading."""
    fs, store = opened()
    end = b"\x00\x00\x00\x01/"
    for name, content in {
        "snapshot.1": b"12345" + end,
        "snapshot.2": b"1234" + end,
        "snapshot.3": b"1234567890",
        "snapshot.4.gz": b"\x1f\x8b",
        "snapshot.5.gz": b"12345" + end,
        "snapshot.6.snappy": b"\x82SNAPPY\x00",
        "snapshot.7.snappy": b"\x82SNAPPX\x00",
        "snapshot.8.tmp": b"12345" + end,
        "snapshot.9": b"",
        "snapshot.zz": b"12345" + end,
        "snapshot.ffffffffffffffff": b"12345" + end,
        "unfinished-snapshot.a": b"12345" + end,
    }.items():
        fs.create(SNAPSHOT_DIR / name).write(content, 0)
    assert [found.zxid for found in store.valid()] == [8, 6, 4, 1]
    for found in store.valid():
        with pytest.raises(DecodeError):
            store.read(found)
        assert not store.verify(found)


def test_a_snapshot_is_seen_when_it_is_durable() -> None:
    fs, store = opened()
    write_snapshot(fs, configured(), history(0).tree)
    tree = history().tree
    writer = store.create(60)
    for piece in snapshot.encode(tree):
        writer.write(piece)
        assert [found.zxid for found in store.named()] == [0]
    writer.commit()
    after = SnapshotStore(fs.crash(), configured())
    assert after.verify(after.named()[0])
    assert [found.zxid for found in after.named()] == [60, 0]


def test_an_abort_leaves_nothing() -> None:
    fs, store = opened()
    writer = store.create(60)
    writer.write(b"x" * (2 << 20))
    writer.abort()
    assert fs.listdir(SNAPSHOT_DIR) == []
    writer.abort()


def test_leftovers_are_cleared_at_the_next_start() -> None:
    fs, store = opened()
    store.create(60).write(b"x" * (2 << 20))
    assert fs.listdir(SNAPSHOT_DIR) == ["unfinished-snapshot.3c"]
    data_dir.prepare(fs, configured())
    assert fs.listdir(SNAPSHOT_DIR) == []


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_failure_leaves_the_older_snapshots(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_store, "PIECE_BYTES", 100)
    fs, store = opened()
    write_snapshot(fs, configured(), history(0).tree)
    for after in range(3):
        fs.fail(kind, errno.ENOSPC, after=after if kind == "write" else 0)
        with pytest.raises(StorageError, match="No space left"):
            write_snapshot(fs, configured(), history().tree)
        names = set(fs.listdir(SNAPSHOT_DIR)) - {"snapshot.3c"}
        assert names == {"snapshot.0"}
    assert store.verify(store.named()[-1])


def test_large_snapshots_are_synced_as_they_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_store, "PIECE_BYTES", 1000)
    monkeypatch.setattr(snapshot_store, "SYNC_EVERY_BYTES", 5000)
    fs, store = opened()
    seen: list[str] = []
    fs.hook = lambda kind, _: seen.append(kind)
    writer = store.create(1)
    for _ in range(100):
        writer.write(b"x" * 500)
    writer.commit()
    assert seen.count("write") == 50
    assert seen.count("sync") == 11
