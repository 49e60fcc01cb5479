"""Appending: what is on the disk after which step, and what a failure does."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import pytest

from kraal.errors import StorageError
from kraal.storage import data_dir
from kraal.storage.log_format import FILE_HEADER, frame
from kraal.storage.log_reader import list_logs, records
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.names import needed_logs
from kraal.storage.txn_log import Flush, TxnLog
from tests.storage.support import LOG_DIR, configured


def payload(zxid: int, size: int = 40) -> bytes:
    return bytes(12) + zxid.to_bytes(8, "big") + b"p" * size


def opened(**settings: Any) -> tuple[MemoryFileSystem, TxnLog]:
    fs = MemoryFileSystem(Random(1))
    config = configured(**settings)
    data_dir.prepare(fs, config)
    return fs, TxnLog(fs, config)


def flush(log: TxnLog, *zxids: int) -> Flush:
    for zxid in zxids:
        log.append(zxid, payload(zxid))
    taken = log.take()
    assert taken is not None
    taken.run()
    return taken


def contents(fs: MemoryFileSystem) -> dict[str, bytes]:
    return {name: fs.read(LOG_DIR / name) for name in sorted(fs.listdir(LOG_DIR))}


def framed(*zxids: int) -> bytes:
    return b"".join(frame(payload(zxid)) for zxid in zxids)


def test_a_flush_tells_what_it_holds() -> None:
    _, log = opened()
    assert log.take() is None
    taken = flush(log, 5, 6, 7)
    assert (taken.first_zxid, taken.last_zxid, taken.count) == (5, 7, 3)
    assert taken.size == len(framed(5, 6, 7))
    assert taken.grown_bytes == taken.size + len(FILE_HEADER)
    assert taken.duration_ms >= 0
    assert log.take() is None


def test_files_are_named_after_their_first_record() -> None:
    fs, log = opened()
    flush(log, 0x10, 0x11)
    flush(log, 0x12)
    log.roll()
    flush(log, 0x13)
    assert contents(fs) == {
        "log.10": FILE_HEADER + framed(0x10, 0x11, 0x12),
        "log.13": FILE_HEADER + framed(0x13),
    }


def test_records_on_both_sides_of_a_roll_come_as_two_flushes() -> None:
    fs, log = opened()
    log.append(1, payload(1))
    log.append(2, payload(2))
    log.roll()
    log.append(3, payload(3))
    first = log.take()
    assert first is not None
    first.run()
    assert first.last_zxid == 2
    second = log.take()
    assert second is not None
    second.run()
    assert contents(fs) == {"log.1": FILE_HEADER + framed(1, 2), "log.3": FILE_HEADER + framed(3)}


def test_only_one_flush_at_a_time() -> None:
    _, log = opened()
    log.append(1, payload(1))
    log.take()
    log.append(2, payload(2))
    with pytest.raises(AssertionError, match="one flush at a time"):
        log.take()


def test_zxids_only_go_forward() -> None:
    _, log = opened()
    flush(log, 5)
    for zxid in (5, 4):
        with pytest.raises(AssertionError, match="only goes forward"):
            log.append(zxid, payload(zxid))


def test_an_unexpected_error_poisons_the_log_too() -> None:
    fs, log = opened()
    fs.create = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]
    log.append(1, payload(1))
    taken = log.take()
    assert taken is not None
    with pytest.raises(StorageError, match="ZeroDivisionError"):
        taken.run()
    with pytest.raises(StorageError, match="unusable since"):
        log.take()


def test_a_log_of_a_new_start_replaces_a_file_of_the_same_name() -> None:
    fs, log = opened()
    flush(log, 1)
    flush(TxnLog(fs, configured()), 1)
    assert contents(fs) == {"log.1": FILE_HEADER + framed(1)}


def test_padding_and_size_limit() -> None:
    fs, log = opened(pre_alloc_bytes=8192)
    taken = flush(log, 1)
    assert taken.grown_bytes == 16 + 8192
    assert contents(fs)["log.1"] == (FILE_HEADER + framed(1)).ljust(16 + 8192, b"\0")
    assert flush(log, 2).grown_bytes == 0
    zxids = range(3, 80)
    assert flush(log, *zxids).grown_bytes == 0
    assert flush(log, 80).grown_bytes == 8192
    assert [r.zxid for r in records(fs, configured(), 1)] == list(range(1, 81))

    fs, log = opened(txn_log_size_limit_bytes=200)
    for zxid in range(1, 9):
        flush(log, zxid)
    # The flush that passes the limit still goes to the old file.
    assert sorted(contents(fs)) == ["log.1", "log.4", "log.7"]


def test_a_batch_larger_than_the_padding() -> None:
    fs, log = opened(pre_alloc_bytes=4096)
    flush(log, *range(1, 200))
    flush(log, 200)
    assert len(contents(fs)["log.1"]) % 4096 == 0
    assert [r.zxid for r in records(fs, configured(), 1)] == list(range(1, 201))


def test_everything_is_synced_before_run_returns() -> None:
    fs, log = opened(pre_alloc_bytes=4096)
    for zxid in range(1, 120):
        flush(log, zxid)
        found = [r.zxid for r in records(fs.crash(), configured(), 1)]
        assert found == list(range(1, zxid + 1))


def test_without_force_sync_only_a_new_file_is_synced() -> None:
    fs, log = opened(force_sync=False)
    seen: list[str] = []
    fs.hook = lambda kind, _: seen.append(kind)
    flush(log, 1)
    flush(log, 2)
    assert seen == ["create", "write", "sync", "rename", "sync_directory", "write"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("kind", "started"),
    [
        *((kind, False) for kind in ("create", "write", "sync", "rename", "sync_directory")),
        ("write", True),
        ("sync", True),
    ],
)
def test_a_failure_poisons_the_log(kind: str, code: int, started: bool) -> None:
    fs, log = opened()
    if started:
        flush(log, 1)
    fs.fail(kind, code)
    log.append(2, payload(2))
    taken = log.take()
    assert taken is not None
    with pytest.raises(StorageError, match="writing 1 transactions up to 0x2") as raised:
        taken.run()
    assert isinstance(raised.value.__cause__, OSError)
    assert log.failure
    log.append(3, payload(3))
    for again in (taken.run, log.take, taken.run):
        with pytest.raises(StorageError, match="unusable since"):
            again()


def test_records_from_a_zxid_on() -> None:
    config = configured()
    fs, log = opened()
    for zxids in ((1, 2, 3), (4, 5), (6, 7)):
        flush(log, *zxids)
        log.roll()
    assert [r.zxid for r in records(fs, config, 5)] == [5, 6, 7]
    # The file below may end beyond its successor's name.
    assert [log.name for log in needed_logs(list_logs(fs, LOG_DIR), 4)] == [
        "log.1", "log.4", "log.6",
    ]  # fmt: skip
    assert [log.name for log in needed_logs(list_logs(fs, LOG_DIR), 7)] == ["log.6"]
    assert [r.zxid for r in records(fs, config, 4)] == [4, 5, 6, 7]
