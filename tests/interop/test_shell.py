"""`kraal shell` beside Apache's zkCli: the same lines, on the same servers of either kind."""

from __future__ import annotations

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


def check(found: Comparison) -> None:
    assert not found.unexpected, "\n".join(map(str, found.unexpected))
    assert found.our_events == found.their_events


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_says_the_same(kind: str, tmp_path: Path) -> None:
    require_reference()
    with KINDS[kind](tmp_path) as server:
        check(compare(server.port, scripts.STANDALONE))
        assert compare_whole(server.port, scripts.SESSION) == []


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
