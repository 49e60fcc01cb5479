"""The snapshots of a data directory: which are there, reading one, writing one.

A snapshot is written under a name that no server takes for a snapshot, synced, renamed, and
its directory synced. The reference writes most of its snapshots in place and unsynced.
Rules: reference/storage-formats.md sections 4.3 to 4.5.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath

from kraal.errors import DecodeError, StorageError
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.model.zxid import counter, epoch, show
from kraal.storage.data_dir import Layout
from kraal.storage.interface import NO_FILE, FileSystem, failing
from kraal.storage.names import SNAPSHOT, UNFINISHED, Named, pick, snapshot_name
from kraal.storage.snapshot_codec import GZIP_MAGIC, SNAPPY_MAGIC, decoded, encoder
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import Ending

PIECE_BYTES = 128 << 10
"""Read and written at once; slices are joined to so much at least. Joining more holds up the other
threads of a server, and writing 1 MiB takes a processor from its loop for most of a millisecond."""
SYNC_EVERY_BYTES = 2 << 20
"""A snapshot is synced as it grows: a large flush would hold up the log's, which share its disk."""
_END = b"\x00\x00\x00\x01/"
_MIN_BYTES = 10
_CANDIDATES = 100


def held_instead(found: Named, ending: Ending) -> int | None:
    """The last transaction of a file that proves its own name wrong; else None.

    The name is taken from the tree before the first znode, the last section from the same
    tree behind the last one, so it is never below the name (sections 4.1 and 4.5).
    """
    last = ending.last_zxid
    return last if last is not None and last < found.zxid else None


def wrong_name(found: Named, held: int) -> str:
    """What to say of a file that holds no more than `held`."""
    return (
        f"holds the state of {show(held)} only, not of {show(found.zxid)} as its name says (it was "
        "renamed or copied)"
    )


def is_doubtful(found: Named, ending: Ending) -> bool:
    """Whether a file that lacks the last section has a digest of before its name.

    The digest is that of the last transaction that was applied, of an earlier epoch while a
    leader has proposed nothing yet. The reference ignores such a digest, so this is no proof.
    """
    digest = ending.digest
    if ending.last_zxid is not None or digest is None or digest.zxid >= found.zxid:
        return False
    return counter(found.zxid) > 0 or epoch(digest.zxid) >= epoch(found.zxid)


class SnapshotWriter:
    """One snapshot being written; ends with `commit` or `abort`. Any thread, one at a time."""

    def __init__(self, fs: FileSystem, directory: PurePath, zxid: int, codec: SnapshotCodec):
        self._fs = fs
        self._directory = directory
        self.name = snapshot_name(zxid, codec)
        self.size = 0
        """Bytes of the file so far."""
        self._path = directory / (UNFINISHED + self.name)
        self._encoder = encoder(codec)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._unsynced = 0
        with failing("creating", self._path):
            self._file = fs.create(self._path)

    def write(self, piece: bytes) -> None:
        """The next slice of `kraal.tree.snapshot.encode`. StorageError ends the snapshot."""
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes >= PIECE_BYTES:
            with self._aborting():
                self._put(self._encoder.encode(self._take()))

    def commit(self) -> str:
        """Make the snapshot durable and visible; returns its name. StorageError ends it.

        What the tree had applied by the last slice must be durable in the log by now.
        """
        with self._aborting():
            self._put(self._encoder.encode(self._take()) + self._encoder.finish())
            self._file.sync_data()
            self._file.close()
            self._publish()
        return self.name

    def abort(self) -> None:
        """Forget it; no error leaves here, and a rest is cleared at the next start."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._fs.unlink(self._path)

    def _publish(self) -> None:
        """Give the complete file its name."""
        self._fs.rename(self._path, self._directory / self.name)
        self._fs.sync_directory(self._directory)

    @contextmanager
    def _aborting(self) -> Iterator[None]:
        """After a failure the space is given back at once: the disk may be full."""
        try:
            with failing("writing", self._path):
                yield
        except StorageError:
            self.abort()
            raise

    def _take(self) -> bytes:
        data = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        return data

    def _put(self, data: bytes) -> None:
        if data:
            self._file.write(data, self.size)
            self.size += len(data)
            self._unsynced += len(data)
        if self._unsynced >= SYNC_EVERY_BYTES:
            self._file.sync_data()
            self._unsynced = 0


def pieces(fs: FileSystem, path: PurePath) -> Iterator[bytes]:
    """A file's bytes, as they are. Raises StorageError."""
    offset = 0
    while True:
        with failing("reading", path):
            piece = fs.read(path, offset, PIECE_BYTES)
        if not piece:
            return
        yield piece
        offset += len(piece)


class SnapshotStore:
    def __init__(
        self, fs: FileSystem, config: StorageConfig, *, extended_types: bool = False
    ) -> None:
        self._fs = fs
        self._config = config
        self._extended_types = extended_types
        self.directory = Layout.of(config).snapshots

    def named(self) -> list[Named]:
        """Every file with a snapshot's name, newest first."""
        with failing("listing", self.directory):
            return pick(self._fs.listdir(self.directory), SNAPSHOT)[::-1]

    def valid(self) -> list[Named]:
        """What the reference takes for valid, newest first: a look at the ends only."""
        return [found for found in self.named() if self.looks_valid(found)][:_CANDIDATES]

    def read(self, found: Named) -> tuple[DataTree, Ending]:
        """A fresh tree. Raises DecodeError when damaged, StorageError when unreadable."""
        return snapshot.decode(
            self.stream(found),
            extended_types=self._extended_types,
            digests=self._config.digest_enabled,
        )

    def verify(self, found: Named) -> bool:
        """Whether it is whole, and what its name says."""
        ending = self.ending(found)
        return ending is not None and held_instead(found, ending) is None

    def ending(self, found: Named) -> Ending | None:
        """Its last sections; None: its last seal does not hold. Raises StorageError."""
        try:
            return snapshot.ending(self.stream(found))
        except DecodeError:
            return None

    def stream(self, found: Named) -> Iterator[bytes]:
        """The uncompressed bytes, piece by piece."""
        return decoded(pieces(self._fs, self.directory / found.name), found.codec)

    def create(self, zxid: int) -> SnapshotWriter:
        """Begin the snapshot named after `zxid`: the tree's last one before the first slice."""
        return SnapshotWriter(self._fs, self.directory, zxid, self._config.snapshot_codec)

    def looks_valid(self, found: Named) -> bool:
        """Whether its two ends are those of a snapshot (section 4.4)."""
        path = self.directory / found.name
        with failing("reading", path):
            if not self._fs.is_file(path):
                raise OSError(errno.EINVAL, NO_FILE, str(path))
            if found.codec is SnapshotCodec.GZIP:
                return self._fs.read(path, 0, len(GZIP_MAGIC)) == GZIP_MAGIC
            if found.codec is SnapshotCodec.SNAPPY:
                return self._fs.read(path, 0, len(SNAPPY_MAGIC)) == SNAPPY_MAGIC
            size = self._fs.size(path)
            return size >= _MIN_BYTES and self._fs.read(path, size - len(_END)) == _END
