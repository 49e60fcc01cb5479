"""Staying awake for a lone client: for whom, for how long, and how rarely after it was in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from selectors import DefaultSelector, SelectorKey

from kraal.server.attention import LONG_REST, SHORT_REST, Attention

LONG_US, SHORT_US = 60_000_000, 500
"""Longer than any test takes, and over before the next look of a test."""
ONE, OTHER = object(), object()


class WatchedSelector(DefaultSelector):
    """Notes how long the loop would sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self.timeouts.append(timeout)
        return super().select(timeout)


class Bench:
    """A client that asks and is answered, and whether the loop sleeps behind that."""

    def __init__(self, microseconds: int, selector: WatchedSelector) -> None:
        self.attention = Attention(microseconds)
        self._selector = selector

    async def answers(self, client: object) -> bool:
        """Whether the loop stays awake behind an answer."""
        self.attention.answered(client)
        self._selector.timeouts.clear()
        await asyncio.sleep(4 * SHORT_US / 1e6)
        return not any(self._selector.timeouts[:2])  # in the first it may still stop to look

    async def serves(self, client: object) -> bool:
        self.attention.asked(client)
        return await self.answers(client)

    async def served_until_awake(self) -> int:
        """How many answers to one client in a row let the loop sleep."""
        slept = 0
        while not await self.answers(ONE):
            slept += 1
        return slept


def run(microseconds: int, test: Callable[[Bench], Awaitable[None]]) -> None:
    selector = WatchedSelector()

    async def main() -> None:
        await test(Bench(microseconds, selector))

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())


def test_the_loop_stays_awake_for_a_lone_client_until_it_asks() -> None:
    async def test(bench: Bench) -> None:
        served = [await bench.serves(ONE) for _ in range(SHORT_REST + 3)]
        assert served == [False] * SHORT_REST + [True] * 3
        bench.attention.asked(ONE)
        assert not await bench.answers(OTHER)

    run(LONG_US, test)


def test_who_is_not_alone_is_not_waited_for() -> None:
    async def test(bench: Bench) -> None:
        for _ in range(SHORT_REST + 1):
            await bench.serves(ONE)
        both = [
            await bench.serves(client) for _ in range(2 * SHORT_REST) for client in (OTHER, ONE)
        ]
        assert not any(both)

    run(LONG_US, test)


def test_what_was_in_vain_is_tried_ever_more_rarely() -> None:
    async def test(bench: Bench) -> None:
        bench.attention.asked(ONE)
        rests = [await bench.served_until_awake() for _ in range(4)]
        assert rests == [SHORT_REST, SHORT_REST, 2 * SHORT_REST, 4 * SHORT_REST]

    run(SHORT_US, test)


def test_who_comes_back_in_time_is_waited_for_as_before() -> None:
    async def test(bench: Bench) -> None:
        bench.attention.asked(ONE)
        for _ in range(3):
            await bench.served_until_awake()
        for _ in range(LONG_REST):
            bench.attention.answered(ONE)
            bench.attention.asked(ONE)
        await bench.served_until_awake()
        assert await bench.served_until_awake() == SHORT_REST

    run(SHORT_US, test)


def test_it_can_be_turned_off() -> None:
    async def test(bench: Bench) -> None:
        assert not any([await bench.serves(ONE) for _ in range(2 * SHORT_REST)])

    run(0, test)
