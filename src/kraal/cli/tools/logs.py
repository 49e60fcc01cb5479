"""`kraal log`: dump, verify, repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import click

from kraal.cli.tools.places import FS, directory_of, kind_of, size_of
from kraal.cli.tools.terminal import (
    confirmed,
    counted,
    failing,
    finding_json,
    reading,
    write_findings,
    write_json,
    write_table,
)
from kraal.errors import CorruptError
from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.storage.inspection import repair as repairs
from kraal.storage.inspection import snapshots
from kraal.storage.inspection.file_kind import FileKind
from kraal.storage.inspection.findings import Mend, Report, Severity
from kraal.storage.inspection.log_check import LogChecker, LogsChecked, accepting_mends
from kraal.storage.inspection.log_walk import Entry, LogWalk
from kraal.storage.inspection.target import log_paths
from kraal.storage.inspection.txn_text import as_json, line

_HEADER_LINE = (
    "ZooKeeper Transactional Log File with dbid {0.dbid} txnlog format version {0.version}"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A log, or the logs of a directory; `is_whole`: how they join can be told."""

    config: StorageConfig
    logs: list[PurePath]
    is_whole: bool

    @property
    def directory(self) -> StorageConfig | None:
        """The data directory that a repair changes, if it is one."""
        return self.config if self.is_whole else None


def place(path: Path, log_directory: Path | None) -> Place:
    """What `path` names: one log, or a data directory, or a zoo.cfg."""
    kind = kind_of(path) if path.is_file() else None
    if kind is FileKind.LOG:
        parent = PurePath(path.parent)
        config = StorageConfig(data_dir=parent, data_log_dir=parent)
        return Place(config, [PurePath(path)], is_whole=False)
    if kind is FileKind.SNAPSHOT:
        raise click.UsageError(f"{path} is a snapshot, not a log: kraal snapshot dump {path}")
    config = directory_of(path, log_directory)
    return Place(config, log_paths(FS, config), is_whole=True)


@failing
def dump(
    path: Path, log_directory: Path | None, first: int, last: int | None, is_json: bool
) -> int:
    """Every record as TxnLogToolkit prints it, or as a line of JSON."""
    found = place(path, log_directory)
    code, count, has_header = Severity.NOTE, 0, is_json
    walks = [LogWalk(FS, log, found.config.max_record_bytes) for log in found.logs]
    for walk in walks:
        if not walk.begin() and not found.is_whole:
            raise CorruptError(walk.ended)
        if not has_header and walk.header is not None:
            click.echo(_HEADER_LINE.format(walk.header))
            has_header = True
        for entry in walk:
            zxid = entry.zxid
            if zxid is not None and (zxid < first or (last is not None and zxid > last)):
                continue
            count += 1
            if entry.fault is not None:
                code = Severity.ERROR
            _write_entry(walk.path, entry, is_json)
        if walk.fault is not None and not (walk is walks[-1] and walk.is_header_whole):
            code = Severity.ERROR
            _write_rest(walk, is_json)
    if not is_json:
        click.echo(f"EOF reached after {count} txns.")
    return int(code)


def _write_entry(path: PurePath, entry: Entry, is_json: bool) -> None:
    if is_json:
        write_json(_entry_json(path, entry))
        return
    prefix = "" if entry.fault is None else "DAMAGED "
    shown = line(entry.txn) if entry.txn is not None else f"{len(entry.payload)} bytes"
    why = "" if entry.fault is None else f"  ({entry.fault.value}, offset {entry.offset})"
    click.echo(f"{prefix}{shown}{why}")


def _write_rest(walk: LogWalk, is_json: bool) -> None:
    """Why nothing more of a log is printed."""
    if is_json:
        assert walk.fault is not None
        write_json({"file": walk.path.name, "offset": walk.end, "fault": walk.fault.value})
    else:
        click.echo(f"DAMAGED {walk.ended}")


def _entry_json(path: PurePath, entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"size": len(entry.payload)}
    if entry.txn is not None:
        found = as_json(entry.txn)
    found |= {"file": path.name, "offset": entry.offset}
    if entry.fault is not None:
        found["fault"] = entry.fault.value
    return found


def checked(found: Place, what: str) -> LogsChecked:
    """The findings of these logs, judged by the snapshots beside them."""
    with reading(what, size_of(*found.logs)) as progress:
        checker = LogChecker(FS, found.config, progress)
        if not found.is_whole:
            for path in found.logs:
                checker.file(path)
            return checker.found
        newest = snapshots.newest_sound(FS, found.config)
        return checker.directory(newest.zxid if newest is not None else None)


@failing
def verify(path: Path, log_directory: Path | None, is_json: bool) -> int:
    """Checksums, order, holes, names; the exit code is that of the worst finding."""
    result = checked(place(path, log_directory), "verifying")
    findings = result.report.findings
    if is_json:
        write_json(
            {
                "logs": [
                    {
                        "file": str(log.path),
                        "records": log.records,
                        "first_zxid": None if log.first is None else show(log.first),
                        "last_zxid": None if log.last is None else show(log.last),
                        "size": log.size,
                        "used": log.used,
                    }
                    for log in result.logs
                ],
                "findings": [finding_json(finding) for finding in findings],
            }
        )
        return int(result.report.severity)
    write_table(
        ("LOG", "RECORDS", "FIRST", "LAST", "USED"),
        [
            (
                log.path.name,
                log.records,
                "-" if log.first is None else show(log.first),
                "-" if log.last is None else show(log.last),
                log.used,
            )
            for log in result.logs
        ],
    )
    write_findings(findings)
    if not findings:
        click.echo("Every record is sound, and each follows the one before it.")
    return int(result.report.severity)


@failing
def repair(
    path: Path,
    log_directory: Path | None,
    *,
    accept: bool,
    dry_run: bool,
    is_sure: bool,
) -> int:
    """Cut torn tails, put flipped bits back, move empty files away; nothing acknowledged goes."""
    found = place(path, log_directory)
    result = checked(found, "looking for damage")
    report = result.report
    mends = report.mends
    if accept:  # before a file gets another name
        for log in found.logs:
            mends[:0] = accepting_mends(FS, log, found.config.max_record_bytes)
    write_findings(report.findings)
    left = [one for one in report.findings if one.mend is None and one.severity > Severity.NOTE]
    if not mends:
        click.echo("There is nothing to mend." if not left else "Nothing of this can be mended.")
        return int(max((one.severity for one in left), default=Severity.NOTE))

    def recheck() -> Report:
        logs = log_paths(FS, found.config) if found.is_whole else _mended(found.logs, mends)
        return checked(replace(found, logs=logs), "looking again").report

    return make(found.directory, mends, report, recheck, dry_run=dry_run, is_sure=is_sure)


def _mended(logs: list[PurePath], mends: list[Mend]) -> list[PurePath]:
    """Where single logs are after these mends; one that holds nothing is not there any more."""
    now = {log: log for log in logs}
    for mend in mends:
        if mend.set_aside:
            now.pop(mend.path)
        elif mend.new_name is not None:
            now[mend.path] = mend.path.with_name(mend.new_name)
    return list(now.values())


def make(
    config: StorageConfig | None,
    mends: list[Mend],
    report: Report,
    recheck: Callable[[], Report],
    *,
    dry_run: bool,
    is_sure: bool,
    to_look: str = "--dry-run to look only",
) -> int:
    """Say what would be done and what comes of it, ask, do it; the exit code says what is left.

    `config` is None for a file that lies in no data directory.
    """
    click.echo()
    for mend in mends:
        click.echo(f"{mend.path}: {mend.what}")
    if config is not None:
        before, after = str(repairs.tried(FS, config)), str(repairs.tried(FS, config, mends))
        if before == after:
            click.echo("What a start comes to stays the same.")
        else:
            click.echo(f"As it is:  {before}")
            click.echo(f"Afterwards: {after}")
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")
        return int(report.severity)
    confirmed("Do it?", is_sure=is_sure, to_look=to_look)
    repairs.carry_out(
        FS, config, mends, done=lambda mend: click.echo(f"done: {mend.path}: {mend.what}")
    )
    click.echo("What was there stays beside it as before-repair-...")
    left = recheck()
    known = {str(one) for one in report.findings}
    serious = [one for one in left.findings if one.severity > Severity.NOTE]
    write_findings(one for one in serious if str(one) not in known)
    if old := sum(str(one) in known for one in serious):
        click.echo(f"Of what is said above is left: {counted(old, 'finding')}")
    return int(left.severity)
