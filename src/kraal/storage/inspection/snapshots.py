"""Reading snapshots for people: summary, tree listing, differences, soundness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from kraal.errors import CorruptError, DecodeError
from kraal.model.config import StorageConfig
from kraal.model.create_mode import CONTAINER_OWNER, is_extended_owner, owner_ttl_ms
from kraal.model.path import ROOT
from kraal.model.zxid import show
from kraal.storage.inspection.file_kind import FileKind, beginning, codec_of, file_kind_of, head_of
from kraal.storage.inspection.findings import Mend, Report, Severity
from kraal.storage.inspection.log_check import RESYNC, Progress, no_progress
from kraal.storage.inspection.txn_text import acl_json, data_json, iso_time, text
from kraal.storage.interface import FileSystem, failing
from kraal.storage.names import SNAPSHOT, Named, kept_as, zxid_of
from kraal.storage.snapshot_codec import decoded
from kraal.storage.snapshot_store import (
    SnapshotStore,
    held_instead,
    is_doubtful,
    pieces,
    wrong_name,
)
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.tree.snapshot import Ending
from kraal.tree.znode import Znode
from kraal.wire.records.data import Stat

_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class LoadedSnapshot:
    """A snapshot that was read and whose seals hold."""

    path: PurePath
    zxid: int | None
    """What its name says, else its last section; None: neither does."""
    tree: DataTree
    ending: Ending
    named: Named | None
    """As its name says, or said before it was put aside."""

    @property
    def reached(self) -> int:
        """The last transaction that its last sections know of, or 0: when it was complete."""
        return max(self.ending.zxids, default=0)


def load(fs: FileSystem, path: PurePath, progress: Progress = no_progress) -> LoadedSnapshot:
    """Read one file, whatever its name and directory. CorruptError says what is wrong with it."""
    head = head_of(fs, path)
    if file_kind_of(fs, path) is not FileKind.SNAPSHOT:
        raise CorruptError(f"{path} is no snapshot: {beginning(head)}")

    def content() -> Iterator[bytes]:
        for piece in decoded(pieces(fs, path), codec_of(head)):
            progress(str(path), len(piece))
            yield piece

    try:
        tree, ending = snapshot.decode(content(), extended_types=True, digests=True)
    except DecodeError as error:
        raise CorruptError(f"{path} is damaged: {error}") from error
    reached, named = tree.last_zxid, zxid_of(kept_as(path.name), SNAPSHOT)
    if named is None:
        return LoadedSnapshot(path, reached or None, tree, ending, None)
    tree.last_zxid = named
    tree.is_mixture = tree.is_mixture or reached > named
    return LoadedSnapshot(path, named, tree, ending, Named(named, path.name))


def is_named_otherwise(fs: FileSystem, path: PurePath) -> bool:
    """Whether a server would take a file for a snapshot of another codec than it has.

    Raises StorageError.
    """
    named = zxid_of(path.name, SNAPSHOT)
    return named is not None and Named(named, path.name).codec is not codec_of(head_of(fs, path))


MISNAMED = "misnamed-snapshot"
DAMAGED_KINDS = ("zero-length-snapshot", "damaged-snapshot", "torn-snapshot", MISNAMED)
"""Findings of snapshots that no start uses."""


@dataclass(slots=True)
class SnapshotsChecked:
    """The snapshots of a directory, and what is wrong with them."""

    report: Report = field(default_factory=Report)
    sound: list[Named] = field(default_factory=list)
    """Newest first."""
    misnamed: dict[PurePath, int] = field(default_factory=dict)
    """Those that hold less than their names say, each with its last zxid."""


def check(
    fs: FileSystem, config: StorageConfig, progress: Progress = no_progress
) -> SnapshotsChecked:
    """All snapshots of a directory."""
    checked = SnapshotsChecked()
    store = SnapshotStore(fs, config)
    for found in store.named():
        path = store.directory / found.name
        if checked.report.has_no_file(fs, path):
            continue
        with failing("reading", path):
            size = fs.size(path)
        progress(str(path), size)
        looks_valid = store.looks_valid(found)
        ending = store.ending(found) if looks_valid else None
        if ending is not None:
            is_newest = not checked.sound
            held = check_name(checked.report, path, found, ending, is_newest=is_newest)
            if held is None:
                checked.sound.append(found)
            else:
                checked.misnamed[path] = held
            continue
        if not size:
            kind, what = "zero-length-snapshot", "the snapshot has 0 bytes"
        elif looks_valid:
            kind, what = "damaged-snapshot", "its checksum does not match its content"
        else:
            kind, what = "torn-snapshot", "the snapshot is incomplete"
        checked.report.add(kind, Severity.WARNING, f"{what}: no server can load it", path)
    _mend_damaged(checked)
    for found in checked.sound:
        _check_copy(checked, store.directory / found.name, found)
    return checked


def check_name(
    report: Report, path: PurePath, found: Named, ending: Ending, *, is_newest: bool = True
) -> int | None:
    """Whether a whole snapshot holds what its name says; if not, the last zxid that it holds."""
    held = held_instead(found, ending)
    if held is not None:
        report.add(
            MISNAMED,
            Severity.ERROR if is_newest else Severity.WARNING,
            f"it {wrong_name(found, held)}: a start passes it over"
            + (", where Apache ZooKeeper loads it and loses what lies between" * is_newest),
            path,
            remedy=_RENAMED,
        )
    elif is_doubtful(found, ending):
        assert ending.digest is not None
        report.add(
            "doubtful-name",
            Severity.WARNING,
            f"its digest is that of {show(ending.digest.zxid)}, before {show(found.zxid)} in its "
            "name, and nothing else in it says how far it leads",
            path,
            remedy=f"{_RENAMED}, if somebody renamed or copied it",
        )
    return held


def is_misnamed(report: Report, loaded: LoadedSnapshot) -> bool:
    """Whether one file, wherever it is, holds less than its name says; the report says so."""
    if loaded.named is None:
        return False
    return check_name(report, loaded.path, loaded.named, loaded.ending) is not None


_RENAMED = "give it back the name that it had, or move it out of version-2"


def _mend_damaged(checked: SnapshotsChecked) -> None:
    """What no start uses may go when a sound one is newer: no start needs it any more."""
    newest = checked.sound[0].zxid if checked.sound else -1
    findings = checked.report.findings
    for at, finding in enumerate(findings):
        if finding.path is None or finding.kind not in DAMAGED_KINDS:
            continue
        zxid = zxid_of(finding.path.name, SNAPSHOT)
        if zxid is not None and zxid < newest:
            findings[at] = replace(finding, remedy="", mend=moved_away(finding.path))
        elif not checked.sound and finding.kind != MISNAMED:
            findings[at] = replace(finding, remedy=f"restore a backup, or {RESYNC}")


def moved_away(path: PurePath) -> Mend:
    return Mend("move the snapshot away", path, set_aside=True)


def _check_copy(checked: SnapshotsChecked, path: PurePath, found: Named) -> None:
    plain = f"{SNAPSHOT}.{found.zxid:x}"
    if found.name in (plain, f"{plain}.gz", f"{plain}.snappy"):
        return
    has_twin = Named(found.zxid, plain) in checked.sound
    checked.report.add(
        "copied-snapshot",
        Severity.WARNING,
        "for both servers this is a snapshot like any other, whatever its ending",
        path,
        remedy="" if has_twin else "keep copies outside version-2",
        mend=Mend("move the copy away", path, set_aside=True) if has_twin else None,
    )


def summary(loaded: LoadedSnapshot) -> dict[str, Any]:
    """Figures of a whole snapshot."""
    tree = loaded.tree
    paths = [path for path in tree.nodes if path != ROOT]
    largest = max(paths, key=lambda path: len(tree.nodes[path].data or b""))
    busiest = max(paths, key=lambda path: len(tree.nodes[path].children or ()))
    digest = loaded.ending.digest
    return {
        "file": str(loaded.path),
        "zxid": shown_zxid(loaded),
        "last_zxid": show(_last_zxid(loaded)),
        "znodes": len(paths),
        "data_bytes": sum(len(tree.nodes[path].data or b"") for path in paths),
        "ephemerals": sum(map(len, tree.ephemerals.values())),
        "containers": len(tree.containers),
        "ttl_znodes": len(tree.ttls),
        "sessions": len(tree.sessions),
        "acl_lists": len(list(tree.acls)),
        "depth": max(map(depth_of, paths)),
        "largest": {"path": shown(largest), "size": len(tree.nodes[largest].data or b"")},
        "most_children": {
            "path": shown(busiest),
            "children": len(tree.nodes[busiest].children or ()),
        },
        "digest": None if digest is None else f"0x{digest.digest & _MASK_64:x}",
        "digest_zxid": None if digest is None else show(digest.zxid),
    }


def shown_zxid(loaded: LoadedSnapshot) -> str | None:
    """The zxid of a snapshot, if it has one."""
    return None if loaded.zxid is None else show(loaded.zxid)


def _last_zxid(loaded: LoadedSnapshot) -> int:
    """As SnapshotFormatter says it: the highest zxid of the name and of any stat."""
    highest = loaded.zxid or 0
    for node in loaded.tree.nodes.values():
        stat = Stat.unpack(node.stat)
        highest = max(highest, stat.mzxid, stat.pzxid)
    return highest


def depth_of(path: bytes) -> int:
    """0 for the root."""
    return 0 if path in (b"", ROOT) else path.count(b"/")


def shown(path: bytes) -> str:
    return "/" if path in (b"", ROOT) else text(path)


def listed(tree: DataTree, path: bytes, max_depth: int | None) -> Iterator[bytes]:
    """The znode and those below it in the order of their paths, so many levels down."""
    root = b"" if path == ROOT else path
    base = depth_of(root)
    left = [root] if root in tree.nodes else []
    while left:
        at = left.pop()
        yield at
        if max_depth is None or depth_of(at) - base < max_depth:
            left.extend(sorted(tree.nodes[at].children or (), reverse=True))


def node_json(path: bytes, node: Znode, *, with_data: bool) -> dict[str, Any]:
    """A znode with its stat, as the disk has it."""
    stat = Stat.unpack(node.stat)
    data = data_json(node.data)
    owner = node.stored_owner()
    return {
        "path": shown(path),
        "czxid": show(stat.czxid),
        "mzxid": show(stat.mzxid),
        "pzxid": show(stat.pzxid),
        "ctime": iso_time(stat.ctime),
        "mtime": iso_time(stat.mtime),
        "version": stat.version,
        "cversion": node.created_children,
        "aversion": stat.aversion,
        "owner": f"0x{owner & _MASK_64:x}",
        "kind": kind_of(owner),
        "children": len(node.children or ()),
        "acl": acl_json(node.acl.encoded),
        **(data if with_data else {"size": data["size"]}),
    }


def kind_of(owner: int) -> str:
    """What the stored owner makes of a znode."""
    if owner == CONTAINER_OWNER:
        return "container"
    if owner and is_extended_owner(owner):
        return f"ttl {owner_ttl_ms(owner)} ms"
    return "ephemeral" if owner else "persistent"


@dataclass(frozen=True, slots=True)
class Difference:
    """One znode that two trees do not share."""

    path: bytes
    what: str
    """`added`, `removed` or `changed`."""
    details: tuple[str, ...] = ()
    """Of a changed one: which fields."""


def differences(old: DataTree, new: DataTree) -> Iterator[Difference]:
    """In the order of paths; data are compared, and stats, and ACLs."""
    for path in sorted(old.nodes.keys() | new.nodes.keys()):
        if path == ROOT:
            continue
        before, after = old.nodes.get(path), new.nodes.get(path)
        if before is None:
            yield Difference(path, "added")
        elif after is None:
            yield Difference(path, "removed")
        elif details := tuple(_changed(before, after)):
            yield Difference(path, "changed", details)


def _changed(before: Znode, after: Znode) -> Iterator[str]:
    if before.data != after.data:
        yield f"data {len(before.data or b'')} -> {len(after.data or b'')} bytes"
    if before.acl.encoded != after.acl.encoded:
        yield "acl"
    if before.stored_owner() != after.stored_owner():
        yield "owner"
    if before.stat != after.stat:
        old, new = Stat.unpack(before.stat), Stat.unpack(after.stat)
        for name in ("version", "cversion", "aversion", "num_children"):
            if getattr(old, name) != getattr(new, name):
                yield f"{name} {getattr(old, name)} -> {getattr(new, name)}"
        for name in ("czxid", "mzxid", "pzxid"):
            if getattr(old, name) != getattr(new, name):
                yield f"{name} {show(getattr(old, name))} -> {show(getattr(new, name))}"


def newest_sound(fs: FileSystem, config: StorageConfig) -> Named | None:
    store = SnapshotStore(fs, config)
    return next(filter(store.verify, store.valid()), None)


def subtree_sums(tree: DataTree) -> dict[bytes, tuple[int, int]]:
    """For each znode how many lie below it, and the bytes of its data and theirs."""
    sums = {path: (0, len(node.data or b"")) for path, node in tree.nodes.items() if path != ROOT}
    for path in sorted(sums, key=depth_of, reverse=True):
        if path:
            parent = path[: path.rindex(b"/")]
            count, size = sums[path]
            below, total = sums[parent]
            sums[parent] = below + count + 1, total + size
    return sums
