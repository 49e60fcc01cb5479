"""What the tools say of a snapshot that was copied to a later name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.written import DAMAGED, OK, Written, kraal
from tests.storage.support import described


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "data")


def test_a_snapshot_with_the_name_of_a_later_one_is_named_and_moved_away(written: Written) -> None:
    renamed = written.version_2 / "snapshot.20000001f"
    renamed.write_bytes((written.version_2 / "snapshot.20000000a").read_bytes())
    for target in (written.path, renamed):
        result = kraal("snapshot", "verify", target)
        assert result.exit_code == DAMAGED
        assert "holds the state of 0x20000000a only, not of 0x20000001f" in result.stdout
        assert "snapshot.20000001f: sound" not in result.stdout
    result = kraal("doctor", written.path, "--mend", "--yes")
    assert result.exit_code == OK, result.output
    assert described(written.recovered()) == described(written.tree)
    assert kraal("snapshot", "verify", written.path).exit_code == OK
