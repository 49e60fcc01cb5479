"""Readiness: what speaks against a server, by what it says of itself."""

from __future__ import annotations

import dataclasses

import pytest

from kraal.admin.http import health
from kraal.replica.status import EnsembleStatus
from tests.admin.test_ensemble_words import source


@pytest.mark.parametrize(
    ("behind", "silent_ms", "behind_max", "reason"),
    [
        (0, 0, health.BEHIND_MAX, None),
        (10_000, 6000, health.BEHIND_MAX, None),
        (10_001, 0, health.BEHIND_MAX, "10001 transactions are not applied yet"),
        (1, 0, 0, "1 transactions are not applied yet"),
        (0, 6001, health.BEHIND_MAX, "nothing was heard of the leader for 6001 ms"),
    ],
)
def test_a_follower_that_lags_is_not_ready(
    behind: int, silent_ms: int, behind_max: int, reason: str | None
) -> None:
    """syncLimit is 6 ticks of 2 s: half of it is 6 s."""
    follower = source("follower")
    ensemble = follower.status.ensemble
    assert isinstance(ensemble, EnsembleStatus)
    ensemble = dataclasses.replace(ensemble, behind=behind, silent_ms=silent_ms)
    follower.status = dataclasses.replace(follower.status, ensemble=ensemble)
    checks = health.checked(
        follower,  # type: ignore[arg-type]
        accepts_read_only=False,
        behind_max=behind_max,
    )
    assert checks == {"role": None, "quorum": None, "lag": reason, "tree": None, "disk": None}


def test_a_follower_whose_tree_differs_is_not_ready() -> None:
    follower = source("follower")
    assert follower.status.ensemble is not None
    ensemble = dataclasses.replace(follower.status.ensemble, is_different=True)
    follower.status = dataclasses.replace(follower.status, ensemble=ensemble)
    checks = health.checked(
        follower,  # type: ignore[arg-type]
        accepts_read_only=True,
        behind_max=health.BEHIND_MAX,
    )
    assert checks["tree"] == "it differs from the leader's"
