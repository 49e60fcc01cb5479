"""Fixed seeds of every profile keep every promise, and a seed is the same story every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kraal.sim.profile import PROFILES
from kraal.sim.summary import Kind, summarise

SEEDS = {
    "faults": range(1, 13),
    "quiet": range(1, 4),
    "busy": range(1, 3),
    "disk": range(1, 6),
    "network": range(1, 6),
    "leaders": range(1, 4),
    "reconfig": range(1, 6),
}


@pytest.mark.parametrize(
    ("profile", "seed"), [(profile, seed) for profile, seeds in SEEDS.items() for seed in seeds]
)
def test_a_seed_keeps_every_promise(profile: str, seed: int) -> None:
    summary = summarise(seed, Kind(profile))
    assert summary.violation is None
    assert summary.transactions


@pytest.mark.parametrize(
    ("profile", "seed"),
    [
        ("reconfig", 30_023),  # a quorum of two configurations whose members were in two rounds
        ("reconfig", 31_315),  # a pending configuration that only one server ever heard of
        ("reconfig", 30_204),  # a leader that the configuration it established has not vote
        ("reconfig", 215),  # a membership that only the file of a killed leader has kept
        ("faults", 40_524),  # a multi that an observer's master made fail: its session had moved
        ("faults", 41_885),  # the same of a single write
        ("faults", 43_136),  # a leader of the past that told a new session that it is over
        ("faults", 104_597),  # a session that only a server without a leader heard of
        ("faults", 42_234),  # an election after the last fault: a flush that began on a slow disk
    ],
)
def test_a_seed_that_failed_once_keeps_every_promise(profile: str, seed: int) -> None:
    """Each was another story when it was found; the rooms' own tests tell what was wrong."""
    assert summarise(seed, Kind(profile)).violation is None


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("profile", PROFILES)
def test_many_seeds_keep_every_promise(profile: str) -> None:
    for seed in range(100, 400):
        assert summarise(seed, Kind(profile)).violation is None, seed


def test_a_seed_is_the_same_story_in_every_process() -> None:
    """Also where sets of strings have another order."""
    program = (
        "from kraal.sim.summary import Kind, summarise;"
        "print([summarise(seed, Kind('faults')) for seed in (3, 4)])"
    )
    stories = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    here = [summarise(seed, Kind("faults")) for seed in (3, 4)]
    assert stories == {f"{here}\n"}


def test_seeds_run_in_several_processes_from_any_directory(tmp_path: Path) -> None:
    arguments = ["--seeds", "2", "--start", "3", "--profile", "quiet", "--jobs", "2"]
    process = subprocess.run(
        [sys.executable, "-m", "kraal.sim", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("2 seeds of quiet")
