"""Examining logs: each record, the order of records, holes between files, epochs, names.

Rules: reference/storage-formats.md sections 2.5, 5.2 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from zlib import adler32

from kraal.errors import DecodeError
from kraal.model.config import StorageConfig
from kraal.model.zxid import counter, epoch, make, show
from kraal.storage.data_dir import Layout
from kraal.storage.inspection.findings import Mend, Report, Severity
from kraal.storage.inspection.log_walk import Entry, Fault, LogWalk
from kraal.storage.interface import FileSystem
from kraal.storage.log_format import Tail
from kraal.storage.log_reader import list_logs
from kraal.storage.names import LOG, Named, log_name, zxid_of
from kraal.wire.records.txn import Txn

Progress = Callable[[str, int], None]
"""Told what is read and how many bytes of it were."""
RESYNC = (
    "on a member of an ensemble whose others run, move version-2 away and start it: it copies "
    "the state from its leader"
)


def accepting_mends(fs: FileSystem, path: PurePath, max_record_bytes: int) -> list[Mend]:
    """Make damaged records pass, with their content as it stands: what TxnLogToolkit -r does.

    Only what can be read as a transaction is taken; whether it is what was written nobody knows.
    """
    mends = []
    for entry in LogWalk(fs, path, max_record_bytes):
        if entry.fault is not Fault.CHECKSUM or entry.mended is not None:
            continue
        try:
            txn = Txn.decode(entry.payload)
        except (DecodeError, ValueError):
            continue
        checksum = adler32(entry.payload).to_bytes(8, "big")
        what = f"take the damaged record of {show(txn.zxid)} as it stands: rewrite its checksum"
        mends.append(Mend(what, path, edits=((entry.offset, checksum),)))
    return mends


def no_progress(_what: str, _bytes: int) -> None:
    """For whoever does not wait."""


@dataclass(slots=True)
class LogSummary:
    """What one log holds."""

    path: PurePath
    size: int = 0
    used: int = 0
    """Bytes up to the end of its last record."""
    records: int = 0
    first: int | None = None
    last: int | None = None


@dataclass(slots=True)
class LogsChecked:
    """The logs of a directory in their order, and what is wrong with them."""

    report: Report = field(default_factory=Report)
    logs: list[LogSummary] = field(default_factory=list)
    highest: int | None = None
    """The highest zxid of any whole record."""
    holes: list[tuple[int, int]] = field(default_factory=list)
    """First and last zxid of what is missing."""


class LogChecker:
    """Looks at files one after the other; a record must follow the one before it."""

    def __init__(
        self, fs: FileSystem, config: StorageConfig, progress: Progress = no_progress
    ) -> None:
        self.found = LogsChecked()
        self._fs = fs
        self._config = config
        self._progress = progress
        self._report = self.found.report
        self._before: tuple[int, PurePath] | None = None
        """The record before, and its file."""
        self._repeated: dict[PurePath, tuple[int, int, int, int]] = {}
        """Of records that come again: first and last zxid, how many, where."""
        self._hole_findings: list[tuple[int, int]] = []
        """Index of the finding, last zxid of the hole."""
        self._unfinished: tuple[int, int, Entry] | None = None
        """Of a log whose last record lacks its end byte: index of the finding, zxid, record."""
        self._is_broken = False
        """Whether damage explains what is missing behind it."""

    def directory(self, covered_by: int | None = None) -> LogsChecked:
        """All logs; a start needs only what lies behind `covered_by`, a sound snapshot."""
        directory = Layout.of(self._config).logs
        logs = list_logs(self._fs, directory)
        for number, log in enumerate(logs):
            self.file(directory / log.name, is_newest=number == len(logs) - 1)
        self._judge_holes(covered_by)
        self._tell_repeated()
        self._find_copies(directory, logs)
        return self.found

    def file(self, path: PurePath, *, is_newest: bool = True) -> LogSummary:
        """One log, behind those before it."""
        walk = LogWalk(self._fs, path, self._config.max_record_bytes)
        summary = LogSummary(path)
        self.found.logs.append(summary)
        if self._report.has_no_file(self._fs, path):
            self._is_broken = True
            return summary
        seen = 0
        is_named_by_first = True
        for entry in walk:
            self._progress(str(path), entry.offset - seen)
            seen = entry.offset
            self._entry(path, entry)
            if entry.txn is None and not summary.records:
                is_named_by_first = False
            if entry.zxid is not None and (entry.fault is None or entry.mended):
                summary.records += 1
                summary.first = entry.zxid if summary.first is None else summary.first
                summary.last = entry.zxid
        summary.size, summary.used = walk.size, walk.end
        self._ended(walk, summary, is_newest)
        if is_named_by_first:
            self._check_name(path, summary)
        return summary

    def _entry(self, path: PurePath, entry: Entry) -> None:
        if entry.fault is not None:
            self._faulty(path, entry)
        if entry.txn is None:
            self._is_broken = True
            return
        self._follow(path, entry, entry.txn.zxid)

    def _faulty(self, path: PurePath, entry: Entry) -> None:
        assert entry.fault is not None
        zxid = entry.zxid
        which = f"the record of {show(zxid)}" if entry.txn is not None and zxid else "a record"
        text = f"{which} is damaged: {entry.fault.value}"
        if entry.detail:
            text += f" ({entry.detail})"
        kind = {
            Fault.CHECKSUM: "wrong-checksum",
            Fault.END_BYTE: "lost-end-byte",
            Fault.LENGTH: "wrong-length",
            Fault.CONTENT: "impossible-transaction",
        }[entry.fault]
        mend = None
        if entry.mended is not None:
            text += "; one flipped bit explains it"
            mend = Mend(
                "put back the bit that was flipped", path, edits=((entry.offset, entry.mended),)
            )
        self._report.add(
            kind,
            Severity.ERROR,
            text,
            path,
            offset=entry.offset,
            remedy="" if mend else f"restore the file from a backup, or {RESYNC}",
            mend=mend,
        )

    def _follow(self, path: PurePath, entry: Entry, zxid: int) -> None:
        """Compare with the record before it."""
        self._finish(zxid)
        before, self._before = self._before, (zxid, path)
        highest = self.found.highest
        self.found.highest = zxid if highest is None else max(highest, zxid)
        broken, self._is_broken = self._is_broken, False
        if before is None or zxid == before[0] + 1:
            return
        last = before[0]
        if zxid <= last:
            self._before = before
            first, _, count, offset = self._repeated.get(path, (zxid, zxid, 0, entry.offset))
            self._repeated[path] = first, zxid, count + 1, offset
            return
        if epoch(zxid) > epoch(last) and counter(zxid) <= 1:
            return
        first = last + 1 if epoch(zxid) == epoch(last) else make(epoch(zxid), 1)
        self.found.holes.append((first, zxid - 1))
        if not broken:
            self._hole_findings.append((len(self._report.findings), zxid - 1))
            self._report.add(
                "hole",
                Severity.ERROR,
                f"{show(first)} to {show(zxid - 1)} are missing between {before[1].name} and "
                f"{show(zxid)}",
                path,
                offset=entry.offset,
                remedy=f"put the missing file back, or {RESYNC}",
            )

    def _finish(self, zxid: int) -> None:
        """A record without its end byte was whole once, if the next file goes on behind it."""
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is None or zxid != unfinished[1] + 1:
            return
        at, last, entry = unfinished
        torn = self._report.findings[at]
        assert entry.mended is not None and torn.path is not None
        self._before = last, torn.path
        self._report.findings[at] = replace(
            torn,
            kind="lost-end-byte",
            severity=Severity.ERROR,
            text=f"the record of {show(last)} lost its end byte: the next log goes on behind it",
            mend=Mend("put its end back", torn.path, edits=((entry.offset, entry.mended),)),
        )

    def _ended(self, walk: LogWalk, summary: LogSummary, is_newest: bool) -> None:
        path = walk.path
        if walk.fault is Fault.SHORT and walk.is_header_whole:
            self._short(walk, is_newest)
        elif walk.fault in (Fault.SHORT, Fault.HEADER):
            self._is_broken = True
            self._report.add(
                "foreign-file",
                Severity.ERROR,
                f"this is no log, although its name says so: {walk.detail}",
                path,
                remedy="if it is a copy or an archive, move it out of version-2; if it is a "
                f"damaged log, restore it, or {RESYNC}",
            )
        elif walk.fault is not None:
            self._is_broken = True
            self._report.add(
                "unreadable-rest",
                Severity.ERROR,
                f"nothing can be read behind {walk.detail}",
                path,
                offset=walk.end,
                remedy="a crash while much was written at once can leave this, too, and then "
                f"nobody was told of what follows; else restore the file, or {RESYNC}",
            )
        elif walk.tail in (Tail.CUT, Tail.UNFINISHED):
            if (entry := walk.unfinished) is not None and entry.txn is not None:
                self._unfinished = len(self._report.findings), entry.txn.zxid, entry
            self._report.add(
                "torn-tail",
                Severity.NOTE,
                f"the last record was being written when the server died ({walk.tail.value}); "
                "nobody was told that it was written, and a start skips it",
                path,
                offset=walk.end,
                mend=Mend("cut the unfinished record off", path, cut=walk.end),
            )
        elif not summary.records:
            self._report.add("empty-log", Severity.NOTE, "the log holds no record", path)

    def _short(self, walk: LogWalk, is_newest: bool) -> None:
        if is_newest:
            severity, text = (
                Severity.NOTE,
                "the log was created and never written; a start removes it",
            )
        else:
            severity, text = Severity.ERROR, "the log holds no record, and a start stumbles over it"
        self._report.add(
            "zero-length-log" if not walk.size else "short-log",
            severity,
            f"{walk.size} bytes: {text}",
            walk.path,
            mend=Mend("move the log without a record away", walk.path, set_aside=True),
        )

    def _check_name(self, path: PurePath, summary: LogSummary) -> None:
        named = zxid_of(path.name, LOG)
        if named is None or summary.first is None or named == summary.first:
            return
        right = path.with_name(log_name(summary.first))
        is_free = not self._fs.exists(right)
        self._report.add(
            "misnamed-log",
            Severity.ERROR if named > summary.first else Severity.WARNING,
            f"its first record is {show(summary.first)}: files are chosen and ordered by name",
            path,
            remedy="" if is_free else f"{right.name} is there already; compare the two",
            mend=Mend(f"rename it to {right.name}", path, new_name=right.name) if is_free else None,
        )

    def _judge_holes(self, covered_by: int | None) -> None:
        """A hole below a sound snapshot stops no start that can use it."""
        if covered_by is None:
            return
        findings = self._report.findings
        for at, last in self._hole_findings:
            if last <= covered_by:
                findings[at] = replace(
                    findings[at],
                    kind="covered-hole",
                    severity=Severity.WARNING,
                    text=f"{findings[at].text}; a later snapshot makes up for them, and a start "
                    "cannot go back behind it",
                    remedy="",
                )

    def _tell_repeated(self) -> None:
        for path, (first, last, count, offset) in self._repeated.items():
            self._report.add(
                "repeated-records",
                Severity.WARNING,
                f"{count} records ({show(first)} to {show(last)}) were there before; a start "
                "skips them",
                path,
                offset=offset,
            )

    def _find_copies(self, directory: PurePath, logs: list[Named]) -> None:
        """Files such as `log.5.bak`, which both servers read as well."""
        summaries = {summary.path.name: summary for summary in self.found.logs}
        for log in logs:
            if log.name.count(".") == 1:
                continue
            path = directory / log.name
            copy, twin = summaries[log.name], summaries.get(log_name(log.zxid))
            is_held = (
                twin is not None
                and copy.first == twin.first
                and (copy.last or 0) <= (twin.last or 0)
                and copy.records <= twin.records
            )
            self._report.add(
                "copied-log",
                Severity.WARNING,
                "for both servers this is a log like any other, whatever its ending",
                path,
                remedy="" if is_held else "keep copies outside version-2",
                mend=Mend("move the copy away", path, set_aside=True) if is_held else None,
            )
