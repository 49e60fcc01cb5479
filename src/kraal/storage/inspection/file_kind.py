"""What a file is by its content, whatever its name: names are for servers.

Rules: reference/storage-formats.md sections 2.2, 4.1 and 4.3.
"""

from __future__ import annotations

from enum import Enum
from pathlib import PurePath

from kraal.errors import DecodeError
from kraal.model.config import SnapshotCodec
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_format import MAGIC as LOG_MAGIC
from kraal.storage.names import LOG, SNAPSHOT, kept_as
from kraal.storage.snapshot_codec import GZIP_MAGIC, SNAPPY_MAGIC, decoded
from kraal.storage.snapshot_store import pieces
from kraal.tree.snapshot import MAGIC as SNAPSHOT_MAGIC

_HEAD_BYTES = 8


class FileKind(Enum):
    """A file of a data directory."""

    LOG = LOG
    SNAPSHOT = SNAPSHOT


def head_of(fs: FileSystem, path: PurePath) -> bytes:
    """The first few bytes of a file. Raises StorageError."""
    with failing("reading", path):
        return fs.read(path, 0, _HEAD_BYTES)


def codec_of(head: bytes) -> SnapshotCodec:
    """How a file that begins so is compressed."""
    if head.startswith(GZIP_MAGIC):
        return SnapshotCodec.GZIP
    return SnapshotCodec.SNAPPY if head.startswith(SNAPPY_MAGIC) else SnapshotCodec.NONE


def file_kind_of(fs: FileSystem, path: PurePath) -> FileKind | None:
    """What a file is: by its magic number, else, where that may be damaged, by its name.

    None: neither. Raises StorageError.
    """
    head = head_of(fs, path)
    if head.startswith(LOG_MAGIC):
        return FileKind.LOG
    if head.startswith(SNAPSHOT_MAGIC) or _holds_snapshot(fs, path, codec_of(head)):
        return FileKind.SNAPSHOT
    name = kept_as(path.name)
    return next((kind for kind in FileKind if name.startswith(f"{kind.value}.")), None)


def _holds_snapshot(fs: FileSystem, path: PurePath, codec: SnapshotCodec) -> bool:
    """Whether a compressed file has a snapshot in it."""
    if codec is SnapshotCodec.NONE:
        return False
    begin = b""
    try:
        for piece in decoded(pieces(fs, path), codec):
            begin += piece
            if len(begin) >= len(SNAPSHOT_MAGIC):
                break
    except DecodeError:
        return False
    return begin.startswith(SNAPSHOT_MAGIC)


def beginning(head: bytes) -> str:
    """The first bytes of a file, as a message may have them."""
    return f"it begins with {head.hex()}" if head else "it has 0 bytes"
