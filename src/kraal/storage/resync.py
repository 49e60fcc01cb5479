"""What a leader's TRUNC and SNAP do to the data directory.

No log may be open and no snapshot in writing, and no purge may run meanwhile. Afterwards the log
goes on as a new `TxnLog`: the old one knows files and zxids that are gone. A power failure at
any moment leaves the state before or the state after; `kraal.storage.replacement` says why.
Rules: reference/quorum-protocol.md section 4.6, reference/storage-formats.md section 2.6.
"""

from __future__ import annotations

from kraal.model.config import StorageConfig
from kraal.model.limits import COMMIT_LOG_MIN_TXNS
from kraal.storage import replacement
from kraal.storage.interface import FileSystem
from kraal.storage.recovery import Recovered, recover_until
from kraal.storage.snapshot_store import SnapshotWriter
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree


def cut_log(
    fs: FileSystem,
    config: StorageConfig,
    zxid: int,
    *,
    extended_types: bool,
    recent_max: int = COMMIT_LOG_MIN_TXNS,
) -> Recovered:
    """Drop all history above `zxid`; the result is what a start would find then, at `zxid`.

    `zxid` is a record of the log, the name of a snapshot, or a new epoch's zero right before
    the first record of that epoch. Anything else raises CutError and changes nothing: the
    reference ends with exit code 13 or keeps a record too many. Raises StorageError when the
    disk fails.
    """
    recovered = recover_until(
        fs, config, zxid, extended_types=extended_types, recent_max=recent_max
    )
    replacement.cut(fs, config, zxid, recovered.fuzzy_snapshots)
    return recovered


def adopt_snapshot(fs: FileSystem, config: StorageConfig, tree: DataTree) -> str:
    """Make a leader's tree the whole content of the directory; returns the snapshot's name.

    Writes the snapshot at once, named after `tree.last_zxid`; nobody may change the tree
    meanwhile. `kraal.storage.replacement.adopting` does the same in slices. The log may hold
    what follows the tree from then on. Raises StorageError when the disk fails.
    """
    return begin_adoption(fs, config, tree).commit()


def begin_adoption(fs: FileSystem, config: StorageConfig, tree: DataTree) -> SnapshotWriter:
    """The part of `adopt_snapshot` that takes long: a log may be open until `commit`."""
    writer = replacement.adopting(fs, config, tree.last_zxid)
    try:
        for piece in snapshot.encode(
            tree, last_zxid_section=config.serialize_last_processed_zxid, digest_holds=False
        ):
            writer.write(piece)
    except BaseException:
        writer.abort()
        raise
    return writer
