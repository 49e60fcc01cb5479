"""kraal against Apache ZooKeeper: the same random requests, the same effects."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.interop.differential import KINDS, command_line, describe, report, run
from tests.interop.differential_generator import Generator
from tests.interop.differential_rules import Where, kept_out
from tests.interop.differential_shrink import shrink
from tests.interop.differential_steps import SUPER_SLOT, Call, Part
from tests.support import raw_client as raw
from tests.support.servers import require_reference

# Between them these seeds cover every variant of the servers' configuration.
SOAK_SEEDS = (1, 2, 3, 4, 7)


def check(seed: int, requests: int, kinds: Sequence[str] = KINDS) -> None:
    require_reference()
    result = run(seed, requests, kinds)
    print(report(result))
    if result.difference is not None:
        command = command_line(seed, requests, kinds)
        pytest.fail(describe(result.difference, kinds, command), pytrace=False)


@pytest.mark.apache
def test_random_requests_have_the_same_effects() -> None:
    check(seed=8, requests=1500)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SOAK_SEEDS)
def test_many_random_requests_have_the_same_effects(seed: int) -> None:
    check(seed, requests=10_000)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_reference_agrees_with_itself() -> None:
    """A difference here would mean that the harness compares what is left to chance."""
    check(seed=3, requests=3000, kinds=("apache", "apache"))


def test_a_seed_decides_the_script() -> None:
    first, second = (list(Generator(5, 2000)) for _ in range(2))
    assert first == second
    assert first != list(Generator(6, 2000))


def test_deliberate_differences_are_not_generated() -> None:
    for step in Generator(9, 5000):
        where = Where(as_super=step.slot == SUPER_SLOT)
        assert not [call for call in step.calls if kept_out(call, where)]
    crash = Call("createTTL", ("/a", b"", raw.OPEN_ACL, 0, -1))
    assert kept_out(crash)
    unparsable = Call("setData", ("/zookeeper/quota/a/zookeeper_stats", b"x", -1))
    assert kept_out(unparsable)
    assert kept_out(Call("multi", ((Part(5, unparsable),), raw.MULTI_END)))


def test_session_passwords_are_derived_from_the_id() -> None:
    expected = "967037cee1903fdccc0f6198ca94827b"
    assert raw.session_password(0x0100_0018_9E2A_000F).hex() == expected


def test_shrinking_finds_the_steps_that_matter() -> None:
    def differs(numbers: Sequence[int]) -> bool:
        return {17, 60} <= set(numbers)

    assert shrink(list(range(1, 101)), differs, lambda _: None) == [17, 60]
