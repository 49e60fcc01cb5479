"""The epoch files: what a start makes of them, and a power failure at every step."""

from __future__ import annotations

from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import CorruptError, StorageError
from kraal.model.zxid import make
from kraal.storage.epochs import Epochs, load, save_accepted, save_current
from kraal.storage.memory import MemoryFileSystem
from tests.storage.support import SNAPSHOT_DIR, configured

CONFIG = configured()
ACCEPTED = SNAPSHOT_DIR / "acceptedEpoch"
CURRENT = SNAPSHOT_DIR / "currentEpoch"
CURRENT_TMP = SNAPSHOT_DIR / "currentEpoch.tmp"


def disk(files: dict[PurePath, bytes]) -> MemoryFileSystem:
    """A machine on whose disk these files are."""
    fs = MemoryFileSystem(Random(1))
    fs.mkdir(SNAPSHOT_DIR)
    for path, content in files.items():
        file = fs.create(path)
        file.write(content, 0)
        file.sync_data()
    fs.sync_directory(SNAPSHOT_DIR)
    return fs


def after_power_failure(fs: MemoryFileSystem) -> dict[str, bytes]:
    left = fs.crash(Random(2))
    return {name: left.read(SNAPSHOT_DIR / name) for name in left.listdir(SNAPSHOT_DIR)}


class TestStart:
    @pytest.mark.parametrize("epoch", [-1, 0, 7])
    def test_missing_files_get_the_epoch_of_the_last_zxid(self, epoch: int) -> None:
        fs = disk({})
        last_zxid = make(epoch, 5) if epoch >= 0 else -1
        assert load(fs, CONFIG, last_zxid) == Epochs(epoch, epoch)
        text = str(epoch).encode()
        assert after_power_failure(fs) == {"acceptedEpoch": text, "currentEpoch": text}

    @pytest.mark.parametrize("last_zxid", [0, make(3, 5)])
    def test_a_start_without_trust_is_no_promise(self, last_zxid: int) -> None:
        """The operator has marked the directory since, or a leader's tree has come."""
        fs = disk({ACCEPTED: b"-1", CURRENT: b"-1"})
        epoch = last_zxid >> 32
        assert load(fs, CONFIG, last_zxid) == Epochs(epoch, epoch)
        assert load(fs, CONFIG, last_zxid) == Epochs(epoch, epoch)

    def test_what_was_saved_is_read(self) -> None:
        fs = disk({})
        save_accepted(fs, CONFIG, 9)
        save_current(fs, CONFIG, 8)
        assert load(fs, CONFIG, make(8, 3)) == Epochs(9, 8)

    @pytest.mark.parametrize("content", [b"7\n", b"7\r\nmore", b"+7", b"007"])
    def test_the_first_line_counts(self, content: bytes) -> None:
        assert load(disk({ACCEPTED: content, CURRENT: content}), CONFIG, 0) == Epochs(7, 7)

    @pytest.mark.parametrize(
        ("content", "shown"),
        [
            (b"", "nothing"),
            (b" 7", "' 7'"),
            (b"x", "'x'"),
            (b"7 ", "'7 '"),
            (b"9" * 500, "'999"),
            (b"\n", "''"),
        ],
    )
    @pytest.mark.parametrize("path", [ACCEPTED, CURRENT])
    def test_what_is_no_number_is_refused(self, path: PurePath, content: bytes, shown: str) -> None:
        fs = disk({ACCEPTED: b"7", CURRENT: b"7", path: content})
        with pytest.raises(CorruptError) as refused:
            load(fs, CONFIG, 0)
        assert str(refused.value).startswith(f"Found {shown}")
        assert f" in {path}, where an epoch is due" in str(refused.value)
        assert "move version-2 away, keep myid" in str(refused.value)

    @pytest.mark.parametrize("files", [{ACCEPTED: b"7", CURRENT: b"8"}, {CURRENT: b"8"}])
    def test_a_lost_promise_is_refused_and_nothing_is_written(
        self, files: dict[PurePath, bytes]
    ) -> None:
        fs = disk(files)
        with pytest.raises(StorageError, match="The accepted epoch, 7 is less than the current"):
            load(fs, CONFIG, make(7, 1))
        assert after_power_failure(fs) == {path.name: text for path, text in files.items()}


class TestSynchronisationCutShort:
    """Transactions of a synchronisation are durable, its epoch is not."""

    LAST_ZXID = make(5, 10)

    @pytest.mark.parametrize(
        ("tmp", "current"),
        [
            (b"6", 6),  # as Apache
            (b"5", 5),
            (None, 5),
            (b"", 5),
            (b"-", 5),
            (b"4", 5),  # torn: no epoch of this history
            (b"9", 5),  # never promised
        ],
    )
    def test_the_history_tells_the_epoch(self, tmp: bytes | None, current: int) -> None:
        files = {ACCEPTED: b"7", CURRENT: b"3"}
        fs = disk(files if tmp is None else {**files, CURRENT_TMP: tmp})
        assert load(fs, CONFIG, self.LAST_ZXID) == Epochs(7, current)
        assert after_power_failure(fs) == {
            "acceptedEpoch": b"7",
            "currentEpoch": str(current).encode(),
        }

    def test_but_not_beyond_the_promise(self) -> None:
        fs = disk({ACCEPTED: b"4", CURRENT: b"3"})
        with pytest.raises(StorageError, match="is less than the current epoch, 5"):
            load(fs, CONFIG, self.LAST_ZXID)

    def test_a_leftover_is_not_kept_for_a_later_start(self) -> None:
        fs = disk({ACCEPTED: b"7", CURRENT: b"5", CURRENT_TMP: b"6"})
        assert load(fs, CONFIG, self.LAST_ZXID) == Epochs(7, 5)
        assert after_power_failure(fs) == {"acceptedEpoch": b"7", "currentEpoch": b"5"}


class TestPowerFailure:
    @pytest.mark.parametrize("seed", range(20))
    def test_at_every_step_neither_epoch_goes_back(self, seed: int) -> None:
        rng = Random(seed)
        fs = disk({ACCEPTED: b"0", CURRENT: b"0"})
        saved = Epochs(0, 0)
        wanted = Epochs(0, 0)
        seen: set[Epochs] = set()

        def look(_kind: str, _path: PurePath) -> None:
            for left in (fs.crash(rng), fs.crash(rng), fs.killed()):
                epochs = load(left, CONFIG, make(saved.current, 1))
                assert epochs.accepted in {saved.accepted, wanted.accepted}
                assert epochs.current in {saved.current, wanted.current}
                # What one start saw, a power failure after it may not take back.
                assert load(left.crash(rng), CONFIG, make(saved.current, 1)) == epochs
                seen.add(epochs)

        fs.hook = look
        for epoch in (1, 9, 10, 12):
            wanted = saved._replace(accepted=epoch)
            save_accepted(fs, CONFIG, epoch)
            saved = wanted
            wanted = saved._replace(current=epoch)
            save_current(fs, CONFIG, epoch)
            saved = wanted
        assert {Epochs(10, 9), Epochs(10, 10), Epochs(12, 10)} <= seen

    @pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_directory"])
    def test_a_failing_disk_is_said(self, kind: str) -> None:
        fs = disk({ACCEPTED: b"4", CURRENT: b"3"})
        fs.fail(kind)
        with pytest.raises(StorageError, match="writing /data/version-2/currentEpoch failed"):
            save_current(fs, CONFIG, 4)
        assert load(fs.killed(), CONFIG, make(3, 1)).current in {3, 4}
