"""Readiness: what a server says of itself, and which status code follows."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kraal.admin.http import health
from kraal.replica.status import EnsembleStatus
from tests.admin.test_ensemble_words import source


@pytest.mark.parametrize(
    ("behind", "silent_ms", "behind_max", "reason"),
    [
        (0, 0, health.BEHIND_MAX, None),
        (10_000, 6000, health.BEHIND_MAX, None),
        (10_001, 0, health.BEHIND_MAX, "lag: 10001 transactions are not applied yet"),
        (1, 0, 0, "lag: 1 transactions are not applied yet"),
        (0, 6001, health.BEHIND_MAX, "lag: nothing was heard of the leader for 6001 ms"),
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
    answer = health.ready(
        follower,  # type: ignore[arg-type]
        accepts_read_only=False,
        behind_max=behind_max,
    )
    assert answer.status_code == (503 if reason else 200)
    assert json.loads(bytes(answer.body))["reasons"] == ([reason] if reason else [])
