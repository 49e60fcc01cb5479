"""Everything that can be told about a data directory: what is wrong, how bad, how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from kraal.errors import ConfigError, StorageError
from kraal.model.config import ServerConfig, StorageConfig
from kraal.model.ensemble import EnsembleConfig
from kraal.model.path import CONFIG, LIMITS_NAME, QUOTA
from kraal.model.setting import decimal
from kraal.model.zxid import epoch, show
from kraal.storage import atomic_file
from kraal.storage.data_dir import INITIALIZE_NAME, Layout
from kraal.storage.epochs import ACCEPTED_NAME, CURRENT_NAME
from kraal.storage.inspection import backup, snapshots
from kraal.storage.inspection.findings import Mend, Report, Severity
from kraal.storage.inspection.log_check import (
    RESYNC,
    LogChecker,
    LogsChecked,
    Progress,
    no_progress,
)
from kraal.storage.inspection.repair import Outcome, tried
from kraal.storage.inspection.target import is_in_use
from kraal.storage.interface import FileSystem, failing
from kraal.storage.names import BEFORE_REPAIR, LOG, REPLACED, SNAPSHOT, UNFINISHED, zxid_of
from kraal.storage.recovery import Recovered
from kraal.tree.data_tree import DataTree

_ATTEMPTS = 3
"""While a server runs, it may purge or roll what is being read."""
_INTERRUPTED = ("cut-history.", "adopted-snapshot.")
_MYID = "myid"


@dataclass(slots=True)
class Diagnosis:
    """The findings, what a start comes to as things are, and after the mends."""

    report: Report
    outcome: Outcome
    mended: Outcome | None = None
    """None: nothing can be mended."""
    in_use: bool = False
    logs: LogsChecked | None = None


def examine(
    fs: FileSystem,
    config: StorageConfig,
    server: ServerConfig | None = None,
    *,
    progress: Progress = no_progress,
) -> Diagnosis:
    """Read everything and try a start in memory, which takes as much of it as a server does.

    `server` is the configuration that belongs to the directory, if it is known. Changes
    nothing. Raises StorageError when the directory cannot be read at all.
    """
    for attempt in range(_ATTEMPTS):
        try:
            found = _examined(fs, config, server, progress)
        except StorageError:
            if attempt == _ATTEMPTS - 1 or not is_in_use(fs, config):
                raise
            continue
        if found.outcome.recovered is not None or not found.in_use:
            return found
    return found


def _examined(
    fs: FileSystem, config: StorageConfig, server: ServerConfig | None, progress: Progress
) -> Diagnosis:
    report = Report()
    in_use = is_in_use(fs, config)
    if in_use:
        report.add("in-use", Severity.NOTE, f"a server runs on {config.data_dir}")
    elif fs.exists(config.data_dir / backup.MANIFEST):
        of_backup, fs = backup.examined(fs, config.data_dir, progress)
        report.findings += of_backup.findings
    _check_names(fs, config, report)
    _check_room(fs, config, report)
    checked = snapshots.check(fs, config, progress)
    newest = checked.sound[0].zxid if checked.sound else None
    logs = LogChecker(fs, config, progress).directory(newest)
    report.findings += checked.report.findings + logs.report.findings
    outcome = tried(fs, config)
    last = outcome.zxid if outcome.zxid is not None else logs.highest
    _check_epochs(fs, config, report, last if last is not None else 0)
    _check_myid(fs, config, report)
    _mend_misnamed(fs, config, report, checked)
    mends = report.mends
    mended = tried(fs, config, mends) if mends else None
    if outcome.recovered is None:
        remedy = ""
        if mended is None or mended.recovered is None:
            way_out = _without_damaged(fs, config, report)
            remedy = RESYNC if way_out is None else f"{RESYNC}; {way_out}"
        report.add("start-refused", Severity.ERROR, outcome.error, remedy=remedy)
    else:
        _check_end(fs, config, report, outcome, server)
        _check_state(report, outcome, server, logs)
    return Diagnosis(report, outcome, mended, in_use, logs)


def _mend_misnamed(
    fs: FileSystem, config: StorageConfig, report: Report, checked: snapshots.SnapshotsChecked
) -> None:
    """A misnamed snapshot may go if all that it holds is there without it."""
    mends = {
        one.path: snapshots.moved_away(one.path)
        for one in report.findings
        if one.path in checked.misnamed and one.path is not None and one.mend is None
    }
    if not mends:
        return
    recovered = tried(fs, config, [*report.mends, *mends.values()]).recovered
    for at, finding in enumerate(report.findings):
        if finding.path is None or finding.path not in mends:
            continue
        held = checked.misnamed[finding.path]
        if recovered is None or held > recovered.tree.last_zxid or _is_between(held, recovered):
            remedy = "give it back the name that it had: what it holds is nowhere else"
            report.findings[at] = replace(finding, remedy=remedy)
        else:
            report.findings[at] = replace(finding, remedy="", mend=mends[finding.path])


def _is_between(zxid: int, recovered: Recovered) -> bool:
    """Whether a snapshot of it may be a leader's, between two epochs of the log: nothing else
    makes up for that."""
    return any(last < zxid < first for last, first in recovered.epochs_begun)


def _without_damaged(fs: FileSystem, config: StorageConfig, report: Report) -> str | None:
    """What a server that is alone can do, if snapshots that cannot be used are in the way."""
    paths = [
        one.path
        for one in report.findings
        if one.path is not None and one.mend is None and one.kind in snapshots.DAMAGED_KINDS
    ]
    mends = [Mend("move it out of version-2", path, set_aside=True) for path in paths]
    outcome = tried(fs, config, mends) if mends else Outcome()
    if outcome.zxid is None:
        return None
    return (
        "a server that is alone: restore a backup, or give up what is missing by moving "
        f"{', '.join(path.name for path in paths)} out of version-2: then a start comes to "
        f"{show(outcome.zxid)}"
    )


def _names(fs: FileSystem, directory: PurePath) -> list[str]:
    with failing("listing", directory):
        return sorted(fs.listdir(directory))


def _check_names(fs: FileSystem, config: StorageConfig, report: Report) -> None:
    layout = Layout.of(config)
    for directory in dict.fromkeys((layout.snapshots, layout.logs)):
        for name in _names(fs, directory):
            _check_name(report, directory, name)
    if layout.snapshots != layout.logs:
        for directory, foreign, key in (
            (layout.snapshots, LOG, "dataDir"),
            (layout.logs, SNAPSHOT, "dataLogDir"),
        ):
            for name in _names(fs, directory):
                if name.startswith(foreign + "."):
                    report.add(
                        "mixed-directories",
                        Severity.ERROR,
                        f"a {foreign} has no place in {key}; no server starts",
                        directory / name,
                        remedy="check dataDir and dataLogDir in zoo.cfg, or move the file over",
                    )
    with failing("reading", layout.initialize):
        if fs.exists(layout.initialize):
            report.add(
                "initialize-mark",
                Severity.NOTE,
                f"{INITIALIZE_NAME} is there: the next start may begin a new history",
                layout.initialize,
            )


def _check_name(report: Report, directory: PurePath, name: str) -> None:
    path = directory / name
    kind, _, _ = name.partition(".")
    if kind in (LOG, SNAPSHOT) and "." in name and zxid_of(name, kind) is None:
        report.add(
            "stray-name",
            Severity.WARNING,
            "the name has no zxid: servers overlook it, and Apache ZooKeeper's purge deletes it",
            path,
            remedy="move it out of version-2",
        )
    elif name.startswith(UNFINISHED):
        report.add(
            "unfinished-file",
            Severity.NOTE,
            "being written, or left by a crash; the next start removes it",
            path,
        )
    elif name.startswith(_INTERRUPTED):
        report.add(
            "interrupted-change",
            Severity.NOTE,
            "a leader's history was being taken over; the next start completes that",
            path,
        )
    elif name.startswith(REPLACED):
        report.add(
            "replaced-file",
            Severity.NOTE,
            "gave way to another history: a leader's, or one of a restore or force-new",
            path,
        )
    elif name.startswith(BEFORE_REPAIR):
        report.add("kept-file", Severity.NOTE, "as it was before a repair", path)


def _check_room(fs: FileSystem, config: StorageConfig, report: Report) -> None:
    layout = Layout.of(config)
    for directory in dict.fromkeys((layout.snapshots, layout.logs)):
        with failing("measuring", directory):
            free = fs.free_bytes(directory)
        if free < config.disk_refuse_free_bytes:
            severity, then = Severity.ERROR, "writes are refused"
        elif free < config.disk_warn_free_bytes:
            severity, then = Severity.WARNING, "before long writes are refused"
        else:
            continue
        report.add(
            "disk-full",
            severity,
            f"{free >> 20} MiB are free: {then}",
            directory,
            remedy="make room: kraal purge, autopurge.retainBytes, or a larger disk",
        )


def _check_epochs(fs: FileSystem, config: StorageConfig, report: Report, last: int) -> None:
    directory = Layout.of(config).snapshots
    values: dict[str, int] = {}
    for name in (ACCEPTED_NAME, CURRENT_NAME):
        path = directory / name
        with failing("reading", path):
            content = fs.read(path, 0, 64) if fs.exists(path) else None
            has_tmp = fs.exists(atomic_file.tmp_path(path))
        if has_tmp:
            report.add(
                "unfinished-epoch",
                Severity.NOTE,
                "left by a crash while the epoch was being saved",
                atomic_file.tmp_path(path),
            )
        if content is None:
            continue
        lines = content.decode("latin-1").splitlines()
        number = decimal(lines[0], bits=64) if lines else None
        if number is None:
            _bad_epoch(report, path, lines)
        else:
            values[name] = number
    accepted, current = values.get(ACCEPTED_NAME), values.get(CURRENT_NAME)
    if accepted is not None and current is not None and accepted < current:
        report.add(
            "lost-promise",
            Severity.ERROR,
            f"acceptedEpoch {accepted} is less than currentEpoch {current}: the promise not to "
            "follow an older leader was lost",
            directory / ACCEPTED_NAME,
            remedy=RESYNC,
        )
    if current is not None and 0 <= current < epoch(last):
        report.add(
            "old-epoch",
            Severity.WARNING,
            f"currentEpoch {current} is older than the last zxid, {show(last)}: kraal puts it "
            "right, Apache ZooKeeper refuses to start",
            directory / CURRENT_NAME,
        )


def _bad_epoch(report: Report, path: PurePath, lines: Sequence[str]) -> None:
    text = f"this is no epoch: {lines[0][:40]!r}" if lines else "this is no epoch: it is empty"
    if path.name == CURRENT_NAME:
        # Without the file a start takes the epoch of the last zxid, which claims nothing more.
        report.add(
            "bad-epoch",
            Severity.ERROR,
            text,
            path,
            mend=Mend("move it away; the next start writes it anew", path, set_aside=True),
        )
    else:
        report.add(
            "bad-epoch",
            Severity.ERROR,
            f"{text}; it held a promise that nothing else tells",
            path,
            remedy=RESYNC,
        )


def _check_myid(fs: FileSystem, config: StorageConfig, report: Report) -> None:
    path = config.data_dir / _MYID
    with failing("reading", path):
        if not fs.exists(path):
            return
        lines = fs.read(path, 0, 64).decode("latin-1").splitlines()
    if not lines or decimal(lines[0], bits=64) is None:
        report.add(
            "bad-myid",
            Severity.ERROR,
            f"{lines[0][:40]!r} is no server id" if lines else "it is empty",
            path,
            remedy="write the number of this server's server.N line into it, and nothing else",
        )


def _check_end(
    fs: FileSystem,
    config: StorageConfig,
    report: Report,
    outcome: Outcome,
    server: ServerConfig | None,
) -> None:
    """Whether the snapshot held more than the log has.

    A member applies what is committed, in its own log or not. kraal's snapshots wait for their
    log, those of Apache ZooKeeper do not, and a killed process leaves the snapshot without it.
    """
    recovered = outcome.recovered
    if recovered is None or recovered.snapshot is None or not recovered.is_cut_short:
        return
    last, proven = recovered.tree.last_zxid, recovered.proven
    directory = Layout.of(config).snapshots
    if server is not None:
        is_member = server.ensemble is not None
    else:
        with failing("reading", directory):
            is_member = fs.exists(directory / CURRENT_NAME)
    severity, otherwise = Severity.ERROR, "without it these transactions are lost"
    if is_member:
        severity, otherwise = (
            Severity.WARNING,
            "else the leader sends what is missing: a killed member of an Apache ensemble may "
            "leave a snapshot of what its own log had not yet",
        )
    report.add(
        "missing-end",
        severity,
        f"it held {show(proven)} when it was complete, and the logs end at {show(last)}",
        directory / recovered.snapshot.name,
        remedy=f"put the log back, if one was removed; {otherwise}",
    )


def _check_state(
    report: Report, outcome: Outcome, server: ServerConfig | None, logs: LogsChecked
) -> None:
    """What the recovered state tells."""
    recovered = outcome.recovered
    assert recovered is not None
    tree = recovered.tree
    if recovered.digest_mismatches:
        report.add(
            "digest-mismatch",
            Severity.WARNING,
            f"the tree differs from the digests of {recovered.digest_mismatches} transactions: "
            "histories were mixed, or a file was changed",
            remedy=f"compare with another member (four-letter word hash); {RESYNC}",
        )
    if logs.highest is not None and logs.highest > tree.last_zxid:
        report.add(
            "unreachable-records",
            Severity.ERROR,
            f"the logs hold records up to {show(logs.highest)}, and a start comes to "
            f"{show(tree.last_zxid)} only",
        )
    if QUOTA + LIMITS_NAME in tree.nodes:
        report.add(
            "root-quota",
            Severity.WARNING,
            "there is a quota on the root: Apache ZooKeeper ends at every start",
            remedy="delete /zookeeper/quota/zookeeper_limits before you go back to it",
        )
    if server is not None:
        _check_settings(report, tree, server)


def _check_settings(report: Report, tree: DataTree, server: ServerConfig) -> None:
    if tree.ttls and not server.extended_types:
        report.add(
            "ttl-without-types",
            Severity.WARNING,
            f"{len(tree.ttls)} TTL znodes, and extendedTypesEnabled is off: a start takes them "
            "for ephemerals of sessions that are gone, and deletes them",
            remedy="set extendedTypesEnabled=true",
        )
    held = tree.nodes.get(CONFIG)
    if server.ensemble is None or held is None or not held.data:
        return
    try:
        known = EnsembleConfig.parse(held.data.decode("utf-8", "replace"), multi_address=True)
    except ConfigError:
        return
    ours = server.ensemble.config
    if server.server_id not in known.members:
        report.add(
            "foreign-data",
            Severity.WARNING,
            f"the data know the members {_ids(known)}, and this server is {server.server_id}: "
            "they may be those of another ensemble",
        )
    elif known.members.keys() != ours.members.keys():
        report.add(
            "other-members",
            Severity.WARNING,
            f"the data know the members {_ids(known)}, the configuration {_ids(ours)}",
            remedy="after a reconfiguration zoo.cfg points to the newest dynamic file",
        )


def _ids(config: EnsembleConfig) -> str:
    return ", ".join(map(str, config.members))
