"""Find a small part of a script that still shows a difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Every attempt starts two fresh servers.
ATTEMPTS = 250


def shrink(
    numbers: list[int],
    differs: Callable[[Sequence[int]], bool],
    say: Callable[[str], object],
    attempts: int = ATTEMPTS,
) -> list[int]:
    """Drop runs of steps, halving their length, while `differs` stays true.

    Connects are dropped like anything else: a step on a session that is not connected does
    nothing, on both servers alike.
    """
    chunk = len(numbers) // 2
    while chunk >= 1 and attempts > 0:
        start = 0
        while start < len(numbers) and attempts > 0:
            rest = numbers[:start] + numbers[start + chunk :]
            attempts -= 1
            if rest and differs(rest):
                numbers = rest
                say(f"  {len(numbers)} steps left")
            else:
                start += chunk
        chunk //= 2
    return numbers
