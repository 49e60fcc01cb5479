"""What an examination finds, how bad it is, and how it can be mended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import PurePath

from kraal.storage.interface import NO_FILE, FileSystem, failing


class Severity(IntEnum):
    """The exit code of the tools is that of the worst finding."""

    NOTE = 0
    WARNING = 1
    """A server starts, but something is lost or will be missed."""
    ERROR = 3
    """A start is refused, or shows another state than it should."""


@dataclass(frozen=True, slots=True)
class Mend:
    """A change of one file that loses no acknowledged write; the file as it was is kept."""

    what: str
    """What is done, for the operator."""
    path: PurePath
    edits: tuple[tuple[int, bytes], ...] = ()
    """Bytes to put at offsets."""
    cut: int | None = None
    """The size that the file gets."""
    new_name: str | None = None
    """The name that it gets in its directory."""
    set_aside: bool = False
    """Whether it is only moved away."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    """A stable word for programs, such as `torn-tail`."""
    severity: Severity
    text: str
    path: PurePath | None = None
    offset: int | None = None
    remedy: str = ""
    """What the operator can do, where no mend does it."""
    mend: Mend | None = None

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}"
        if self.offset is not None:
            where += f" at offset {self.offset}"
        return f"{where}: {self.text}" if where else self.text


@dataclass(slots=True)
class Report:
    """All findings of one examination."""

    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        kind: str,
        severity: Severity,
        text: str,
        path: PurePath | None = None,
        *,
        offset: int | None = None,
        remedy: str = "",
        mend: Mend | None = None,
    ) -> None:
        self.findings.append(Finding(kind, severity, text, path, offset, remedy, mend))

    def has_no_file(self, fs: FileSystem, path: PurePath) -> bool:
        """Whether what is there is no file, which is told of. Raises StorageError."""
        with failing("reading", path):
            if fs.is_file(path):
                return False
        what, _, remedy = NO_FILE.partition(": ")
        text = f"{what}, although its name is one of version-2: a start is refused"
        self.add("no-file", Severity.ERROR, text, path, remedy=remedy)
        return True

    @property
    def severity(self) -> Severity:
        return max((finding.severity for finding in self.findings), default=Severity.NOTE)

    @property
    def mends(self) -> list[Mend]:
        """In the order in which they are made; each once."""
        return list(dict.fromkeys(f.mend for f in self.findings if f.mend is not None))

    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.findings]
