"""The client and its recipes keep their promises under faults; the checks are checked by bugs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kraal.sim.scenarios import SCENARIOS
from kraal.sim.scenarios.bugs import RECIPE_BUGS
from kraal.sim.summary import Kind, summarise

SEEDS_MAX = 40
FOUND = {
    "resend silently": ("writes", 1),
    "no gap": ("watches", 8),
    "lose an event": ("watches", 1),
    "keep a watch": ("watches", 1),
    "hold on": ("lock", 10),
    "jump the queue": ("election", 1),
    "one too many": ("semaphore", 1),
    "hurry": ("lease", 1),
    "token of the reader": ("read-write-lock", 1),
    "add again": ("shared-value", 3),
    "open barrier": ("barrier", 1),
    "leave early": ("double-barrier", 1),
    "leave behind": ("lock", 2),
    "take without deleting": ("queue", 1),
    "take for nobody": ("queue", 3),
    "take any": ("priority-queue", 1),
    "take early": ("delay-queue", 1),
    "consume in words": ("locking-queue", 1),
    "stay away": ("party", 1),
    "overlook gaps": ("cache", 1),
    "leave one out": ("partitioner", 1),
    "reserve together": ("unique-ids", 1),
    "deny": ("key-value", 1),
    "look at once": ("configuration", 1),
    "release anybody": ("locking-queue", 10),
    "drop at the door": ("queue", 181),
}
"""By bug, the recipe and the seed to begin with: one that finds it at present."""


@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("recipe", SCENARIOS)
def test_a_seed_keeps_every_promise(recipe: str, seed: int) -> None:
    summary = summarise(seed, Kind(recipe=recipe))
    assert summary.violation is None
    assert summary.transactions


@pytest.mark.parametrize(
    ("recipe", "seed"),
    [("party", 100), ("party", 534), ("queue", 80), ("queue", 427), ("delay-queue", 684)],
)
def test_a_seed_that_found_something_finds_nothing(recipe: str, seed: int) -> None:
    assert summarise(seed, Kind(recipe=recipe)).violation is None


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", SCENARIOS)
def test_many_seeds_keep_every_promise(recipe: str) -> None:
    for seed in range(100, 300):
        assert summarise(seed, Kind(recipe=recipe)).violation is None, seed


@pytest.mark.parametrize("bug", FOUND)
def test_a_bug_on_purpose_is_found(bug: str) -> None:
    recipe, first = FOUND[bug]
    for seed in range(first, first + SEEDS_MAX):
        if summarise(seed, Kind(recipe=recipe, bug=bug)).violation is not None:
            return
    pytest.fail(f"{SEEDS_MAX} seeds of {recipe} do not find it")


def test_every_bug_is_looked_for() -> None:
    assert set(FOUND) == set(RECIPE_BUGS)


def test_a_seed_is_the_same_story_in_every_process() -> None:
    """Also where sets of strings have another order, and objects other addresses."""
    program = (
        "from kraal.sim.scenarios import SCENARIOS;"
        "from kraal.sim.summary import Kind, summarise;"
        "print([summarise(5, Kind(recipe=recipe)) for recipe in SCENARIOS])"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [summarise(5, Kind(recipe=recipe)) for recipe in SCENARIOS]
    assert other.stdout == f"{here}\n"
