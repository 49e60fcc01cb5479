"""Random damage: an examination never stumbles, and a mend never loses what was acknowledged."""

from __future__ import annotations

from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import StorageError
from kraal.model.path import ROOT
from kraal.storage.inspection import repair, txn_text
from kraal.storage.inspection.doctor import examine
from kraal.storage.inspection.history import History
from kraal.storage.inspection.log_walk import LogWalk
from kraal.storage.recovery import recover
from tests.storage.inspection.support import (
    CONFIG,
    FIRST_LOG,
    MIDDLE_LOG,
    NEWEST_LOG,
    OLD_LOG,
    Disk,
)
from tests.storage.support import LOG_DIR, SNAPSHOT_DIR, described

LOG_FILES = (FIRST_LOG, OLD_LOG, MIDDLE_LOG, NEWEST_LOG)
HEADER_BYTES = 16


@pytest.mark.parametrize("seed", range(12))
def test_any_bit_of_any_log_is_put_back(seed: int) -> None:
    rng = Random(seed)
    disk = Disk()
    sound = {path: disk.content(path) for path in LOG_FILES}
    for _ in range(25):
        path = rng.choice(LOG_FILES)
        offset, bit = rng.randrange(HEADER_BYTES, len(sound[path])), rng.randrange(8)
        disk.put(path, sound[path])
        disk.flip(path, offset, bit)
        found = examine(disk.fs, CONFIG)
        mends = found.report.mends
        assert [mend.path for mend in mends] == [path], (path, offset, bit, found.report.findings)
        repair.carry_out(disk.fs, CONFIG, mends)
        assert disk.content(path) == sound[path], (path, offset, bit)
        for name in disk.fs.listdir(LOG_DIR):
            if name.startswith("before-repair-"):
                disk.fs.unlink(LOG_DIR / name)


def damaged(disk: Disk, rng: Random) -> PurePath:
    """One file with a few bytes changed, cut off, zeroed, moved or doubled."""
    directory = rng.choice((LOG_DIR, SNAPSHOT_DIR))
    path = directory / rng.choice(sorted(disk.fs.listdir(directory)))
    content = bytearray(disk.content(path))
    begin = rng.randrange(len(content) + 1)
    end = min(len(content), begin + rng.choice((1, 4, 12, 100)))
    way = rng.randrange(5)
    if way == 0:
        content[begin:end] = rng.randbytes(end - begin)
    elif way == 1:
        del content[begin:]
    elif way == 2:
        content[begin:end] = bytes(end - begin)
    elif way == 3:
        del content[begin:end]
    else:
        content[begin:begin] = content[begin:end]
    disk.put(path, bytes(content))
    return path


@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_damaged_nothing_stumbles_and_nothing_more_is_lost(seed: int) -> None:
    rng = Random(seed)
    disk = Disk()
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        damaged(disk, rng)
    before = disk.fs.killed()
    found = examine(disk.fs, CONFIG)
    for path in LOG_FILES:
        if disk.fs.exists(path):
            for entry in LogWalk(disk.fs, path, CONFIG.max_record_bytes):
                if entry.txn is not None:
                    assert "\n" not in txn_text.line(entry.txn)
                    txn_text.as_json(entry.txn)
    list(History(disk.fs, CONFIG, ROOT.decode(), recursive=True).events())
    repair.carry_out(disk.fs, CONFIG, found.report.mends)

    def comes_to(fs: object) -> dict[str, object] | None:
        try:
            return described(recover(fs, CONFIG, extended_types=True).tree)  # type: ignore[arg-type]
        except StorageError:
            return None

    at_first, now = comes_to(before), comes_to(disk.fs)
    if at_first is not None:
        # A repair never makes a start impossible, and never takes a transaction away.
        assert now is not None
        assert int(str(now["last_zxid"])) >= int(str(at_first["last_zxid"]))
    if found.mended is not None and found.mended.recovered is not None:
        assert now == described(found.mended.recovered.tree)
