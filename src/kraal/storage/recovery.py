"""Starting from a data directory: the newest sound snapshot, then the log behind it.

The order of steps and what each kind of damage leads to: reference/storage-formats.md
sections 2.5, 5 and 6. Stricter than the reference where it would start with a silently wrong
tree: every attempt at a snapshot begins with an empty tree, one that holds less than its name
says is given up like a damaged one, the log must follow the snapshot without a hole, and the
result may not end before a snapshot that was given up. What was read is synced before it is
believed: it may still be in the page cache only.

A member of an ensemble finds its last proposals applied, committed or not, and the ephemerals
of all sessions: `drop_orphans` is not for it.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from time import monotonic

from kraal.errors import CorruptError, CutError, DecodeError, RequestError
from kraal.model.config import StorageConfig
from kraal.model.limits import COMMIT_LOG_MIN_TXNS
from kraal.model.zxid import counter, epoch, make, show
from kraal.storage import replacement
from kraal.storage.data_dir import Layout, prepare
from kraal.storage.interface import FileSystem, failing, sync_file
from kraal.storage.log_reader import LogRecord, drop_empty_newest, list_logs, records
from kraal.storage.names import Named, needed_logs
from kraal.storage.snapshot_store import SnapshotStore, held_instead, is_doubtful, wrong_name
from kraal.tree import snapshot
from kraal.tree.apply import apply, digest_matches
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.tree.snapshot import Ending, SnapshotDigest
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CloseSessionTxn, Txn

UNTRUSTED_ZXID = -1
_READ_ON = 'What can be done: kraal doctor, or docs/data-files.md, "When a start is refused".'
_NEXT_STEP = (
    "Put the missing files back, or, on a member of an ensemble, move the data directory "
    "away and let the server copy the state from its leader."
)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A newer snapshot that was given up."""

    found: Named
    held: int | None = None
    """The last transaction of one whose name is wrong; None: it is damaged."""

    @property
    def proven(self) -> int:
        """The zxid that was reached when it was written."""
        return self.found.zxid if self.held is None else self.held

    def __str__(self) -> str:
        if self.held is None:
            return f"{self.found.name} is damaged"
        return f"{self.found.name} {wrong_name(self.found, self.held)}"


@dataclass(slots=True)
class Recovered:
    """What a data directory holds, and what the operator should know about it."""

    tree: DataTree
    """With `last_zxid` set; its sessions are the live ones. -1 is an untrusted empty one."""
    snapshot: Named | None = None
    """The snapshot that was loaded."""
    passed_over: list[PassedOver] = field(default_factory=list)
    proven: int = 0
    """The last transaction that the snapshot held when it was complete, if it says so."""
    epochs_begun: list[tuple[int, int]] = field(default_factory=list)
    """Where the log goes on in another epoch: the zxid before, and the first one."""
    replayed: int = 0
    snapshot_ms: int = 0
    """How long loading the snapshot took, and then replaying the log."""
    replay_ms: int = 0
    recent: deque[tuple[int, bytes]] = field(default_factory=deque)
    """The last replayed transactions, without a hole: zxid and payload."""
    digest_mismatches: int = 0
    pending_digest: SnapshotDigest | None = None
    """A snapshot's digest whose zxid the log did not reach; digests mean nothing before."""
    is_mixture: bool = False
    """The snapshot does not say from where on digests mean something."""
    needs_initial_snapshot: bool = False
    """No snapshot is there yet: write one before the first log record (`save_initial`)."""
    following: int | None = None
    """Of `recover_until`: the first zxid that was left out."""
    fuzzy_snapshots: list[Named] = field(default_factory=list)
    """Of `recover_until`: snapshots of earlier names that hold later transactions, too."""
    warnings: list[str] = field(default_factory=list)

    @property
    def is_cut_short(self) -> bool:
        """Whether the log ends before a transaction that the snapshot held."""
        return self.proven > self.tree.last_zxid


def recover(
    fs: FileSystem,
    config: StorageConfig,
    *,
    extended_types: bool,
    recent_max: int = COMMIT_LOG_MIN_TXNS,
) -> Recovered:
    """Rebuild the tree from the data directory.

    No snapshot or log may be in writing. `recent_max` is how many transactions to keep for
    learners (`commitLogCount`). Raises DataDirError, CorruptError (the message names file,
    offset and next step) or StorageError.
    """
    try:
        return _recover(fs, config, extended_types, recent_max)
    except CorruptError as error:
        if _NEXT_STEP in str(error):
            raise
        raise CorruptError(f"{error}. {_READ_ON}") from error


def recover_until(
    fs: FileSystem, config: StorageConfig, zxid: int, *, extended_types: bool, recent_max: int
) -> Recovered:
    """The tree right behind `zxid`, from snapshots that hold nothing later and the log.

    Changes no more on the disk than a start does. Raises CutError when the directory does not
    lead there, or StorageError.
    """
    try:
        recovered = _recover(fs, config, extended_types, recent_max, zxid)
    except CorruptError as error:
        raise CutError(f"cannot go back to {show(zxid)}: {error}") from error
    tree = recovered.tree
    if recovered.snapshot is None:
        raise CutError(f"cannot go back to {show(zxid)}: no snapshot holds an earlier state only")
    following = recovered.following
    # No transaction has counter 0. The history reaches such a zxid if its epoch begins behind.
    if not counter(zxid) and following == zxid + 1 and tree.last_zxid < zxid:
        tree.last_zxid = zxid
    if tree.last_zxid != zxid:
        behind = "the end" if following is None else show(following)
        raise CutError(
            f"cannot go back to {show(zxid)}: {recovered.snapshot.name} and the log lead to "
            f"{show(tree.last_zxid)}, and {behind} follows"
        )
    return recovered


def _recover(
    fs: FileSystem,
    config: StorageConfig,
    extended_types: bool,
    recent_max: int,
    until: int | None = None,
) -> Recovered:
    layout = prepare(fs, config)
    notes = replacement.complete(fs, config)
    with _collector_off():
        began = monotonic()
        recovered = _load_snapshot(fs, config, extended_types, until)
        recovered.snapshot_ms = int((monotonic() - began) * 1000)
        recovered.recent = deque(maxlen=recent_max)
        recovered.warnings[:0] = notes
        logs = list_logs(fs, layout.logs)
        note = drop_empty_newest(fs, layout.logs, logs)
        if note:
            recovered.warnings.append(note)
        if recovered.snapshot is None and (
            until is not None or not _start_empty(fs, config, layout, recovered, logs)
        ):
            return recovered
        began = monotonic()
        _replay(fs, config, recovered, logs, until)
        recovered.replay_ms = int((monotonic() - began) * 1000)
    if recovered.snapshot is not None:
        forget_initialize(fs, config)
    _sync_what_was_read(fs, layout, recovered, logs)
    return recovered


def save_initial(fs: FileSystem, config: StorageConfig, tree: DataTree) -> str:
    """Write a whole snapshot at once, for a start; returns its name.

    It replaces any of the same zxid, also with another codec: they may hold orphans.
    """
    store = SnapshotStore(fs, config)
    writer = store.create(tree.last_zxid)
    for piece in snapshot.encode(tree, last_zxid_section=config.serialize_last_processed_zxid):
        writer.write(piece)
    name = writer.commit()
    for other in store.named():
        if other.zxid == tree.last_zxid and other.name != name:
            with failing("removing", store.directory / other.name):
                fs.unlink(store.directory / other.name)
                fs.sync_directory(store.directory)
    forget_initialize(fs, config)
    return name


def forget_initialize(fs: FileSystem, config: StorageConfig) -> None:
    """Remove the operator's mark, which counts for one start (section 5.1 step 5)."""
    path = Layout.of(config).initialize
    with failing("removing", path):
        if fs.exists(path):
            fs.unlink(path)
            fs.sync_directory(path.parent)


def drop_orphans(tree: DataTree) -> int:
    """Delete ephemerals whose session is not there, without transactions (section 5.5).

    For a standalone server and a new leader; returns how many znodes went.
    """
    before = len(tree.nodes)
    for owner in [owner for owner in tree.ephemerals if owner not in tree.sessions]:
        apply(
            tree,
            Txn(owner, 0, tree.last_zxid, 0, OpCode.CLOSE_SESSION, CloseSessionTxn([]), None),
        )
    tree.events.clear()
    return before - len(tree.nodes)


@contextmanager
def _collector_off() -> Iterator[None]:
    """Loading makes millions of objects and no garbage: collecting would only cost time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _load_snapshot(
    fs: FileSystem, config: StorageConfig, extended_types: bool, until: int | None
) -> Recovered:
    """The newest snapshot that can be read; an empty tree when there is none at all."""
    store = SnapshotStore(fs, config, extended_types=extended_types)
    damaged: list[PassedOver] = []
    incomplete: list[PassedOver] = []
    fuzzy: list[Named] = []
    warnings: list[str] = []
    for found in store.named():
        if until is not None and found.zxid > until:
            continue
        path = store.directory / found.name
        if not store.looks_valid(found):
            incomplete.append(PassedOver(found))
            warnings.append(f"{path} is incomplete and passed over")
            continue
        try:
            tree, ending = store.read(found)
        except DecodeError as error:
            damaged.append(PassedOver(found))
            warnings.append(f"{path} is damaged and passed over: {error}")
            continue
        held = held_instead(found, ending)
        if held is not None:
            damaged.append(PassedOver(found, held))
            warnings.append(f"{path} is passed over: it {wrong_name(found, held)}")
            continue
        # What the last sections say is when it was complete; what is missing there is unknown.
        if until is not None and max(ending.zxids, default=0) > until:
            fuzzy.append(found)
            continue
        tree.last_zxid = found.zxid
        recovered = Recovered(tree, found, damaged + incomplete, warnings=warnings)
        recovered.fuzzy_snapshots = fuzzy
        _use_ending(recovered, found, ending)
        return recovered
    if damaged:
        raise CorruptError(
            f"{store.directory}: no snapshot can be used. {'; '.join(warnings)}. "
            f"{_next_step(damaged)}"
        )
    tree = DataTree.pristine(extended_types=extended_types, digests=config.digest_enabled)
    return Recovered(tree, warnings=warnings)


def _use_ending(recovered: Recovered, found: Named, ending: Ending) -> None:
    """What the snapshot says of the time when it was complete."""
    carried = ending.digest
    last = ending.last_zxid if carried is None else carried.zxid
    if last is not None and counter(last):  # the zxid that an epoch begins with is in no log
        recovered.proven = last
    if carried is None:
        recovered.is_mixture = found.zxid > 0
    elif carried.zxid >= found.zxid:
        recovered.pending_digest = carried
    elif is_doubtful(found, ending):
        recovered.warnings.append(
            f"{found.name} may have been renamed or copied: its digest is that of "
            f"{show(carried.zxid)}, and nothing else in it says how far it leads"
        )


def _next_step(passed_over: list[PassedOver]) -> str:
    renamed = [one.found.name for one in passed_over if one.held is not None]
    if not renamed:
        return _NEXT_STEP
    return f"If {', '.join(renamed)} was renamed, give it back the name that it had. {_NEXT_STEP}"


def _start_empty(
    fs: FileSystem, config: StorageConfig, layout: Layout, recovered: Recovered, logs: list[Named]
) -> bool:
    """No snapshot (section 5.1 step 6): whether the logs, if any, may be replayed."""
    if logs and not config.snapshot_trust_empty:
        unusable = [found.name for found in SnapshotStore(fs, config).named()]
        raise CorruptError(
            f"{layout.logs} holds {logs[-1].name} but {layout.snapshots} holds no valid snapshot"
            f"{f' ({unusable[0]} is incomplete)' if unusable else ''}. {_NEXT_STEP} If the logs "
            "are the whole history, snapshot.trust.empty=true replays them from the start."
        )
    if logs or config.db_autocreate or fs.exists(layout.initialize):
        recovered.needs_initial_snapshot = True
        return True
    recovered.tree.last_zxid = UNTRUSTED_ZXID
    forget_initialize(fs, config)
    return False


def _replay(
    fs: FileSystem,
    config: StorageConfig,
    recovered: Recovered,
    logs: list[Named],
    until: int | None,
) -> None:
    tree = recovered.tree
    recent, events = recovered.recent, tree.events
    digests = _DigestCheck(recovered)
    last_wanted = sys.maxsize if until is None else until
    for record in records(fs, config, tree.last_zxid + 1, logs):
        zxid, payload, _, _ = record
        if zxid > last_wanted:
            recovered.following = zxid
            break
        if zxid != tree.last_zxid + 1 and not _may_follow(recovered, record):
            continue
        try:
            txn = Txn.decode(payload)
            apply(tree, txn)
        except RequestError:
            pass  # the snapshot already had the effect (section 3.4)
        except (DecodeError, ValueError, LookupError, AssertionError, TypeError) as error:
            raise CorruptError(
                f"{record.file} holds an impossible transaction {show(zxid)} "
                f"at offset {record.offset}: {error}"
            ) from error
        events.clear()
        recent.append((zxid, payload))
        recovered.replayed += 1
        digests.applied(txn)
    digests.ended()
    _check_end(recovered)


def _may_follow(recovered: Recovered, record: LogRecord) -> bool:
    """Whether a record that is not the next zxid is applied; CorruptError for a hole."""
    last = recovered.tree.last_zxid
    zxid = record.zxid
    if zxid <= last:
        # The reference applies it again, over the newer state.
        recovered.warnings.append(
            f"{record.file} repeats {show(zxid)} at offset {record.offset}: skipped"
        )
        return False
    first = last + 1
    if epoch(zxid) > epoch(last):
        # The reference lets an epoch begin anywhere. A member that got a snapshot from its
        # leader has such a hole in its log, and only that snapshot makes up for it.
        if counter(zxid) <= 1:
            lost = [one for one in recovered.passed_over if last < one.proven < zxid]
            if not lost:
                recovered.epochs_begun.append((last, zxid))
                return True
            raise CorruptError(
                f"{record.file} continues with {show(zxid)} at offset {record.offset} behind "
                f"{show(last)}, but {lost[0]} and lies between: it may have been a leader's and "
                f"hold what the log lacks. {_next_step(lost)}"
            )
        first = make(epoch(zxid), 1)
    loaded = recovered.snapshot
    if recovered.replayed or loaded is None:
        behind = f"the record before it is {show(last)}"
    else:
        behind = f"{loaded.name} ends at {show(last)}"
    if recovered.passed_over:
        behind += f" ({'; '.join(map(str, recovered.passed_over))})"
    raise CorruptError(
        f"{record.file} continues with {show(zxid)} at offset {record.offset}, but {behind}: "
        f"{show(first)} to {show(zxid - 1)} are missing. {_next_step(recovered.passed_over)}"
    )


def _check_end(recovered: Recovered) -> None:
    """A snapshot that cannot be used says by its name that its zxid was reached."""
    last = recovered.tree.last_zxid
    loaded = recovered.snapshot.name if recovered.snapshot else "nothing"
    for one in recovered.passed_over:
        if one.proven > last:
            raise CorruptError(
                f"{one}, and {loaded} with the logs behind it leads to {show(last)} only: "
                f"{show(last + 1)} to {show(one.proven)} are missing. {_next_step([one])}"
            )
        if one.found.zxid > last:
            name = one.found.name
            raise CorruptError(
                f"{one}, and {loaded} with the logs behind it leads to {show(last)}. A start comes "
                f"to that once {name} is moved out of version-2, or has the name that it had"
            )
    if recovered.pending_digest is not None:
        recovered.tree.digest_history.clear()
    if recovered.is_cut_short:
        recovered.warnings.append(
            f"the log ends at {show(last)}, although {loaded} held {show(recovered.proven)} when "
            "it was complete"
        )


class _DigestCheck:
    """Compares the tree with the digests on the way (section 6); no difference stops a start.

    Before the zxid of the snapshot's own digest the tree is a mixture. The reference's may even
    be ahead of that digest, by a part of the transaction that was just being applied: there a
    difference counts only if the next digest does not agree either. A snapshot that came from a
    leader has no digest of its own: differences count unless a later digest agrees.
    """

    def __init__(self, recovered: Recovered) -> None:
        self._recovered = recovered
        self._tree = recovered.tree
        self._doubtful: str | None = None
        """Where a difference was seen that a later agreement explains."""
        self._reached(recovered.tree.last_zxid)

    def applied(self, txn: Txn) -> None:
        if self._recovered.pending_digest is not None:
            self._reached(txn.zxid)
        elif not digest_matches(self._tree, txn):
            if self._recovered.is_mixture:
                self._doubtful = self._doubtful or f"transaction {show(txn.zxid)}"
                return
            self.ended()
            self._count(f"transaction {show(txn.zxid)}")
        elif txn.digest is not None:
            if self._doubtful is not None and self._recovered.is_mixture:
                self._tree.digest_history.clear()
            self._recovered.is_mixture = False
            self._doubtful = None

    def ended(self) -> None:
        if self._doubtful is not None:
            self._count(self._doubtful)
            self._doubtful = None

    def _reached(self, zxid: int) -> None:
        """Compare with the snapshot's digest once its zxid is there."""
        pending = self._recovered.pending_digest
        if pending is None or zxid < pending.zxid:
            return
        self._recovered.pending_digest = None
        tree = self._tree
        # What the mixture had for digests on the way is nobody's.
        while tree.digest_history and tree.digest_history[0][0] < pending.zxid:
            tree.digest_history.popleft()
        if zxid == pending.zxid and tree.digests and signed(tree.digest) != pending.digest:
            self._doubtful = f"the snapshot at {show(zxid)}"

    def _count(self, where: str) -> None:
        if not self._recovered.digest_mismatches:
            self._recovered.warnings.append(
                f"the tree digest differs from the one recorded by {where}"
            )
        self._recovered.digest_mismatches += 1


def _sync_what_was_read(
    fs: FileSystem, layout: Layout, recovered: Recovered, logs: list[Named]
) -> None:
    """Sync the files that the tree came from, and their names."""
    paths: list[PurePath] = []
    if recovered.snapshot is not None:
        paths.append(layout.snapshots / recovered.snapshot.name)
        paths += [layout.logs / log.name for log in needed_logs(logs, recovered.snapshot.zxid + 1)]
    else:
        paths += [layout.logs / log.name for log in logs]
    for path in paths:
        with failing("syncing", path):
            sync_file(fs, path)
    for directory in dict.fromkeys((layout.snapshots, layout.logs)):
        with failing("syncing", directory):
            fs.sync_directory(directory)
