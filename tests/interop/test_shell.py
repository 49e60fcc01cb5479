"""`kraal shell` beside Apache's zkCli: the same lines, on the same servers of either kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.interop import shell_scripts as scripts
from tests.interop.shell_comparison import (
    KINDS,
    Comparison,
    compare,
    compare_one_shots,
    compare_whole,
    ensemble_of_one,
)
from tests.support.ensembles import APACHE, KRAAL
from tests.support.servers import require_reference

pytestmark = pytest.mark.apache

UNORDERED = ("whoami", "getEphemerals")
"""Commands whose answer has the order of Apache's hash tables."""


def check(found: Comparison) -> None:
    assert not found.unexpected, "\n".join(map(str, found.unexpected))
    assert found.our_events == found.their_events


def test_every_command_says_the_same_on_both_servers(tmp_path: Path) -> None:
    require_reference()
    answers: dict[str, list[tuple[str, ...]]] = {}
    for kind, start in KINDS.items():
        with start(tmp_path / kind) as server:
            found = compare(server.port, scripts.STANDALONE)
            check(found)
            assert compare_whole(server.port, scripts.SESSION) == []
        answers[kind] = [
            (row.line, *sorted(re.findall(r"[^\s,\[\]]+", row.theirs[0])), row.theirs[1])
            if row.line.startswith(UNORDERED)
            else (row.line, *row.theirs)
            for row in found.rows
        ]
    assert answers["kraal"] == answers["apache"]  # zkCli cannot tell the servers apart


@pytest.mark.parametrize("kind", [KRAAL, APACHE])
def test_the_membership_is_shown_and_changed_the_same(kind: str, tmp_path: Path) -> None:
    require_reference()
    with ensemble_of_one(tmp_path, kind) as ensemble:
        ensemble.start()
        check(compare(ensemble.members[1].client_port, scripts.ENSEMBLE))


def test_single_commands_end_with_the_same_code(tmp_path: Path) -> None:
    require_reference()
    with KINDS["kraal"](tmp_path) as server:
        assert compare_one_shots(server.port) == []
