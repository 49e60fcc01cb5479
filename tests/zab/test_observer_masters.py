"""In which order an observer asks for a master."""

from __future__ import annotations

from random import Random

from kraal.zab.observer_masters import ObserverMasters
from tests.zab.election_network import configuration

FIVE = configuration(range(1, 6), observers=[6])


def test_everybody_has_a_turn_before_anybody_has_a_second_one() -> None:
    masters = ObserverMasters(Random(7))
    first: list[int] = []
    for turn in range(15):
        master, is_next_pass = masters.next(FIVE)
        masters.served()
        assert is_next_pass == (turn in (5, 10)), turn
        assert master is not None
        first.append(master)
    assert sorted(first[:5]) == [1, 2, 3, 4, 5], first
    assert first == first[:5] * 3


def test_orders_differ_from_observer_to_observer() -> None:
    orders = {
        tuple(masters.next(FIVE)[0] for _ in range(5))
        for masters in (ObserverMasters(Random(seed)) for seed in range(20))
    }
    assert len(orders) > 10


def test_the_leader_is_asked_when_a_whole_pass_was_in_vain() -> None:
    masters = ObserverMasters(Random(7))
    turns = [masters.next(FIVE) for _ in range(12)]
    assert [master is None for master, _ in turns] == ([False] * 5 + [True]) * 2
    assert [is_next_pass for _, is_next_pass in turns] == [at == 6 for at in range(12)]


def test_a_new_membership_has_a_new_order() -> None:
    masters = ObserverMasters(Random(7))
    for _ in range(3):
        masters.next(FIVE)
    three = configuration([1, 2, 3], observers=[6])
    found = [masters.next(three)[0] for _ in range(3)]
    assert sorted(filter(None, found)) == [1, 2, 3]
