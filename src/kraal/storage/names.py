"""Names of log and snapshot files: what each server takes for one.

The zxid is the second component of the name, in hex; what follows it is ignored, except that
the last component of a snapshot's name tells its codec. So `log.5.bak` is a log and
`snapshot.21.tmp` a snapshot. Rules: reference/storage-formats.md sections 2.5, 4.3 and 4.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from kraal.model.config import SnapshotCodec

LOG = "log"
SNAPSHOT = "snapshot"
UNFINISHED = "unfinished-"
"""What we are still writing: neither server takes such a name for a log or a snapshot."""
REPLACED = "replaced-"
"""Logs and snapshots that a leader's history took the place of; nobody reads them."""
BEFORE_REPAIR = "before-repair-"
"""What a repair put aside or changed, as it was; nobody reads it, nobody deletes it."""
_HEX = re.compile(r"[0-9a-fA-F]+")
_MAX_ZXID = 0x7FFF_FFFF_FFFF_FFFF


class Named(NamedTuple):
    """A file whose name carries a zxid; they sort by zxid, then name."""

    zxid: int
    name: str

    @property
    def codec(self) -> SnapshotCodec:
        suffix = self.name.rpartition(".")[2]
        return SnapshotCodec(suffix) if suffix in _CODECS else SnapshotCodec.NONE


_CODECS = frozenset((SnapshotCodec.GZIP, SnapshotCodec.SNAPPY))


def log_name(zxid: int) -> str:
    return f"{LOG}.{zxid:x}"


def snapshot_name(zxid: int, codec: SnapshotCodec) -> str:
    return f"{SNAPSHOT}.{zxid:x}.{codec}" if codec else f"{SNAPSHOT}.{zxid:x}"


def zxid_of(name: str, kind: str) -> int | None:
    """The zxid in a name of this kind, or None when it is no such name."""
    parts = name.split(".")
    if len(parts) < 2 or parts[0] != kind or not _HEX.fullmatch(parts[1]):
        return None
    zxid = int(parts[1], 16)
    return zxid if zxid <= _MAX_ZXID else None


def kept_as(name: str) -> str:
    """What a file that kraal has put aside was called before; other names stay as they are."""
    return name.removeprefix(BEFORE_REPAIR).removeprefix(REPLACED)


def pick(names: Iterable[str], kind: str) -> list[Named]:
    """The names of this kind, lowest zxid first."""
    found = [Named(zxid, name) for name in names if (zxid := zxid_of(name, kind)) is not None]
    return sorted(found)


def needed_logs(logs: list[Named], zxid: int) -> list[Named]:
    """The logs that hold every record from `zxid` on: those named at or above it, and the
    largest name below it."""
    below = [log for log in logs if log.zxid < zxid]
    if not below:
        return logs
    # Copies under one zxid count together.
    start = below[-1].zxid
    return [log for log in logs if log.zxid >= start]
