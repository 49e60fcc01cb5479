"""Damaged input to every decoder and parser: the errors that are meant, and no other."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.damage import damaged
from tests.fuzz.targets import RECORDS, TARGETS

EXAMPLES = 120
SLOW_EXAMPLES = 40
_SLOW = (
    "replica-frame", "byte-stream", "client-socket", "reads", "snapshot", "framing", "leader",
    "learner", "learner-txns", "observer-master", "notification",
)  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_raises_only_what_is_allowed(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=SLOW_EXAMPLES if name in _SLOW else EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=damaged(target.seeds()))
    def check(data: bytes) -> None:
        target.feed(data)

    check()


@pytest.mark.parametrize("name", [name for name in TARGETS if not name.startswith("record-")])
def test_seeds_are_sound(name: str) -> None:
    """At least one seed comes through whole, so that damage starts from something."""
    target = TARGETS[name]
    passed = 0
    for seed in target.seeds():
        try:
            target.run(seed)
            passed += 1
        except target.allowed:
            continue
    assert passed


@pytest.mark.parametrize("name", [name for name in TARGETS if name.startswith("record-")])
def test_every_prefix_of_a_record_is_refused_or_read(name: str) -> None:
    """Cut anywhere: never an index or struct error."""
    target = TARGETS[name]
    for seed in target.seeds()[::7]:
        for end in range(len(seed)):
            target.feed(seed[:end])


def test_every_request_record_is_a_target() -> None:
    assert {shape.__name__ for shape in RECORDS} >= {
        "ConnectRequest", "CreateRequest", "CreateTtlRequest", "DeleteRequest",
        "DeleteContainerRequest", "SetDataRequest", "SetAclRequest", "CheckVersionRequest",
        "ReconfigRequest", "PathRequest", "WatchModeRequest", "SetWatches", "SetWatches2",
        "AuthPacket", "SaslRequest", "CreateSessionRequest",
    }  # fmt: skip
