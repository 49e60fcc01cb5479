"""Orders in a queue; a worker fails in the middle of one, and another one does it.

python examples/work_queue.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys

import kraal
from kraal.recipes import LockingQueue

PATH = "/examples/orders"
ORDERS = 6


async def careless(hosts: str) -> None:
    """Takes an order and fails: the order returns to the queue, as it would at its death."""
    async with kraal.connect(hosts) as zk:
        try:
            async with LockingQueue(zk, PATH).item() as item:
                print(f"the careless one begins {item.data.decode()}")
                raise RuntimeError("no paper")
        except RuntimeError as error:
            print(f"the careless one fails: {error}")


async def worker(hosts: str, name: str) -> None:
    async with kraal.connect(hosts) as zk:
        queue = LockingQueue(zk, PATH)
        while await queue.size():
            try:
                async with asyncio.timeout(0.5), queue.item() as item:
                    await asyncio.sleep(0.01)
                    print(f"{name} does {item.data.decode()}")
            except TimeoutError:
                pass  # the last orders are being done by others


async def main(hosts: str) -> None:
    async with kraal.connect(hosts) as zk:
        queue = LockingQueue(zk, PATH)
        await queue.put_all([b"order %d" % number for number in range(1, ORDERS)])
        await queue.put(b"order %d, urgent" % ORDERS, priority=0)
        await careless(hosts)
        await asyncio.gather(*(worker(hosts, name) for name in ("ann", "ben")))
        print(f"{await queue.size()} left")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
