"""Unique numbers: consecutive ones for orders, and fast ones from blocks for events.

python examples/naming.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys

import kraal
from kraal.recipes import BlockIds, SequenceIds


async def process(hosts: str) -> tuple[list[int], list[int]]:
    """One process: it needs a few numbers of the one kind and many of the other."""
    async with kraal.connect(hosts) as zk:
        orders = SequenceIds(zk, "/examples/orders-ids")
        events = BlockIds(zk, "/examples/event-ids", size=100)
        return (
            [await orders.next() for _ in range(5)],
            [await events.next() for _ in range(250)],
        )


async def main(hosts: str) -> None:
    results = await asyncio.gather(*(process(hosts) for _ in range(3)))
    orders = sorted(number for numbers, _ in results for number in numbers)
    events = [number for _, numbers in results for number in numbers]
    print(f"orders {orders}")
    print(f"{len(events)} events, {len(set(events))} different numbers")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
