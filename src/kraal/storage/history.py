"""Older transactions, read back from the log for a learner that lags far behind.

Rule: reference/quorum-protocol.md section 4.4, row 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import counter, epoch
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing
from kraal.storage.log_reader import LogRecord, list_logs, records
from kraal.storage.names import Named, needed_logs
from kraal.storage.snapshot_store import SnapshotStore


def proposals_since(
    fs: FileSystem, config: StorageConfig, zxid: int, *, snapshot_size_factor: float
) -> Iterator[tuple[int, bytes]] | None:
    """The logged transactions from `zxid` on, as (zxid, payload) without a hole.

    Begins with the newest one below `zxid`, if there is one: where an unknown `zxid` is to be
    cut. None when the log does not reach back so far, cannot be read, or its later files are
    larger than `snapshot_size_factor` times the newest snapshot, which is cheaper to send then.

    Reads as it goes and never raises. It ends at the first record that is torn, damaged or
    does not follow, so the caller must check that it came as far as it should; what is logged
    and not yet committed comes, too. The server may log and purge meanwhile.
    """
    if snapshot_size_factor < 0:
        return None
    try:
        logs = needed_logs(list_logs(fs, Layout.of(config).logs), zxid)
        snapshots = SnapshotStore(fs, config).named()
        if not _is_worthwhile(fs, config, logs, snapshots, snapshot_size_factor):
            return None
        # From the first file's begin: what lies below shows whether `zxid` can be there.
        found = records(fs, config, 0, logs)
        before = next(found, None)
    except StorageError:
        return None
    if before is None or before.zxid > zxid:
        return None
    return _from(zxid, before, found, [snapshot.zxid for snapshot in snapshots])


def _is_worthwhile(
    fs: FileSystem,
    config: StorageConfig,
    logs: list[Named],
    snapshots: list[Named],
    factor: float,
) -> bool:
    """Whether reading these logs costs less than a snapshot; the first one does not count."""
    layout = Layout.of(config)
    if not snapshots:
        return True
    path = layout.snapshots / snapshots[0].name
    with failing("measuring", path):
        limit = factor * fs.size(path)
    size = 0
    for log in logs[1:]:
        with failing("measuring", layout.logs / log.name):
            size += fs.size(layout.logs / log.name)
    return limit <= 0 or size <= limit


def _from(
    zxid: int, before: LogRecord, found: Iterator[LogRecord], snapshots: list[int]
) -> Iterator[tuple[int, bytes]]:
    try:
        for record in found:
            if record.zxid <= before.zxid:
                continue  # repeated
            if not _follows(before.zxid, record.zxid, snapshots):
                if record.zxid > zxid:
                    break
                # Below `zxid` a hole does no harm.
            elif record.zxid >= zxid:
                yield before.zxid, before.payload
            before = record
    except StorageError:  # purged or damaged
        pass
    yield before.zxid, before.payload


def _follows(zxid: int, following: int, snapshots: list[int]) -> bool:
    """Whether nothing is missing between two records.

    A snapshot between two epochs may have been a leader's. The reference leaves the log below
    such a one, and nobody knows whether it leads there.
    """
    if epoch(following) == epoch(zxid):
        return following == zxid + 1
    return counter(following) == 1 and not any(zxid < at < following for at in snapshots)
