"""Disks of servers fill up, on file systems of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.disk_check import MountMissingError, check


def run(who: str, directory: Path) -> None:
    try:
        check(who, directory)
    except MountMissingError as error:
        pytest.skip(f"nothing can be mounted here: {error}")


@pytest.mark.timeout(180)
def test_the_leader_s_disk_fills_up(tmp_path: Path) -> None:
    run("leader", tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize("who", ["follower", "standalone"])
def test_another_s_disk_fills_up(who: str, tmp_path: Path) -> None:
    run(who, tmp_path)
