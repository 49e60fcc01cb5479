"""The data directory and the operating system's file system below it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path, PurePath
from random import Random

import pytest

from kraal.errors import DataDirError, StorageError
from kraal.model.config import StorageConfig
from kraal.storage import data_dir, filesystem
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.interface import FileSystem
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover, save_initial
from tests.storage.support import (
    LOG_DIR,
    SNAPSHOT_DIR,
    History,
    configured,
    described,
    write_log,
)


def memory() -> tuple[MemoryFileSystem, StorageConfig]:
    return MemoryFileSystem(Random(1)), configured()


def test_missing_directories_are_made_unless_forbidden() -> None:
    fs, config = memory()
    data_dir.prepare(fs, config)
    assert fs.listdir(SNAPSHOT_DIR) == fs.listdir(LOG_DIR) == []
    fs, _ = memory()
    with pytest.raises(DataDirError, match=r"/data/version-2 is missing and .*autocreate is off"):
        data_dir.prepare(fs, configured(datadir_autocreate=False))
    with pytest.raises(DataDirError, match=r"/data is missing and .*autocreate is off"):
        data_dir.lock(fs, configured(datadir_autocreate=False))


@pytest.mark.parametrize(
    ("stray", "setting"),
    [(SNAPSHOT_DIR / "log.zz", "dataDir must"), (LOG_DIR / "snapshot.1", "dataLogDir must")],
)
def test_logs_and_snapshots_are_not_mixed(stray: PurePath, setting: str) -> None:
    fs, config = memory()
    data_dir.prepare(fs, config)
    fs.create(stray)
    with pytest.raises(DataDirError, match=f"holds {stray.name}: .*{setting}"):
        data_dir.prepare(fs, config)
    shared = configured(data_log_dir=config.data_dir)
    if stray.parent == SNAPSHOT_DIR:
        data_dir.prepare(fs, shared)


def test_sizes() -> None:
    fs, config = memory()
    data_dir.prepare(fs, config)
    fs.create(SNAPSHOT_DIR / "snapshot.0").write(b"x" * 478, 0)
    fs.create(LOG_DIR / "log.1").write(b"x" * 1000, 0)
    assert data_dir.sizes(fs, config) == data_dir.DirectorySizes(snapshots=478, logs=1000)


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    config = configured(data_dir=tmp_path / "data", data_log_dir=tmp_path / "logs")
    fs = OsFileSystem()
    held = data_dir.lock(fs, config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "logs"]
    with pytest.raises(DataDirError, match=r"data is in use by another server \(.*kraal\.lock"):
        data_dir.lock(fs, config)
    other = configured(data_dir=tmp_path / "other", data_log_dir=tmp_path / "logs")
    for _ in range(2):  # the first directory's lock is given back
        with pytest.raises(DataDirError, match="logs is in use"):
            data_dir.lock(fs, other)
    held.release()
    held.release()
    data_dir.lock(fs, other).release()


def test_what_cannot_be_a_data_directory_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, reason in ((file, "Not a directory"), (file / "below", "Not a directory")):
        config = configured(data_dir=path, data_log_dir=path)
        with pytest.raises(DataDirError, match=f"{path} cannot be a data directory: {reason}"):
            data_dir.lock(OsFileSystem(), config)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from kraal.model.config import StorageConfig\n"
        "from kraal.storage import data_dir, filesystem\n"
        "path = pathlib.PurePath(sys.argv[1])\n"
        "config = StorageConfig(data_dir=path, data_log_dir=path)\n"
        "lock = data_dir.lock(filesystem.OsFileSystem(), config)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    config = configured(data_dir=tmp_path, data_log_dir=tmp_path)
    source = str(Path(filesystem.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source},
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(DataDirError, match="in use"):
            data_dir.lock(OsFileSystem(), config)
        other.kill()
    data_dir.lock(OsFileSystem(), config).release()


def test_the_lock_in_memory() -> None:
    fs, config = memory()
    held = data_dir.lock(fs, config)
    with pytest.raises(DataDirError, match="in use"):
        data_dir.lock(fs, config)
    data_dir.lock(fs.crash(), config)
    held.release()
    data_dir.lock(fs, config)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    config = configured(data_dir=tmp_path / "file", data_log_dir=tmp_path / "file")
    with pytest.raises(StorageError, match="Not a directory"):
        data_dir.prepare(OsFileSystem(), config)


@pytest.mark.parametrize("dsync", [True, False])
def test_both_file_systems_do_the_same(
    tmp_path: Path, dsync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not dsync:
        monkeypatch.setattr(filesystem, "_DSYNC", 0)
    systems: list[tuple[FileSystem, Path]] = [
        (OsFileSystem(), tmp_path),
        (MemoryFileSystem(Random(1)), tmp_path),
    ]
    results = []
    for fs, root in systems:
        inner = root / "a" / "b"
        fs.mkdir(inner)
        fs.mkdir(inner)
        file = fs.create(inner / "one")
        file.write(b"0123456789", 0)
        file.write(b"\0", 19)
        file.write_durably(b"abc", 5)
        file.sync_data()
        file.close()
        again = fs.open(inner / "one")
        again.write(b"Z", 0)
        again.close()
        fs.rename(inner / "one", inner / "two")
        fs.create(inner / "three").close()
        fs.create(inner / "four").close()
        fs.unlink(inner / "four")
        fs.truncate(inner / "two", 15)
        fs.sync_directory(inner)
        for missing in (fs.size, fs.read, fs.listdir, fs.unlink, fs.open):
            with pytest.raises(FileNotFoundError):
                missing(inner / "none")
        results.append(
            (
                sorted(fs.listdir(inner)),
                fs.read(inner / "two"),
                fs.read(inner / "two", 3, 4),
                fs.read(inner / "two", 12, 100),
                fs.read(inner / "two", 99),
                fs.size(inner / "two"),
                fs.size(inner / "three"),
                [fs.exists(inner / name) for name in ("one", "two", "three")],
                fs.exists(inner),
            )
        )
    assert results[0] == results[1]
    assert results[0][1] == b"Z1234abc89\0\0\0\0\0"


def test_a_server_on_a_real_disk(tmp_path: Path) -> None:
    config = StorageConfig(data_dir=tmp_path, data_log_dir=tmp_path)
    fs = OsFileSystem()
    tree = recover(fs, config, extended_types=True).tree
    save_initial(fs, config, tree)
    history = History(Random(1), tree)
    write_log(fs, config, [history.next() for _ in range(50)])
    assert (tmp_path / "version-2" / "log.1").stat().st_size == 67108880
    assert described(recover(fs, config, extended_types=True).tree) == described(tree)


def test_a_write_that_the_system_takes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:3], at))
    monkeypatch.setattr(filesystem, "_DSYNC", 0)
    file = OsFileSystem().create(tmp_path / "file")
    file.write_durably(b"0123456789", 2)
    file.close()
    assert (tmp_path / "file").read_bytes() == b"\0\x000123456789"


# The twin's faults


def test_what_was_not_synced_may_be_lost_torn_or_there() -> None:
    left = set()
    for seed in range(200):
        fs = MemoryFileSystem(Random(seed))
        fs.mkdir(PurePath("/d"))
        file = fs.create(PurePath("/d/f"))
        file.write(b"ab", 0)
        file.sync_data()
        fs.sync_directory(PurePath("/d"))
        file.write(b"cd", 2)
        file.write(b"ef", 4)
        left.add(fs.crash().read(PurePath("/d/f")))
        assert fs.read(PurePath("/d/f")) == b"abcdef"
        assert fs.killed().read(PurePath("/d/f")) == b"abcdef"
    assert left == {b"ab", b"abc", b"abcd", b"abcde", b"abcdef"}


def test_names_that_were_not_synced_may_be_lost() -> None:
    left = set()
    directory = PurePath("/d")
    for seed in range(300):
        fs = MemoryFileSystem(Random(seed))
        fs.mkdir(directory)
        fs.create(directory / "old")
        fs.sync_directory(directory)
        fs.create(directory / "new")
        fs.unlink(directory / "old")
        fs.rename(directory / "new", directory / "renamed")
        left.add(tuple(sorted(fs.crash().listdir(directory))))
        fs.sync_directory(directory)
        assert fs.crash().listdir(directory) == ["renamed"]
    assert left == {
        ("new", "old"), ("new",), ("old",), (), ("renamed",), ("old", "renamed"),
    }  # fmt: skip


def test_planned_failures() -> None:
    fs = MemoryFileSystem(Random(3))
    fs.mkdir(PurePath("/d"))
    path = PurePath("/d/f")
    file = fs.create(path)
    fs.fail("write", errno.ENOSPC, after=1)
    file.write(b"x" * 10, 0)
    with pytest.raises(OSError, match="No space left on device"):
        file.write(b"y" * 10, 10)
    assert fs.read(path).startswith(b"x" * 10)
    assert fs.size(path) <= 20
    file.write(b"z" * 10, 10)
    fs.fail("rename")
    with pytest.raises(OSError, match="Input/output error"):
        fs.rename(path, PurePath("/d/g"))
    file.sync_data()
    fs.sync_directory(PurePath("/d"))
    fs.corrupt(path, 0)
    assert fs.crash().read(path)[:2] == b"\x87x"
