"""One seed in a few figures, in any process.

A module of its own: the children of a pool import what they run by its module's name, and
`__main__` is another module in each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

from kraal.sim.bugs import BUGS
from kraal.sim.profile import PROFILES
from kraal.sim.run import Outcome, run
from kraal.sim.scenarios import SCENARIOS
from kraal.sim.scenarios.bugs import RECIPE_BUGS
from kraal.sim.trial import try_seed
from kraal.sim.world import World

ALL_BUGS = {**BUGS, **RECIPE_BUGS}


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


class Kind(NamedTuple):
    """What is run: servers alone in a profile, or a recipe; with a bug on purpose, perhaps."""

    profile: str = "faults"
    recipe: str | None = None
    bug: str | None = None

    def run(self, seed: int, prepare: Callable[[World], None] | None = None) -> Outcome:
        """Run a seed; `prepare` may do something to the world first."""
        with ALL_BUGS[self.bug]() if self.bug else nullcontext():
            if self.recipe is not None:
                return try_seed(seed, SCENARIOS[self.recipe], prepare)
            return run(seed, PROFILES[self.profile], prepare)

    def command(self, seed: int) -> str:
        """The command that tells the story of a seed."""
        also = f" --bug '{self.bug}'" if self.bug else ""
        what = f"--recipe {self.recipe}" if self.recipe else f"--profile {self.profile}"
        return f"python -m kraal.sim --seeds 1 --start {seed} {what}{also} --trace"

    def __str__(self) -> str:
        return self.recipe or self.profile


def summarise(seed: int, kind: Kind) -> Summary:
    """Run a seed without a word from the servers."""
    logging.disable(logging.CRITICAL)
    try:
        outcome = kind.run(seed)
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
