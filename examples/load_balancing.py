"""Three servers announce themselves; a client shares its requests among those that work.

python examples/load_balancing.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass

import kraal
from kraal.recipes import LeastUsed, ServiceInstance, ServiceRegistry

PATH = "/examples/services"


@dataclass(frozen=True)
class Payload:
    zone: str


async def send(instance: ServiceInstance[Payload]) -> None:
    """A request; the second server is broken."""
    await asyncio.sleep(0.001)
    if instance.id == "server-2":
        raise ConnectionError(f"{instance.address}:{instance.port} does not answer")


async def main(hosts: str) -> None:
    async with kraal.connect(hosts) as zk, ServiceRegistry(zk, PATH, Payload) as registry:
        for number in (1, 2, 3):
            await registry.register(
                ServiceInstance(
                    "mail", f"server-{number}", "10.0.0.1", 2500 + number, payload=Payload("a")
                )
            )
        served: Counter[str] = Counter()
        async with registry.provider("mail", LeastUsed(), failures=2, penalty=60.0) as provider:
            await provider.ready()
            for _ in range(40):
                try:
                    async with provider.use() as instance:
                        await send(instance)
                    served[instance.id] += 1
                except ConnectionError as error:
                    print(f"failed: {error}")
            print(f"available: {', '.join(each.id for each in provider.available())}")
        for name, count in sorted(served.items()):
            print(f"{name} served {count}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
