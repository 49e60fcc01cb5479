"""`kraal log`: dump, verify, repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import click

from kraal.cli.tools.places import FS, directory_of, size_of
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
from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.storage.inspection import repair as repairs
from kraal.storage.inspection import snapshots
from kraal.storage.inspection.findings import Mend, Report, Severity
from kraal.storage.inspection.log_check import LogChecker, LogsChecked, accepting_mends
from kraal.storage.inspection.log_walk import Entry, LogWalk
from kraal.storage.inspection.target import log_paths
from kraal.storage.inspection.txn_text import as_json, line

HEADER_LINE = "ZooKeeper Transactional Log File with dbid 0 txnlog format version 2"


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
    if path.is_file() and path.name.startswith("log."):
        parent = PurePath(path.parent)
        config = StorageConfig(data_dir=parent, data_log_dir=parent)
        return Place(config, [PurePath(path)], is_whole=False)
    if path.is_file() and path.name.startswith("snapshot."):
        raise click.UsageError(f"{path} is a snapshot, not a log: kraal snapshot dump {path}")
    config = directory_of(path, log_directory)
    return Place(config, log_paths(FS, config), is_whole=True)


def entries(found: Place, first: int, last: int | None) -> Iterator[tuple[LogWalk, Entry]]:
    for path in found.logs:
        walk = LogWalk(FS, path, found.config.max_record_bytes)
        for entry in walk:
            zxid = entry.zxid
            if zxid is None or (zxid >= first and (last is None or zxid <= last)):
                yield walk, entry


@failing
def dump(
    path: Path, log_directory: Path | None, first: int, last: int | None, is_json: bool
) -> int:
    """Every record as TxnLogToolkit prints it, or as a line of JSON."""
    found = place(path, log_directory)
    code, count = Severity.NOTE, 0
    if not is_json:
        click.echo(HEADER_LINE)
    for walk, entry in entries(found, first, last):
        if entry.fault is not None:
            code = Severity.ERROR
        if is_json:
            write_json(_entry_json(walk.path, entry))
            continue
        count += 1
        prefix = "" if entry.fault is None else "DAMAGED "
        shown = line(entry.txn) if entry.txn is not None else f"{len(entry.payload)} bytes"
        why = "" if entry.fault is None else f"  ({entry.fault.value}, offset {entry.offset})"
        click.echo(f"{prefix}{shown}{why}")
    if not is_json:
        click.echo(f"EOF reached after {count} txns.")
    return int(code)


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
    if accept:
        for log in found.logs:
            mends += accepting_mends(FS, log, found.config.max_record_bytes)
    write_findings(report.findings)
    left = [one for one in report.findings if one.mend is None and one.severity > Severity.NOTE]
    if not mends:
        click.echo("There is nothing to mend." if not left else "Nothing of this can be mended.")
        return int(max((one.severity for one in left), default=Severity.NOTE))

    def recheck() -> Report:
        return checked(place(path, log_directory), "looking again").report

    return make(found.directory, mends, report, recheck, dry_run=dry_run, is_sure=is_sure)


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
