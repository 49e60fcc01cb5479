"""A consistent copy of a data directory, and an empty directory filled from one.

A backup is a directory that the tools read like any data directory: `version-2` with the newest
sound snapshot and the logs behind it, each log up to its last whole record, and a manifest with
checksums that is written last. It may be made while a server runs: what is appended meanwhile is
left out, and a purge in between makes it begin anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any, Self

from kraal.errors import CorruptError, CutError, DataDirError, StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.storage import atomic_file, data_dir
from kraal.storage.data_dir import LOCK_NAME, VERSION_DIR, Layout
from kraal.storage.inspection.findings import Report, Severity
from kraal.storage.inspection.log_check import Progress, no_progress
from kraal.storage.inspection.log_walk import LogWalk
from kraal.storage.inspection.overlay import Overlay
from kraal.storage.inspection.repair import PIECE_BYTES, tried
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_reader import list_logs
from kraal.storage.names import LOG, SNAPSHOT, UNFINISHED, Named, needed_logs, zxid_of
from kraal.storage.recovery import recover, recover_until
from kraal.storage.resync import cut_log
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import encode
from kraal.version import __version__

MANIFEST = "manifest.json"
MANIFEST_MAX_BYTES = 16 << 20
FORMAT = 1
_ATTEMPTS = 5
_ZXID = re.compile(r"0x[0-9a-f]{1,16}")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One file of a backup."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds; zxids as text, as tools print them."""

    created: str
    """UTC, ISO 8601."""
    source: str
    snapshot: str
    first_zxid: str
    """The state of the snapshot: nothing before it can be restored."""
    last_zxid: str
    files: tuple[BackedUp, ...]
    kraal: str = __version__
    format: int = FORMAT

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def with_files(self, files: Sequence[BackedUp]) -> Manifest:
        """The same, once the checksums are known."""
        return replace(self, files=tuple(files))

    @property
    def first(self) -> int:
        return int(self.first_zxid, 16)

    @property
    def last(self) -> int:
        return int(self.last_zxid, 16)

    @classmethod
    def parse(cls, content: bytes, path: PurePath) -> Manifest:
        """CorruptError for whatever is no manifest of a format that is known."""
        try:
            found: dict[str, Any] = json.loads(content)
            if found["format"] != FORMAT:
                raise CorruptError(f"{path} is of format {found['format']}, which is not known")
            files = tuple(BackedUp(**one) for one in found["files"])
            return cls(**{**found, "files": files})._checked()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptError(f"{path} is no manifest of a backup: {error}") from error

    def _checked(self) -> Self:
        """Raises ValueError for what no backup has."""
        for key in ("created", "source", "kraal"):
            if not isinstance(getattr(self, key), str):
                raise ValueError(f"{key} is no text")
        for key in ("first_zxid", "last_zxid"):
            value = getattr(self, key)
            if not isinstance(value, str) or not _ZXID.fullmatch(value):
                raise ValueError(f"{key} is no zxid: {value!r}")
        names = set()
        for file in self.files:
            if not isinstance(file.name, str) or not is_name(file.name) or file.name in names:
                raise ValueError(f"{file.name!r} has no place in a backup")
            if type(file.size) is not int or file.size < 0 or not isinstance(file.sha256, str):
                raise ValueError(f"{file.name} has no size or no checksum")
            names.add(file.name)
        if self.snapshot not in names:
            raise ValueError("its snapshot is not among the files")
        return self


def is_name(name: str) -> bool:
    """Whether a file of a backup may have it: it is that of a log or a snapshot."""
    is_known = zxid_of(name, LOG) is not None or zxid_of(name, SNAPSHOT) is not None
    return is_known and PurePath(name).name == name and "\0" not in name


class _ChangedError(Exception):
    """What was being copied is not there any more."""


@dataclass(slots=True)
class _Copier:
    fs: FileSystem
    progress: Progress
    source: FileSystem
    """What is read; the copies are in `fs`."""
    files: list[BackedUp] = field(default_factory=list)

    def copy(self, source: PurePath, target: PurePath, size: int) -> None:
        """The first `size` bytes, durably; with their checksum."""
        checksum = hashlib.sha256()
        try:
            file = self.fs.create(target)
            try:
                offset = 0
                while offset < size:
                    piece = self.source.read(source, offset, min(PIECE_BYTES, size - offset))
                    if not piece:
                        raise _ChangedError(source)
                    file.write(piece, offset)
                    checksum.update(piece)
                    offset += len(piece)
                    self.progress(str(source), len(piece))
                file.sync_data()
            finally:
                file.close()
        except FileNotFoundError as error:
            raise _ChangedError(source) from error
        except OSError as error:
            raise StorageError(f"copying {source} to {target} failed: {error}") from error
        self.files.append(BackedUp(source.name, size, checksum.hexdigest()))


def prepared(fs: FileSystem, target: PurePath) -> PurePath:
    """Where the files of a backup go, once nothing is there. Raises DataDirError, StorageError."""
    directory = target / VERSION_DIR
    with failing("creating", directory):
        if fs.exists(target):
            is_rest = fs.listdir(target) == [VERSION_DIR] and not fs.listdir(directory)
            if fs.listdir(target) and not is_rest:  # what a failed attempt leaves
                raise DataDirError(f"{target} is not empty")
        fs.mkdir(directory)
    return directory


def create(
    fs: FileSystem,
    config: StorageConfig,
    target: PurePath,
    *,
    created: str,
    progress: Progress = no_progress,
) -> Manifest:
    """Back a data directory up into an empty or new directory. Raises StorageError."""
    directory = prepared(fs, target)
    for _ in range(_ATTEMPTS):
        copier = _Copier(fs, progress, fs)
        try:
            snapshot = _copy_all(copier, config, directory)
            break
        except _ChangedError:
            _empty(fs, directory)
    else:
        raise StorageError(f"{config.data_dir} changed during each of {_ATTEMPTS} attempts")
    outcome = tried(fs, config_of(target))
    if outcome.zxid is None:
        raise CorruptError(f"what was copied is no sound history: {outcome.error}")
    manifest = Manifest(
        created, str(config.data_dir), snapshot.name, show(snapshot.zxid), show(outcome.zxid),
        tuple(copier.files),
    )  # fmt: skip
    with failing("flushing", directory):
        fs.sync_directory(directory)
    atomic_file.replace(fs, target / MANIFEST, manifest.text().encode())
    return manifest


def _copy_all(copier: _Copier, config: StorageConfig, directory: PurePath) -> Named:
    fs, layout, store = copier.fs, Layout.of(config), SnapshotStore(copier.fs, config)
    try:
        snapshot = next(filter(store.verify, store.valid()), None)
        if snapshot is None:
            raise CorruptError(f"{layout.snapshots} holds no sound snapshot")
        source = store.directory / snapshot.name
        size = fs.size(source)
    except FileNotFoundError as error:
        raise _ChangedError from error
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _ChangedError from error
        raise
    copier.copy(source, directory / snapshot.name, size)
    for log in needed_logs(list_logs(fs, layout.logs), snapshot.zxid + 1):
        walk = LogWalk(fs, layout.logs / log.name, config.max_record_bytes)
        try:
            for entry in walk:
                if entry.fault is not None:
                    raise CorruptError(
                        f"{walk.path} is damaged at offset {entry.offset}: "
                        f"{entry.fault.value}. Mend it first: kraal doctor {config.data_dir}"
                    )
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise _ChangedError from error
            raise
        if walk.fault is not None and walk.size:
            raise CorruptError(f"{walk.path}: {walk.fault.value} ({walk.detail})")
        if walk.end:
            copier.copy(walk.path, directory / log.name, walk.end)
    return snapshot


def _empty(fs: FileSystem, directory: PurePath) -> None:
    with failing("emptying", directory):
        for name in fs.listdir(directory):
            fs.unlink(directory / name)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup as its manifest has it: no other file counts, whatever lies beside them."""

    path: PurePath
    manifest: Manifest
    fs: FileSystem
    """Shows the files of the manifest alone, and is never written through."""
    strangers: tuple[PurePath, ...]
    """What lies among them and is not in the manifest."""


def opened(fs: FileSystem, path: PurePath) -> Backup:
    """Read the manifest. DataDirError without one, CorruptError if it is none, StorageError."""
    place, directory = path / MANIFEST, path / VERSION_DIR
    with failing("reading", place):
        if not fs.exists(place):
            raise DataDirError(f"{path} has no {MANIFEST}: it is no backup, or not a whole one")
        content = fs.read(place, 0, MANIFEST_MAX_BYTES + 1)
    if len(content) > MANIFEST_MAX_BYTES:
        raise CorruptError(f"{place} is no manifest of a backup: it is too long")
    manifest, only = Manifest.parse(content, place), Overlay(fs)
    known = {one.name for one in manifest.files}
    with failing("reading", directory):
        strangers = [directory / name for name in fs.listdir(directory) if name not in known]
        for stranger in strangers:
            only.unlink(stranger)
    return Backup(path, manifest, only, tuple(sorted(strangers)))


def compare(backup: Backup, progress: Progress = no_progress) -> None:
    """Every file with the manifest. CorruptError says which one differs; StorageError."""
    for expected in backup.manifest.files:
        file = backup.path / VERSION_DIR / expected.name
        checksum = hashlib.sha256()
        with failing("reading", file):
            size = backup.fs.size(file)
            for offset in range(0, size, PIECE_BYTES):
                piece = backup.fs.read(file, offset, PIECE_BYTES)
                checksum.update(piece)
                progress(str(file), len(piece))
        if (size, checksum.hexdigest()) != (expected.size, expected.sha256):
            raise CorruptError(f"{file} differs from what was backed up")


def verify(fs: FileSystem, path: PurePath, progress: Progress = no_progress) -> Backup:
    """`opened`, compared, and led to where the manifest says. Raises as they and `state` do."""
    backup = opened(fs, path)
    compare(backup, progress)
    state(backup)
    return backup


def state(backup: Backup, until: int | None = None) -> DataTree:
    """The tree that its files lead to, or led to right behind `until`; nothing is changed.

    Raises CutError when they do not lead there, CorruptError when they end elsewhere than the
    manifest says, StorageError.
    """
    manifest = backup.manifest
    config, overlay = config_of(backup.path), Overlay(backup.fs)
    if until is not None:
        if not manifest.first <= until <= manifest.last:
            raise CutError(
                f"the backup leads from {manifest.first_zxid} to {manifest.last_zxid}, and not "
                f"to {show(until)}"
            )
        return recover_until(overlay, config, until, extended_types=True, recent_max=1).tree
    tree = recover(overlay, config, extended_types=True, recent_max=1).tree
    require_end(backup.path, manifest, tree.last_zxid)
    return tree


def require_end(path: PurePath, manifest: Manifest, reached: int) -> None:
    """Raises CorruptError for files that end elsewhere than the manifest says."""
    if reached != manifest.last:
        raise CorruptError(
            f"{path} is not whole: a start on its files comes to {show(reached)}, and its "
            f"manifest says {manifest.last_zxid}"
        )


def strangers(backup: Backup) -> Report:
    """What lies in its directory and does not belong to it."""
    report = Report()
    for path in backup.strangers:
        report.add(
            "not-in-manifest", Severity.WARNING,
            "it does not belong to the backup, and a restore leaves it out", path,
            remedy=f"move it away; where a server was started on the directory, remove {MANIFEST}",
        )  # fmt: skip
    return report


def examined(
    fs: FileSystem, path: PurePath, progress: Progress = no_progress
) -> tuple[Report, FileSystem]:
    """All that is wrong with a directory as a backup, and what shows its files alone.

    StorageError when it cannot be read.
    """
    report, shown = Report(), fs
    try:
        backup = opened(fs, path)
        report, shown = strangers(backup), backup.fs
        compare(backup, progress)
        state(backup)
    except CorruptError as error:
        report.add(
            "not-whole", Severity.ERROR, str(error), path / MANIFEST,
            remedy=f"take another backup. Where a server was started on it: remove {MANIFEST}",
        )  # fmt: skip
    return report, shown


def config_of(path: PurePath) -> StorageConfig:
    """A backup as a data directory."""
    return StorageConfig(data_dir=path, data_log_dir=path)


def as_snapshot(tree: DataTree) -> Iterator[bytes]:
    """The pieces of a snapshot that needs no log."""
    return encode(tree)


def fill(
    fs: FileSystem,
    backup: Backup,
    config: StorageConfig,
    *,
    until: int | None = None,
    progress: Progress = no_progress,
) -> int:
    """Fill an empty data directory; returns the zxid that a start comes to.

    `backup` has been compared, and `state` says that it leads to `until`, the last transaction
    to keep. A crash on the way leaves nothing that a server takes for a history. Raises
    DataDirError for a directory that is not empty, CutError, CorruptError, StorageError.
    """
    require_empty(fs, config)
    source = Overlay(backup.fs)
    if until is not None:  # in memory: nothing behind `until` ever has a name that servers read
        cut_log(source, config_of(backup.path), until, extended_types=True, recent_max=1)
    held = data_dir.lock(fs, config)
    try:
        layout = data_dir.prepare(fs, config)
        renames: list[tuple[PurePath, PurePath]] = []
        copier = _Copier(fs, progress, source)
        for one in backup.manifest.files:
            path = backup.path / VERSION_DIR / one.name
            if not source.exists(path):
                continue
            place = layout.snapshots if one.name.startswith(SNAPSHOT + ".") else layout.logs
            copier.copy(path, place / (UNFINISHED + one.name), source.size(path))
            renames.append((place / (UNFINISHED + one.name), place / one.name))
        # Logs first: without the snapshot nobody takes them for a whole history.
        renames.sort(key=lambda pair: pair[1].name.startswith(SNAPSHOT + "."))
        for old, new in renames:
            with failing("renaming", old):
                fs.rename(old, new)
                fs.sync_directory(new.parent)
    finally:
        held.release()
    outcome = tried(fs, config)
    if outcome.zxid is None:
        raise CorruptError(outcome.error)
    if until is None:
        require_end(config.data_dir, backup.manifest, outcome.zxid)
    return outcome.zxid


def require_empty(fs: FileSystem, config: StorageConfig) -> None:
    """Raises DataDirError where a restore would meet another history."""
    layout = Layout.of(config)
    for directory in dict.fromkeys((layout.snapshots, layout.logs)):
        with failing("reading", directory):
            names = fs.listdir(directory) if fs.exists(directory) else []
        if any(name != LOCK_NAME for name in names):
            raise DataDirError(
                f"{directory} is not empty: a restore never mixes two histories. Move it away first"
            )
