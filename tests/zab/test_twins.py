"""When a server id counts as used by two servers."""

from __future__ import annotations

from kraal.zab.twins import AGAIN_MS, SILENCE_MS, Twins


def test_a_server_that_comes_back_is_none() -> None:
    twins = Twins()
    assert not twins.replaced(0, 2)
    assert not twins.replaced(1, 3)  # another one
    assert not twins.replaced(AGAIN_MS + 1, 2)


def test_whose_place_is_taken_again_is_named_and_not_all_the_time() -> None:
    twins = Twins()
    said = [at for at in range(0, 3 * SILENCE_MS, 100) if twins.replaced(at, 2)]
    assert said == [100, SILENCE_MS + 200, 2 * SILENCE_MS + 300]
