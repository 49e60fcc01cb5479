"""A snapshot without its log: whether it is a state of the tree, or was written while it changed.

A server writes snapshots while it serves, so a file may hold parts of transactions that are
later than its name, and only the log makes a state of it (reference/storage-formats.md section
4.5). The digest that the file carries tells: it is that of the tree behind the last znode.
"""

from __future__ import annotations

from collections.abc import Callable

from kraal.errors import CorruptError, DecodeError
from kraal.model.config import SnapshotCodec
from kraal.storage.snapshot_codec import GZIP_MAGIC, SNAPPY_MAGIC, decoded
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.tree.snapshot import SnapshotDigest

PIECE_BYTES = 256 << 10


def codec_of(head: bytes) -> SnapshotCodec:
    """How a file is packed that begins so."""
    if head.startswith(GZIP_MAGIC):
        return SnapshotCodec.GZIP
    return SnapshotCodec.SNAPPY if head.startswith(SNAPPY_MAGIC) else SnapshotCodec.NONE


def read(
    read_piece: Callable[[int], bytes], *, extended_types: bool, digests: bool
) -> tuple[DataTree, SnapshotDigest | None]:
    """The tree of a file, plain or packed; `read_piece(size)` gives what follows, b"" at the end.

    Raises CorruptError for what is no sound snapshot.
    """
    first = read_piece(PIECE_BYTES)

    def pieces() -> bytes:
        nonlocal first
        piece, first = first, b""
        return piece or read_piece(PIECE_BYTES)

    try:
        stream = decoded(iter(pieces, b""), codec_of(first))
        tree, ending = snapshot.decode(stream, extended_types=extended_types, digests=digests)
    except DecodeError as error:
        raise CorruptError(f"this is no sound snapshot: {error}") from error
    return tree, ending.digest


def is_mixture(tree: DataTree, carried: SnapshotDigest | None) -> bool:
    """Whether the digest says that this is no state; without one nobody knows."""
    return bool(
        tree.digests
        and carried is not None
        and carried.zxid
        and carried.digest != signed(tree.digest)
    )
