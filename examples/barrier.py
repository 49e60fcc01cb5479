"""Three workers compute in steps: nobody begins a step before all have finished the one before.

python examples/barrier.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys

import kraal
from kraal.recipes import Barrier, DoubleBarrier

NAMES = ("ann", "ben", "eve")


async def worker(hosts: str, name: str) -> None:
    async with kraal.connect(hosts) as zk:
        await Barrier(zk, "/examples/start").wait()
        step = DoubleBarrier(zk, "/examples/step", len(NAMES), name)
        for number in range(1, 4):
            async with step:
                await asyncio.sleep(0.01 * NAMES.index(name))
                print(f"step {number}: {name}")


async def main(hosts: str) -> None:
    async with kraal.connect(hosts) as zk:
        start = Barrier(zk, "/examples/start")
        await start.create()
        workers = [asyncio.create_task(worker(hosts, name)) for name in NAMES]
        print("everything is prepared")
        await start.remove()
        await asyncio.gather(*workers)
        print("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
