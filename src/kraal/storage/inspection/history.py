"""What happened to a znode: every change that the logs on the disk still tell.

Reads the logs of either server, also damaged ones as far as they go. What a log does not say, the
oldest snapshot may: that the znode was there before, and which session owned an ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kraal.errors import CorruptError
from kraal.model.config import StorageConfig
from kraal.model.create_mode import CONTAINER_OWNER
from kraal.model.path import ROOT
from kraal.model.zxid import show
from kraal.storage.data_dir import Layout
from kraal.storage.inspection import snapshots
from kraal.storage.inspection.log_check import Progress, no_progress
from kraal.storage.inspection.log_walk import LogWalk
from kraal.storage.inspection.overlay import Overlay
from kraal.storage.inspection.txn_text import NAMES, acl_json, data_json, iso_time
from kraal.storage.interface import FileSystem
from kraal.storage.log_reader import list_logs
from kraal.storage.recovery import recover_until
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn as txns
from kraal.wire.records.data import Stat
from kraal.wire.records.txn import Txn

_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one znode."""

    zxid: int
    time_ms: int
    session: int
    cxid: int
    kind: str
    """The operation; `snapshot` for a state that was found in one."""
    path: bytes
    file: str
    offset: int | None = None
    version: int | None = None
    """Of the data after create and setData, of the ACL after setACL."""
    data: bytes | None = None
    has_data: bool = False
    acl: bytes | None = None
    owner: str = ""
    """`ephemeral`, `container`, `ttl … ms` or `persistent` after a create."""
    cause: str = ""
    """`multi`, or why the server did it."""

    @property
    def size(self) -> int | None:
        return len(self.data or b"") if self.has_data else None

    def as_json(self, *, with_data: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "zxid": show(self.zxid),
            "time": iso_time(self.time_ms),
            "session": f"0x{self.session & _MASK_64:x}",
            "cxid": self.cxid,
            "type": self.kind,
            "path": snapshots.shown(self.path),
            "version": self.version,
            "size": self.size,
            "file": self.file,
        }
        if self.owner:
            found["kind"] = self.owner
        if self.cause:
            found["cause"] = self.cause
        if self.kind in ("setACL",) or (self.has_data and self.acl is not None):
            found["acl"] = acl_json(self.acl)
        if with_data and self.has_data:
            found |= data_json(self.data)
        return found


class History:
    """Goes through the logs once, in the order of their zxids."""

    def __init__(
        self,
        fs: FileSystem,
        config: StorageConfig,
        path: str,
        *,
        recursive: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        self._fs = fs
        self._config = config
        self._path = path.encode() if path == "/" else path.rstrip("/").encode()
        self._recursive = recursive
        self._progress = progress
        self._owned: dict[int, dict[bytes, None]] = {}
        """Ephemerals that are asked for, by session."""
        self.warnings: list[str] = []

    def events(self) -> Iterator[Event]:
        """Oldest first. Raises StorageError when nothing can be read."""
        directory = Layout.of(self._config).logs
        last = -1
        yield from self._baseline()
        for log in list_logs(self._fs, directory):
            walk = LogWalk(self._fs, directory / log.name, self._config.max_record_bytes)
            seen = 0
            for entry in walk:
                self._progress(str(walk.path), entry.offset - seen)
                seen = entry.offset
                if entry.txn is None:
                    fault = entry.fault.value if entry.fault else ""
                    self.warnings.append(f"{walk.path} at offset {entry.offset}: {fault}")
                elif entry.txn.zxid > last:
                    if (
                        last >= 0
                        and entry.txn.zxid >> 32 == last >> 32
                        and (entry.txn.zxid != last + 1)
                    ):
                        self.warnings.append(
                            f"{show(last + 1)} to {show(entry.txn.zxid - 1)} are missing"
                        )
                    last = entry.txn.zxid
                    yield from self._of(entry.txn, log.name, entry.offset)
            if walk.fault is not None:
                self.warnings.append(f"{walk.path}: {walk.fault.value} ({walk.detail})")

    def _wanted(self, path: bytes | None) -> bool:
        if path is None:
            return False
        if path in (b"", ROOT):
            return self._path == ROOT
        if path == self._path:
            return True
        return self._recursive and (self._path == ROOT or path.startswith(self._path + b"/"))

    def _baseline(self) -> Iterator[Event]:
        """What the oldest readable snapshot says of the znodes."""
        store = SnapshotStore(self._fs, self._config)
        for found in reversed(store.named()):
            try:
                loaded = snapshots.load(self._fs, store.directory / found.name, self._progress)
            except CorruptError as error:
                self.warnings.append(str(error))
                continue
            for owner, paths in loaded.tree.ephemerals.items():
                self._owned[owner] = {path: None for path in paths if self._wanted(path)}
            for path, node in sorted(loaded.tree.nodes.items()):
                if not path or not self._wanted(path):
                    continue
                stat = Stat.unpack(node.stat)
                yield Event(
                    zxid=max(stat.mzxid, stat.czxid), time_ms=stat.mtime,
                    session=stat.ephemeral_owner, cxid=0, kind="snapshot", path=path,
                    file=found.name, version=stat.version, data=node.data, has_data=True,
                    acl=node.acl.encoded, owner=snapshots.kind_of(node.stored_owner()),
                )  # fmt: skip
            return

    def _of(self, txn: Txn, file: str, offset: int) -> Iterator[Event]:
        if isinstance(txn.body, txns.MultiTxn):
            if not txn.body.failed:
                for kind, part in txn.body.ops:
                    yield from self._change(txn, kind, part, file, offset, "multi")
        elif isinstance(txn.body, txns.CloseSessionTxn):
            owned = self._owned.pop(txn.client_id, {})
            listed = [path for path in txn.body.paths or () if path is not None]
            cause = "closeSession" if txn.cxid else "session expired"
            for path in dict.fromkeys([*listed, *owned]):
                if self._wanted(path):
                    yield self._event(txn, "delete", path, file, offset, cause=cause)
        else:
            cause = "" if txn.client_id else "server"
            yield from self._change(txn, txn.kind, txn.body, file, offset, cause)

    def _change(
        self, txn: Txn, kind: int, body: Record, file: str, offset: int, cause: str
    ) -> Iterator[Event]:
        path: bytes | None = getattr(body, "path", None)
        if path is None or kind in (OpCode.CHECK, OpCode.ERROR) or not self._wanted(path):
            return
        name = NAMES.get(kind, str(kind))
        details: dict[str, Any] = {}
        if isinstance(body, txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn):
            details = {"data": body.data, "has_data": True, "acl": body.acl, "version": 0}
            details["owner"] = _owner(body)
            if isinstance(body, txns.CreateTxn) and body.ephemeral:
                self._owned.setdefault(txn.client_id, {})[path] = None
        elif isinstance(body, txns.SetDataTxn):
            details = {"data": body.data, "has_data": True, "version": body.version}
        elif isinstance(body, txns.SetAclTxn):
            details = {"acl": body.acl, "version": body.version}
        else:
            for owned in self._owned.values():
                owned.pop(path, None)
        yield self._event(txn, name, path, file, offset, cause=cause, **details)

    def _event(
        self, txn: Txn, kind: str, path: bytes, file: str, offset: int, **details: Any
    ) -> Event:
        return Event(
            zxid=txn.zxid, time_ms=txn.time_ms, session=txn.client_id, cxid=txn.cxid, kind=kind,
            path=path, file=file, offset=offset, **details,
        )  # fmt: skip


def _owner(body: txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn) -> str:
    if isinstance(body, txns.CreateContainerTxn):
        return snapshots.kind_of(CONTAINER_OWNER)
    if isinstance(body, txns.CreateTtlTxn):
        return f"ttl {body.ttl_ms} ms"
    return "ephemeral" if body.ephemeral else "persistent"


def tree_at(fs: FileSystem, config: StorageConfig, zxid: int) -> DataTree:
    """The whole tree as it was right behind `zxid`. StorageError when the disk does not tell."""
    recovered = recover_until(Overlay(fs), config, zxid, extended_types=True, recent_max=1)
    return recovered.tree
