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


def check(
    seed: int, requests: int, kinds: Sequence[str] = KINDS, *, ensemble: bool = False
) -> None:
    require_reference()
    result = run(seed, requests, kinds, ensemble=ensemble)
    print(report(result))
    if result.difference is not None:
        command = command_line(seed, requests, kinds, ensemble=ensemble)
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


@pytest.mark.apache
def test_random_requests_have_the_same_effects_in_an_ensemble() -> None:
    check(seed=8, requests=1000, ensemble=True)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SOAK_SEEDS)
def test_many_random_requests_have_the_same_effects_in_an_ensemble(seed: int) -> None:
    check(seed, requests=6000, ensemble=True)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("members", ["kraal,apache,kraal,apache", "apache,kraal,apache,kraal"])
def test_mixed_ensembles_do_what_the_reference_does(members: str) -> None:
    check(seed=8, requests=3000, kinds=("apache", members), ensemble=True)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(300)
def test_ensembles_of_the_reference_agree_with_each_other() -> None:
    check(seed=5, requests=3000, kinds=("apache", "apache"), ensemble=True)


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


def test_what_would_end_an_ensemble_is_not_generated_for_one() -> None:
    for step in Generator(9, 5000, ensemble=True):
        where = Where(as_super=step.slot == SUPER_SLOT, in_ensemble=True)
        assert not [call for call in step.calls if kept_out(call, where)]
    where = Where(in_ensemble=True)
    cut = Call("setData", ("/a", b"x", -1), keep=5)
    assert kept_out(cut, where)
    assert not kept_out(cut)
    unknown = Call("multi", ((Part(99, Call("check", ("/a", -1))),), raw.MULTI_END))
    assert kept_out(unknown, where)
    assert not kept_out(Call("getData", ("/a", False), keep=5), where)


def test_session_passwords_are_derived_from_the_id() -> None:
    expected = "967037cee1903fdccc0f6198ca94827b"
    assert raw.session_password(0x0100_0018_9E2A_000F).hex() == expected


def test_shrinking_finds_the_steps_that_matter() -> None:
    def differs(numbers: Sequence[int]) -> bool:
        return {17, 60} <= set(numbers)

    assert shrink(list(range(1, 101)), differs, lambda _: None) == [17, 60]
