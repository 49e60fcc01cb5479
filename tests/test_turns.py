"""What is long waits for turns in which nothing else is to do, and each turn is short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from kraal import turns as module
from kraal.turns import QUIET_LOOKS, TURN_SECONDS, Turns, portion, turns

BUSY_TURNS = 50


class Clock:
    """Time that passes when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(module, "perf_counter", fake)
    return fake


async def some_turns(count: int, ours: Turns, *, busy: bool) -> None:
    """So many turns of the loop, in each of which something comes in, or nothing."""
    for _ in range(count):
        ours.inputs += busy
        await asyncio.sleep(0)


def costly(clock: Clock, count: int, seconds: float) -> Iterator[int]:
    """Items each of which takes so long."""
    for number in range(count):
        clock.now += seconds
        yield number


def test_a_portion_ends_with_the_item_that_takes_it_over_its_time(clock: Clock) -> None:
    items = costly(clock, 25, TURN_SECONDS / 10)
    sizes = []
    is_whole = False
    while not is_whole:
        made, is_whole = portion(items)
        sizes.append(len(made))
    assert sum(sizes) == 25
    assert max(sizes) <= 11


def test_a_portion_has_one_item_at_least(clock: Clock) -> None:
    items = costly(clock, 2, TURN_SECONDS * 10)
    assert portion(items) == ([0], False)
    assert portion(items) == ([1], False)
    assert portion(items) == ([], True)


async def test_work_waits_while_something_comes_in(clock: Clock) -> None:
    ours, done = turns(), list[str]()
    ours.later(lambda: done.append("work"))
    await some_turns(BUSY_TURNS, ours, busy=True)
    assert not done
    await some_turns(QUIET_LOOKS + 2, ours, busy=False)
    assert done == ["work"]


async def test_work_waits_for_what_a_thread_is_about_to_be_done_with(clock: Clock) -> None:
    ours, done = turns(), list[str]()
    ours.awaited += 1
    ours.later(lambda: done.append("work"))
    await some_turns(BUSY_TURNS, ours, busy=False)
    assert not done
    ours.awaited -= 1
    while not done:
        await asyncio.sleep(0)


async def test_a_loop_that_is_never_idle_gives_a_share(clock: Clock) -> None:
    ours, ran = turns(), 0

    def work() -> None:
        nonlocal ran
        ran += 1
        clock.now += TURN_SECONDS
        ours.later(work)

    ours.later(work)
    rest = TURN_SECONDS / module.SHARE
    while clock.now < 20 * rest:
        before = ran
        clock.now += 0.25 * rest
        await some_turns(BUSY_TURNS, ours, busy=True)
        assert ran - before <= 1
    assert 18 <= ran <= 20


async def test_those_who_wait_alternate_with_one_portion_in_a_turn() -> None:
    order: list[str] = []

    async def long_work(name: str) -> None:
        for _ in range(3):
            await turns().call(lambda: order.append(name))

    await asyncio.gather(long_work("a"), long_work("b"))
    assert order == ["a", "b"] * 3


async def test_results_and_errors_reach_who_waits_and_nobody_else() -> None:
    with pytest.raises(ZeroDivisionError):
        await turns().call(lambda: 1 // 0)
    assert await turns().call(lambda: 7) == 7


async def test_who_is_gone_is_not_worked_for() -> None:
    done: list[str] = []
    task = asyncio.create_task(turns().call(lambda: done.append("for nobody")))
    await asyncio.sleep(0)
    task.cancel()
    await turns().call(lambda: done.append("for us"))
    assert done == ["for us"]


def test_every_loop_has_turns_of_its_own() -> None:
    async def mine() -> Turns:
        assert turns() is turns()
        return turns()

    assert asyncio.run(mine()) is not asyncio.run(mine())
