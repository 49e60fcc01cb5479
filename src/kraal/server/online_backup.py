"""A backup of a server that serves: its newest snapshot and log, as one tar archive.

The archive is what `kraal backup` writes: `version-2` with a snapshot and the logs behind it,
and a manifest with checksums at the end. It is exact. It holds every transaction up to its
`last_zxid`, which is one that a quorum has, and none behind it.

The files are held open from between two flushes on, so a purge, a roll of the log or a leader's
history may do with the names what they like. Only the newest log still grows, and it is read
up to where the last flush ended; others are read to their last byte that is no padding. So the
log need not be looked through, whatever its size.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import PurePath

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.replica.status import BackupStream
from kraal.server.storage_driver import StorageDriver
from kraal.storage.data_dir import VERSION_DIR, Layout
from kraal.storage.inspection.backup import MANIFEST, BackedUp, Manifest
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_reader import list_logs
from kraal.storage.names import needed_logs
from kraal.turns import turns

PIECE_BYTES = 128 << 10
"""Read and summed up at once: a thread that takes a processor from the loop is soon done."""
SENT_BYTES = 32 << 10
REST_SECONDS = 0.001
"""After each piece: a receiver on a fast line shall not have the server for itself."""
COMMIT_SECONDS = 10.0
"""How long what is logged may take to be committed, before there is no leader to speak of."""
_POLL_SECONDS = 0.005
_END_BLOCKS = 2
_UNKNOWN_SHA256 = "0" * 64


@dataclass(slots=True)
class _Held:
    """A file that stays readable, and how much of it counts."""

    name: str
    file: FileIO
    size: int


async def begin(
    fs: FileSystem,
    config: StorageConfig,
    storage: StorageDriver,
    applied: Callable[[], int | None],
) -> BackupStream:
    """Take a snapshot and hold what belongs to it.

    `applied()` is the last zxid that is applied, None once this term is over. Raises
    StorageError, also when the leader is lost meanwhile.
    """
    path, first_zxid, size = await storage.take_snapshot()
    held, last_zxid = await storage.call(lambda: _hold(fs, config, storage, path, size, first_zxid))
    try:
        async with asyncio.timeout(COMMIT_SECONDS):
            while (zxid := applied()) is not None and zxid < last_zxid:
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        zxid = None
    if zxid is None:
        _close(held)
        raise StorageError("the leader was lost while the backup began; try again")
    manifest = Manifest(
        datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        str(config.data_dir),
        path.name,
        show(first_zxid),
        show(last_zxid),
        tuple(BackedUp(one.name, one.size, _UNKNOWN_SHA256) for one in held),
    )
    sizes = [*(one.size for one in held), len(manifest.text().encode())]
    total = sum(_in_archive(one) for one in sizes) + _END_BLOCKS * tarfile.BLOCKSIZE
    return BackupStream(zxid=last_zxid, size=total, pieces=_pieces(held, manifest))


def _hold(
    fs: FileSystem,
    config: StorageConfig,
    storage: StorageDriver,
    snapshot: PurePath,
    size: int,
    first_zxid: int,
) -> tuple[list[_Held], int]:
    """Between two flushes: nothing is written, cut or deleted meanwhile."""
    directory, end = Layout.of(config).logs, storage.log_end()
    held: list[_Held] = []
    try:
        with failing("reading", snapshot):
            held.append(_Held(snapshot.name, FileIO(str(snapshot)), size))
        if end is None or end.zxid <= first_zxid:
            return held, first_zxid  # the snapshot has everything
        for log in needed_logs(list_logs(fs, directory), first_zxid + 1):
            with failing("reading", directory / log.name):
                file = FileIO(str(directory / log.name))
                held.append(_Held(log.name, file, 0))
                held[-1].size = end.size if log.name == end.name else _without_padding(file)
    except BaseException:
        _close(held)
        raise
    return held, end.zxid


def _without_padding(file: FileIO) -> int:
    """Where the zeros at the end of a log begin; its last record ends with another byte."""
    at = os.fstat(file.fileno()).st_size
    while at:
        begin = max(0, at - PIECE_BYTES)
        if left := os.pread(file.fileno(), at - begin, begin).rstrip(b"\0"):
            return begin + len(left)
        at = begin
    return 0


def _close(held: list[_Held]) -> None:
    for one in held:
        one.file.close()


def _in_archive(size: int) -> int:
    """Bytes of a member in the archive: its header, and its content in whole blocks."""
    blocks = -(-size // tarfile.BLOCKSIZE)
    return (1 + blocks) * tarfile.BLOCKSIZE


def _header(name: str, size: int, seconds: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, seconds, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)


async def _pieces(held: list[_Held], manifest: Manifest) -> AsyncIterator[bytes]:
    """Read and summed up on threads, one piece ahead of nobody: the receiver sets the pace."""
    seconds = int(datetime.fromisoformat(manifest.created).timestamp())
    files: list[BackedUp] = []
    try:
        for one in held:
            yield _header(f"{VERSION_DIR}/{one.name}", one.size, seconds)
            checksum = hashlib.sha256()
            for at in range(0, one.size, PIECE_BYTES):
                size = min(PIECE_BYTES, one.size - at)
                piece = await asyncio.to_thread(_read, one, at, size, checksum.update)
                for begin in range(0, size, SENT_BYTES):
                    await turns().idle()
                    yield piece[begin : begin + SENT_BYTES]
                    await asyncio.sleep(REST_SECONDS)
            yield bytes(-one.size % tarfile.BLOCKSIZE)
            files.append(BackedUp(one.name, one.size, checksum.hexdigest()))
    finally:
        _close(held)
    content = manifest.with_files(files).text().encode()
    yield _header(MANIFEST, len(content), seconds) + content
    yield bytes(-len(content) % tarfile.BLOCKSIZE + _END_BLOCKS * tarfile.BLOCKSIZE)


def _read(held: _Held, at: int, size: int, sum_up: Callable[[bytes], object]) -> bytes:
    """On a thread. What is missing ends the answer early, which its receiver notices."""
    piece = os.pread(held.file.fileno(), size, at)
    if len(piece) < size:
        raise StorageError(f"{held.name} became shorter while it was read")
    sum_up(piece)
    return piece
