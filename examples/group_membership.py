"""Hosts come and go; the others see who is there, and share the work among themselves.

python examples/group_membership.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys

import kraal
from kraal.recipes import GroupMember, Partitioner

SHARDS = ("shard-1", "shard-2", "shard-3", "shard-4")


async def host(hosts: str, name: str, leave: asyncio.Event) -> None:
    """One host: it serves its shards until it is told to leave."""
    async with (
        kraal.connect(hosts) as zk,
        GroupMember(zk, "/examples/hosts", name, b"ready"),
        Partitioner(zk, "/examples/shards", SHARDS, name) as partitioner,
    ):
        serving = asyncio.create_task(serve(partitioner, name))
        await leave.wait()
    await serving


async def serve(partitioner: Partitioner, name: str) -> None:
    async for allocation in partitioner:
        # Work on `allocation.revoked` would be stopped here.
        if allocation.is_settled:
            print(f"{name} serves {', '.join(sorted(allocation.owned)) or 'nothing'}")


async def main(hosts: str) -> None:
    async with kraal.connect(hosts) as zk, GroupMember(zk, "/examples/hosts", "observer") as me:
        groups = me.follow()

        async def see(count: int) -> None:
            async for names in groups:
                if len(names) == count:
                    print(f"there are {', '.join(names)}")
                    return

        first, second = asyncio.Event(), asyncio.Event()
        a = asyncio.create_task(host(hosts, "host-a", first))
        await see(2)
        b = asyncio.create_task(host(hosts, "host-b", second))
        await see(3)
        await asyncio.sleep(0.3)
        first.set()
        await see(2)
        await asyncio.sleep(0.3)
        second.set()
        await see(1)
        await asyncio.gather(a, b)
        await groups.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
