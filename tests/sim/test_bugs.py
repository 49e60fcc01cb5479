"""The checks are checked: servers that are broken on purpose must be caught."""

from __future__ import annotations

import pytest

from kraal.sim.bugs import BUGS
from kraal.sim.summary import Kind, summarise

SEEDS_MAX = 60
FOUND = {
    "ack before flush": ("faults", 1),
    "forget accepted epoch": ("faults", 2),
    "skip truncation": ("leaders", 12),
    "commit on half": ("faults", 2),
    "apply out of order": ("faults", 2),
    "lose a watch": ("faults", 3),
    "answer sync at once": ("faults", 1),
    "expire early": ("faults", 2),
    "forget a deletion": ("leaders", 265),
    "answer syncs late": ("faults", 1),
}
"""By bug, the profile and the seed to begin with: one that finds it at present."""


@pytest.mark.parametrize("bug", FOUND)
def test_a_bug_on_purpose_is_found(bug: str) -> None:
    profile, first = FOUND[bug]
    for seed in range(first, first + SEEDS_MAX):
        if summarise(seed, Kind(profile, bug=bug)).violation is not None:
            return
    pytest.fail(f"{SEEDS_MAX} seeds of {profile} do not find it")


def test_every_bug_is_looked_for() -> None:
    assert set(FOUND) == set(BUGS)
