"""What happened to a znode: every change that the logs on the disk still tell.

Reads the logs of either server, also damaged ones as far as they go. What no log tells, snapshots
may: the first one, what was there before, and which session owned an ephemeral; and where the logs
have a gap (files that are missing, a SNAP of the leader, a restore, `force-new`), each snapshot in
it, what the znodes were then.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from kraal.errors import CorruptError, CutError, RequestError
from kraal.model.config import StorageConfig
from kraal.model.create_mode import CONTAINER_OWNER
from kraal.model.path import CONFIG, ROOT
from kraal.model.zxid import counter, epoch, make, show
from kraal.storage.data_dir import Layout
from kraal.storage.inspection import snapshots
from kraal.storage.inspection.log_check import Progress, no_progress
from kraal.storage.inspection.log_walk import LogWalk
from kraal.storage.inspection.overlay import Overlay
from kraal.storage.inspection.snapshots import LoadedSnapshot
from kraal.storage.inspection.txn_text import NAMES, acl_json, data_json, iso_time
from kraal.storage.interface import FileSystem
from kraal.storage.log_reader import list_logs
from kraal.storage.names import Named
from kraal.storage.recovery import recover_until
from kraal.storage.snapshot_store import SnapshotStore, held_instead, wrong_name
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.tree.znode import Znode
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn as txns
from kraal.wire.records.data import Stat
from kraal.wire.records.txn import Txn

GAP = "gap"
SNAPSHOT = "snapshot"
HERE, CHANGED, UNCHANGED, GONE = "here", "changed", "unchanged", "gone"
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
_NOTHING = -1
_unpack_zxids = struct.Struct(">8xq44xq").unpack
"""Of a stat: mzxid and pzxid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one znode, or what a snapshot says where no log tells."""

    zxid: int
    """Of the transaction; of a state that was found in a snapshot, where that is what was."""
    kind: str
    """The operation; GAP, or SNAPSHOT for a state that was found in one."""
    path: bytes
    file: str
    time_ms: int | None = None
    """Of a state in a snapshot: when its data were last written."""
    session: int | None = None
    cxid: int | None = None
    offset: int | None = None
    version: int | None = None
    """Of the data after create and setData, of the ACL after setACL."""
    size: int | None = None
    """Of the data, where it says something of them."""
    data: bytes | None = None
    """Where they were asked for."""
    acl: bytes | None = None
    owner: str = ""
    """`ephemeral`, `container`, `ttl … ms` or `persistent` after a create."""
    cause: str = ""
    """`multi`, or why the server did it."""
    state: str = ""
    """Of a znode in a snapshot: HERE, or beside what was told of it before, CHANGED, UNCHANGED or
    GONE."""
    changed: tuple[str, ...] = ()
    """Which of czxid, mzxid and aversion are others than before."""
    mzxid: int | None = None
    mixed_until: int | None = None
    """Of a state that no log makes exact: the last transaction that the snapshot may know of."""
    first: int | None = None
    """Of a GAP, which ends with `zxid`: the first zxid in no log."""

    def as_json(self, *, with_data: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "zxid": show(self.zxid),
            "time": None if self.time_ms is None else iso_time(self.time_ms),
            "session": None if self.session is None else f"0x{self.session & _MASK_64:x}",
            "cxid": self.cxid,
            "type": self.kind,
            "path": snapshots.shown(self.path),
            "version": self.version,
            "size": self.size,
            "file": self.file,
        }
        if self.first is not None:
            found["first"] = show(self.first)
        if self.state:
            found["state"] = self.state
        if self.changed:
            found["changed"] = list(self.changed)
        for name, zxid in (("mzxid", self.mzxid), ("mixed_until", self.mixed_until)):
            if zxid is not None:
                found[name] = show(zxid)
        if self.owner:
            found["kind"] = self.owner
        if self.cause:
            found["cause"] = self.cause
        if self.kind == "setACL" or (self.size is not None and self.acl is not None):
            found["acl"] = acl_json(self.acl)
        if with_data and self.size is not None:
            found |= data_json(self.data)
        return found

    @property
    def note(self) -> str:
        """In words, what has no field of its own in a table."""
        if self.first is not None:
            return (
                f"{show(self.first)} to {show(self.zxid)} are in no log (missing, or replaced); "
                f"{self.file} goes on"
            )
        state = f"{self.state} ({', '.join(self.changed)})" if self.changed else self.state
        mzxid = "" if self.mzxid is None else f"mzxid {show(self.mzxid)}"
        mixed = "" if self.mixed_until is None else f"mixed with up to {show(self.mixed_until)}"
        return ", ".join(filter(None, (self.owner, self.cause, state, mzxid, mixed)))


class _Known(NamedTuple):
    """What was told of a znode that is there; None was not told."""

    czxid: int | None
    mzxid: int | None
    aversion: int | None
    data: bytes | None


_UNKNOWN = _Known(None, None, None, None)


@dataclass(frozen=True, slots=True)
class _Base:
    """A snapshot from which the history goes on, once the log has made a state of it."""

    loaded: LoadedSnapshot
    reached: int
    """The last transaction of which it may hold something."""
    is_bridge: bool
    """Whether it lies in a gap of the logs."""


class History:
    """Goes through logs, and snapshots where they have a gap, once and in the order of zxids."""

    def __init__(
        self,
        fs: FileSystem,
        config: StorageConfig,
        path: str,
        *,
        recursive: bool = False,
        with_data: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        self._fs = fs
        self._config = config
        self._path = path.encode() if path == "/" else path.rstrip("/").encode()
        self._recursive = recursive
        self._with_data = with_data
        self._progress = progress
        self._snapshots: deque[Named] = deque()
        """Those that were not passed yet, lowest zxid first."""
        self._last = _NOTHING
        """How far the history was told."""
        self._is_based = False
        """Whether it begins with what a snapshot says, and nothing is missing since."""
        self._base: _Base | None = None
        """The snapshot of which a state is still being made."""
        self._known: dict[bytes, _Known] = {}
        """What is there of what is asked for."""
        self._owned: dict[int, dict[bytes, None]] = {}
        """Ephemerals that are asked for, by session."""
        self.warnings: list[str] = []

    def events(self) -> Iterator[Event]:
        """Oldest first. Raises StorageError when nothing can be read."""
        # Snapshots first: one that a server writes meanwhile must not seem to be ahead of its log.
        # Of the same zxid, the one comes first that a start takes.
        named = SnapshotStore(self._fs, self._config).named()
        self._snapshots.extend(sorted(named, key=lambda found: found.zxid))
        directory = Layout.of(self._config).logs
        for log in list_logs(self._fs, directory):
            walk = LogWalk(self._fs, directory / log.name, self._config.max_record_bytes)
            seen = 0
            for entry in walk:
                self._progress(str(walk.path), entry.offset - seen)
                seen = entry.offset
                if entry.txn is None:
                    fault = entry.fault.value if entry.fault else ""
                    self.warnings.append(f"{walk.path} at offset {entry.offset}: {fault}")
                elif entry.txn.zxid > self._last:
                    yield from self._record(entry.txn, log.name, entry.offset)
            if walk.fault is not None:
                self.warnings.append(f"{walk.path}: {walk.fault.value} ({walk.detail})")
        yield from self._pass_snapshots(None)
        yield from self._settle()

    def _record(self, txn: Txn, file: str, offset: int) -> Iterator[Event]:
        if txn.zxid != self._last + 1 or not self._is_based:
            yield from self._pass_snapshots(txn.zxid)
            if self._tell_hole(txn.zxid):
                # No log makes a state of the snapshot before it, and only the next one knows more.
                yield from self._settle()
                self._is_based = False
        self._last = txn.zxid
        yield from self._of(txn, file, offset)
        if self._base is not None:
            yield from self._replay(self._base, txn)

    def _tell_hole(self, zxid: int) -> bool:
        """Whether transactions before `zxid` are missing and no snapshot makes up for them."""
        first = self._last + 1
        if self._last == _NOTHING or zxid == first:
            return False
        if epoch(zxid) > epoch(self._last):
            if counter(zxid) <= 1:
                return False
            first = make(epoch(zxid), 1)
        self.warnings.append(f"{show(first)} to {show(zxid - 1)} are missing")
        return True

    def _pass_snapshots(self, zxid: int | None) -> Iterator[Event]:
        """What those before the record of `zxid` say that no log does; None: no record follows."""
        while self._snapshots and (zxid is None or self._snapshots[0].zxid < zxid):
            found = self._snapshots.popleft()
            if found.zxid > self._last or not self._is_based:
                yield from self._settle()
                yield from self._go_on_from(found)

    def _go_on_from(self, found: Named) -> Iterator[Event]:
        path = Layout.of(self._config).snapshots / found.name
        try:
            loaded = snapshots.load(self._fs, path, self._progress)
        except CorruptError as error:
            self.warnings.append(str(error))
            return
        held = held_instead(found, loaded.ending)
        if held is not None:
            self.warnings.append(f"{path} is passed over: it {wrong_name(found, held)}")
            return
        is_bridge = self._last != _NOTHING and found.zxid > self._last
        if is_bridge:
            yield Event(
                zxid=found.zxid, kind=GAP, path=self._path, file=found.name, first=self._last + 1
            )
        self._last = max(self._last, found.zxid)
        self._is_based = True
        reached = max(found.zxid, loaded.reached, _newest(loaded.tree))
        self._base = _Base(loaded, reached, is_bridge)
        self._own(loaded.tree)
        if self._base.reached <= self._last:
            yield from self._settle()

    def _own(self, tree: DataTree) -> None:
        self._owned = {}
        for session, paths in tree.ephemerals.items():
            if wanted := {path: None for path in paths if self._wanted(path)}:
                self._owned[session] = wanted

    def _replay(self, base: _Base, txn: Txn) -> Iterator[Event]:
        """A snapshot that was written while the tree changed is a state only behind the log."""
        tree = base.loaded.tree
        is_possible = True
        try:
            apply(tree, txn)
        except RequestError:
            pass  # the snapshot already had the effect (reference/storage-formats.md section 3.4)
        except (ValueError, LookupError, AssertionError, TypeError) as error:
            self.warnings.append(f"{show(txn.zxid)} is an impossible transaction: {error}")
            is_possible = False
        tree.events.clear()
        if txn.zxid >= base.reached or not is_possible:
            yield from self._settle()

    def _settle(self) -> Iterator[Event]:
        """What the snapshot says of the znodes, beside what was told of them before."""
        base, self._base = self._base, None
        if base is None:
            return
        tree = base.loaded.tree
        self._own(tree)
        for path in snapshots.listed(tree, self._path, None if self._recursive else 0):
            event = self._found(base, path or ROOT, tree.nodes[path])
            if base.is_bridge or event.state != UNCHANGED:
                yield event
        gone = [path for path in self._known if path != ROOT and path not in tree.nodes]
        for path in sorted(gone):
            del self._known[path]
            yield Event(
                zxid=self._last, kind=SNAPSHOT, path=path, file=base.loaded.path.name, state=GONE,
                mixed_until=self._mixed_until(base),
            )  # fmt: skip

    def _mixed_until(self, base: _Base) -> int | None:
        return base.reached if base.reached > self._last else None

    def _found(self, base: _Base, path: bytes, node: Znode) -> Event:
        stat = Stat.unpack(node.stat)
        before = self._known.get(path)
        now = _Known(stat.czxid, stat.mzxid, stat.aversion, node.data if self._with_data else None)
        changed = tuple(_differing(before, now)) if before is not None else ()
        if changed:
            state = CHANGED
        elif before is None or None in before[:3]:
            state = HERE
        else:
            state, now = UNCHANGED, before  # and its data are in memory once
        self._known[path] = now
        return Event(
            zxid=self._last, kind=SNAPSHOT, path=path, file=base.loaded.path.name,
            time_ms=stat.mtime, session=stat.ephemeral_owner, cxid=0, version=stat.version,
            size=len(node.data or b""), data=now.data, acl=node.acl.encoded,
            owner=snapshots.kind_of(node.stored_owner()), state=state, changed=changed,
            mzxid=stat.mzxid, mixed_until=self._mixed_until(base),
        )  # fmt: skip

    def _wanted(self, path: bytes | None) -> bool:
        if path is None:
            return False
        if path in (b"", ROOT):
            return self._path == ROOT
        if path == self._path:
            return True
        return self._recursive and (self._path == ROOT or path.startswith(self._path + b"/"))

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
                    self._known.pop(path, None)
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
        path = path or ROOT
        known = self._known.get(path, _UNKNOWN)
        details: dict[str, Any] = {}
        if isinstance(body, txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn):
            details = self._written(body.data) | {"acl": body.acl, "version": 0}
            details["owner"] = _owner(body)
            if isinstance(body, txns.CreateTxn) and body.ephemeral:
                self._owned.setdefault(txn.client_id, {})[path] = None
            self._known[path] = _Known(txn.zxid, txn.zxid, 0, details["data"])
        elif isinstance(body, txns.SetDataTxn):
            details = self._written(body.data) | {"version": body.version}
            self._known[path] = known._replace(mzxid=txn.zxid, data=details["data"])
        elif isinstance(body, txns.SetAclTxn):
            details = {"acl": body.acl, "version": body.version}
            self._known[path] = known._replace(aversion=body.version)
        else:
            self._known.pop(path, None)
            for owned in self._owned.values():
                owned.pop(path, None)
        name = NAMES.get(kind, str(kind))
        yield self._event(txn, name, path, file, offset, cause=cause, **details)

    def _written(self, data: bytes | None) -> dict[str, Any]:
        return {"size": len(data or b""), "data": data if self._with_data else None}

    def _event(
        self, txn: Txn, kind: str, path: bytes, file: str, offset: int, **details: Any
    ) -> Event:
        return Event(
            zxid=txn.zxid, time_ms=txn.time_ms, session=txn.client_id, cxid=txn.cxid, kind=kind,
            path=path, file=file, offset=offset, **details,
        )  # fmt: skip


def _newest(tree: DataTree) -> int:
    """The last transaction that a stat knows of."""
    newest = 0
    for path, node in tree.nodes.items():
        if path != CONFIG:  # the version there is no transaction
            newest = max(newest, *_unpack_zxids(node.stat))
    return newest


def _differing(before: _Known, now: _Known) -> Iterator[str]:
    """What was told before and is another now."""
    for name in ("czxid", "mzxid", "aversion"):
        if getattr(before, name) not in (None, getattr(now, name)):
            yield name


def _owner(body: txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn) -> str:
    if isinstance(body, txns.CreateContainerTxn):
        return snapshots.kind_of(CONTAINER_OWNER)
    if isinstance(body, txns.CreateTtlTxn):
        return f"ttl {body.ttl_ms} ms"
    return "ephemeral" if body.ephemeral else "persistent"


def tree_at(fs: FileSystem, config: StorageConfig, zxid: int) -> tuple[DataTree, list[str]]:
    """The whole tree as it was right behind `zxid`, and warnings where digests differ from it.

    StorageError when the disk does not tell.
    """
    recovered = recover_until(Overlay(fs), config, zxid, extended_types=True, recent_max=1)
    tree, loaded = recovered.tree, recovered.snapshot
    newest = _newest(tree)
    if newest > zxid and loaded is not None:
        raise CutError(
            f"cannot go back to {show(zxid)}: {loaded.name} was written while transactions up to "
            f"{show(newest)} were applied"
        )
    return tree, recovered.warnings if recovered.digest_mismatches else []
