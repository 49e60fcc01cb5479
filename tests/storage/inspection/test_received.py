"""What a server sends as a backup is checked to the last byte before it counts."""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePath
from random import Random

import pytest

from kraal.errors import CorruptError, DataDirError
from kraal.model.config import StorageConfig
from kraal.storage.inspection import backup
from kraal.storage.inspection.log_check import no_progress
from kraal.storage.inspection.received import receive_archive
from kraal.storage.memory import MemoryFileSystem
from tests.storage.inspection.support import build

SOURCE, MADE, TARGET = PurePath("/data"), PurePath("/made"), PurePath("/received")


def archive() -> tuple[MemoryFileSystem, list[tuple[str, bytes]]]:
    """A backup as the members of an archive."""
    fs = MemoryFileSystem(Random(1))
    config = StorageConfig(data_dir=SOURCE, data_log_dir=SOURCE, pre_alloc_bytes=0)
    build(fs, config, seed=3)
    manifest = backup.create(fs, config, MADE, created="2026-01-01T00:00:00Z")
    names = [f"version-2/{one.name}" for one in manifest.files]
    return fs, [(name, fs.read(MADE / name)) for name in [*names, backup.MANIFEST]]


def packed(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def receive(fs: MemoryFileSystem, content: bytes) -> backup.Manifest:
    return receive_archive(fs, io.BytesIO(content), TARGET, no_progress)


def test_what_arrives_is_a_backup() -> None:
    fs, members = archive()
    manifest = receive(fs, packed(members))
    assert backup.verify(fs, TARGET).manifest == manifest
    with pytest.raises(DataDirError, match="not empty"):
        receive(fs, packed(members))


def test_what_is_cut_off_is_none_wherever_it_ends() -> None:
    fs, members = archive()
    whole = packed(members)
    end = whole.rstrip(b"\0")
    for size in [*range(0, len(end), len(end) // 40), len(end) - 1]:
        with pytest.raises(CorruptError):
            receive(fs, whole[:size])
        assert fs.listdir(TARGET / "version-2") == []
    receive(fs, whole)


def test_nothing_is_written_elsewhere() -> None:
    fs, members = archive()
    for name in (
        "../log.1", "version-2/../log.1", "/version-2/log.1", "version-2/log.1/x", "log.1",
        "version-2/myid", "version-2/", "version-3/log.1", "version-2/log.1/../../../x",
    ):  # fmt: skip
        with pytest.raises(CorruptError, match="has no place"):
            receive(fs, packed([(name, b"x"), *members]))
    link = tarfile.TarInfo("version-2/log.1")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.addfile(link)
    with pytest.raises(CorruptError, match="has no place"):
        receive(fs, stream.getvalue())


def test_what_differs_from_the_manifest_is_refused() -> None:
    fs, members = archive()
    name, content = members[0]
    changed = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    with pytest.raises(CorruptError, match="not what the manifest says"):
        receive(fs, packed([(name, changed), *members[1:]]))
    with pytest.raises(CorruptError, match="not what the manifest says"):
        receive(fs, packed(members[1:]))
    with pytest.raises(CorruptError, match="no manifest"):
        receive(fs, packed(members[:-1]))
    with pytest.raises(CorruptError, match="no place"):
        receive(fs, packed([*members, members[0]]))
