"""One seed in a few figures, in any process.

A module of its own: the children of a pool import what they run by its module's name, and
`__main__` is another module in each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from kraal.sim.bugs import BUGS
from kraal.sim.profile import PROFILES
from kraal.sim.run import Outcome, run
from kraal.sim.world import World


class Summary(NamedTuple):
    """What is told of a seed."""

    seed: int
    violation: str | None
    virtual_ms: int
    transactions: int
    faults: int
    epochs: int
    recovery_ms: int
    trace_hash: int


def summarise(seed: int, *, profile: str, bug: str | None) -> Summary:
    """Run a seed without a word from the servers."""
    logging.disable(logging.CRITICAL)
    try:
        outcome = run_profile(seed, profile, bug)
    finally:
        logging.disable(logging.NOTSET)
    return Summary(
        seed,
        None if outcome.violation is None else str(outcome.violation),
        outcome.virtual_ms,
        outcome.transactions,
        outcome.faults,
        max(outcome.world.checks.history.bases),
        outcome.recovery_ms,
        outcome.trace_hash,
    )


def run_profile(
    seed: int, profile: str, bug: str | None, prepare: Callable[[World], None] | None = None
) -> Outcome:
    """Run a seed under the profile of that name, with the servers broken if a bug is named."""
    if bug is None:
        return run(seed, PROFILES[profile], prepare)
    with BUGS[bug]():
        return run(seed, PROFILES[profile], prepare)
