"""How long a learner waits that its leader sends away again and again."""

from __future__ import annotations

from kraal.replica.ejections import LONGEST_MS, Ejections


def pauses(ejections: Ejections, *lasted_ms: int, leader: int = 1, epoch: int = 1) -> list[int]:
    found = []
    for each in lasted_ms:
        ejections.add(leader, epoch, each)
        found.append(ejections.pause_ms(leader))
    return found


def test_the_pause_grows_while_terms_are_short() -> None:
    ejections = Ejections()
    assert pauses(ejections, 60_000, 5, 5, 200, 400, 800) == [0, 200, 400, 800, 1600, 3200]
    assert pauses(ejections, *[LONGEST_MS] * 40)[-1] == LONGEST_MS


def test_a_long_term_another_epoch_or_another_leader_begin_anew() -> None:
    ejections = Ejections()
    assert pauses(ejections, 5, 5, 60_000) == [0, 200, 0]
    assert pauses(ejections, 5) == [200]
    assert pauses(ejections, 5, 5, epoch=2) == [0, 200]
    assert ejections.pause_ms(3) == 0
    assert pauses(ejections, 5, 5, leader=3, epoch=2) == [0, 200]
