"""Settings that are published once, arrive at every server, and are taken back.

python examples/configuration.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from typing import Literal

import kraal
from kraal.recipes import Config

PATH = "/examples/settings"


@dataclass(frozen=True)
class Settings:
    workers: int = 4
    mode: Literal["fast", "safe"] = "safe"

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 64:
            raise ValueError("workers must be from 1 to 64")


async def server(hosts: str, name: str, started: asyncio.Event, versions: int) -> None:
    """Uses the settings, whatever they are at the moment."""
    async with kraal.connect(hosts) as zk, Config(zk, PATH, Settings, default=Settings()) as config:
        async for edition in config.changes():
            print(f"{name}: version {edition.version}, {edition.value}")
            started.set()
            if edition.version == versions:
                return


async def main(hosts: str) -> None:
    async with kraal.connect(hosts) as zk:
        config = Config(zk, PATH, Settings, default=Settings())
        started = asyncio.Event()
        running = asyncio.create_task(server(hosts, "server", started, 3))
        await started.wait()
        await config.update(lambda old: replace(old, workers=8), "more traffic")
        await config.publish(Settings(8, "fast"), "try it")
        try:
            await config.update(lambda old: replace(old, workers=100))
        except ValueError as error:
            print(f"refused: {error}")
        await config.roll_back(1)
        await running
        for past in await config.history():
            print(f"version {past.version}: {past.comment}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
