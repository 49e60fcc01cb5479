"""What members of an ensemble print that they should not have had to print."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interop.kill_check import BrokenPromiseError
from tests.support.ensembles import KRAAL, Ensemble

_COMPLAINT = re.compile(r" (WARN|WARNING|ERROR|CRITICAL) |^Traceback")
_SHOWN = 20
HARMLESS: tuple[tuple[str, str], ...] = ()
"""Patterns of Apache's log lines, each with the reason why they say nothing about a peer."""


def check(ensemble: Ensemble, read: dict[Path, int]) -> None:
    """Read on in every log; BrokenPromiseError with the lines that nothing explains.

    `read` holds how much of each log was read before, and is brought up to date.
    """
    found: list[str] = []
    for member in ensemble.members.values():
        for kind, path in member.logs:
            with path.open("rb") as log:
                log.seek(read.get(path, 0))
                text = log.read().decode(errors="replace")
                read[path] = log.tell()
            found += [f"{path.name}: {line}" for line in complaints(kind, text)]
    if found:
        raise BrokenPromiseError("the servers complain:\n" + "\n".join(found[:_SHOWN]))


def complaints(kind: str, text: str) -> list[str]:
    """The lines of a member's log that nothing explains."""
    harmless = () if kind == KRAAL else HARMLESS
    return [
        line
        for line in text.splitlines()
        if _COMPLAINT.search(line) and not any(re.search(pattern, line) for pattern, _ in harmless)
    ]
