"""A backup that a running server sends: written, compared, tried, and only then a backup.

kraal sends a snapshot with the log behind it (`kraal.server.online_backup`). Of Apache ZooKeeper
there is a snapshot alone; it counts where it is exact, and one that was written while the tree
changed is refused, because nothing but the log makes a state of it.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import PurePath
from typing import IO

from kraal.errors import CorruptError, StorageError
from kraal.model.zxid import show
from kraal.storage import atomic_file, exact_snapshot
from kraal.storage.data_dir import VERSION_DIR
from kraal.storage.inspection.backup import (
    MANIFEST,
    MANIFEST_MAX_BYTES,
    BackedUp,
    Manifest,
    config_of,
    is_name,
    prepared,
)
from kraal.storage.inspection.log_check import Progress
from kraal.storage.inspection.repair import PIECE_BYTES, tried
from kraal.storage.interface import FileSystem, failing
from kraal.storage.names import snapshot_name

_ARRIVING = "arriving"


class MixtureError(StorageError):
    """A snapshot was written while the tree changed, and its log is not at hand."""


@contextmanager
def _filled(fs: FileSystem, target: PurePath) -> Iterator[PurePath]:
    """The directory for the files of a backup, which is emptied again after a failure."""
    directory = prepared(fs, target)
    try:
        yield directory
    except BaseException:
        with failing("emptying", directory):
            for name in fs.listdir(directory):
                fs.unlink(directory / name)
        raise


def _finish(fs: FileSystem, target: PurePath, manifest: Manifest) -> None:
    """Try a start on what arrived, and give it its manifest."""
    outcome = tried(fs, config_of(target))
    if outcome.zxid is None:
        raise CorruptError(f"what was received is no sound history: {outcome.error}")
    if show(outcome.zxid) != manifest.last_zxid:
        raise CorruptError(
            f"a start on what was received comes to {show(outcome.zxid)}, "
            f"and the server said {manifest.last_zxid}"
        )
    with failing("flushing", target / VERSION_DIR):
        fs.sync_directory(target / VERSION_DIR)
    atomic_file.replace(fs, target / MANIFEST, manifest.text().encode())


def receive_archive(
    fs: FileSystem, stream: IO[bytes], target: PurePath, progress: Progress
) -> Manifest:
    """Write the archive of a kraal server into an empty or new directory.

    Raises CorruptError for an archive that is cut off or is not what its manifest says,
    DataDirError and StorageError.
    """
    with _filled(fs, target) as directory:
        files: list[BackedUp] = []
        manifest: Manifest | None = None
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE_BYTES) as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is None or manifest is not None:
                        raise CorruptError(f"{member.name!r} has no place in a backup")
                    if member.name == MANIFEST and member.size <= MANIFEST_MAX_BYTES:
                        manifest = Manifest.parse(content.read(), PurePath(MANIFEST))
                        continue
                    name = _file_name(member.name)
                    read = content.read
                    files.append(_write(fs, read, directory / name, member.size, progress))
        except (tarfile.TarError, EOFError, HTTPException) as error:
            raise CorruptError(f"the backup did not arrive to its end: {error}") from error
        if manifest is None:
            raise CorruptError("the backup did not arrive to its end: it has no manifest")
        if manifest.files != tuple(files):
            raise CorruptError("what was received is not what the manifest says")
        _finish(fs, target, manifest)
    return manifest


def _file_name(member: str) -> str:
    """The name of a log or a snapshot right below `version-2`; nothing else is written."""
    directory, _, name = member.partition("/")
    if directory != VERSION_DIR or not is_name(name):
        raise CorruptError(f"{member!r} has no place in a backup")
    return name


def _write(
    fs: FileSystem,
    read: Callable[[int], bytes],
    path: PurePath,
    size: int | None,
    progress: Progress,
) -> BackedUp:
    """What `read` gives, to the end or exactly `size` bytes, durably."""
    checksum, offset = hashlib.sha256(), 0
    with failing("writing", path):
        file = fs.create(path)
    try:
        while size is None or offset < size:
            piece = read(PIECE_BYTES if size is None else min(PIECE_BYTES, size - offset))
            if not piece:
                break
            with failing("writing", path):
                file.write(piece, offset)
            checksum.update(piece)
            offset += len(piece)
            progress(path.name, len(piece))
        with failing("flushing", path):
            file.sync_data()
    finally:
        file.close()
    if size is not None and offset < size:
        raise CorruptError(f"{path.name} did not arrive to its end")
    return BackedUp(path.name, offset, checksum.hexdigest())


def receive_snapshot(
    fs: FileSystem,
    stream: IO[bytes],
    size: int | None,
    target: PurePath,
    *,
    created: str,
    source: str,
    progress: Progress,
) -> Manifest:
    """Write the snapshot of an Apache ZooKeeper, if it is a state of its tree.

    Raises MixtureError if it is none, else as `receive_archive`.
    """
    with _filled(fs, target) as directory:
        try:
            arriving = _write(fs, stream.read, directory / _ARRIVING, size, progress)
        except HTTPException as error:
            raise CorruptError(f"the snapshot did not arrive to its end: {error}") from error
        at = 0

        def read_piece(most: int) -> bytes:
            nonlocal at
            with failing("reading", directory / _ARRIVING):
                piece = fs.read(directory / _ARRIVING, at, most)
            at += len(piece)
            return piece

        tree, carried = exact_snapshot.read(read_piece, extended_types=True, digests=True)
        if carried is None or exact_snapshot.is_mixture(tree, carried):
            raise MixtureError(
                "the snapshot was written while the tree changed"
                if carried is not None
                else "the snapshot has no digest, and nothing else tells whether it is a state"
            )
        with failing("reading", directory / _ARRIVING):
            codec = exact_snapshot.codec_of(fs.read(directory / _ARRIVING, 0, 16))
        name = snapshot_name(carried.zxid, codec)
        with failing("renaming", directory / name):
            fs.rename(directory / _ARRIVING, directory / name)
        zxid = show(carried.zxid)
        file = BackedUp(name, arriving.size, arriving.sha256)
        manifest = Manifest(created, source, name, zxid, zxid, (file,))
        _finish(fs, target, manifest)
    return manifest
