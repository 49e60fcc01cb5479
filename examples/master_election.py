"""Three candidates for master: each master works for a while and dies, and the next takes over.

python examples/master_election.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys

import kraal
from kraal.recipes import Held, LeaderElection

MASTERS = ("host-1", "host-2", "host-3")


async def candidate(hosts: str, name: str) -> None:
    """One process of the application: it is a master for three units of work and ends then."""

    async def lead(leadership: Held) -> None:
        print(f"{name} is master in epoch {leadership.token}")
        for _ in range(3):
            # Cancelled here as soon as somebody else may be the master.
            await asyncio.sleep(0.01)
        print(f"{name} ends")

    async with kraal.connect(hosts) as zk:
        await LeaderElection(zk, "/examples/master", name).run(lead)


async def main(hosts: str) -> None:
    await asyncio.gather(*(candidate(hosts, name) for name in MASTERS))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
