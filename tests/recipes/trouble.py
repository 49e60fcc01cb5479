"""Faults at random while something is under way: cut connections and expired sessions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from kraal.client import Client
from kraal.recipes._background import patiently
from kraal.testing import Server, UnavailableError
from tests.recipes.conftest import turns
from tests.support.choice import OtherServer
from tests.support.proxy import Proxy

OTHERS_TURN_S = 0.005


async def a_while(server: Server | OtherServer, rng: random.Random, turns_max: int) -> None:
    """Let so many turns pass at most, or the time that servers elsewhere take to get as far."""
    await turns(rng.randrange(turns_max))
    if isinstance(server, OtherServer):
        await asyncio.sleep(rng.uniform(0, turns_max * OTHERS_TURN_S))


@asynccontextmanager
async def trouble(
    server: Server | OtherServer,
    proxy: Proxy,
    clients: Sequence[Client],
    seed: int,
    *,
    expiries: bool = True,
) -> AsyncIterator[random.Random]:
    """Cut everybody's connections and expire sessions, again and again until the block ends.

    The next fault waits until all are connected again, and for a random number of turns of the
    loop.
    """
    rng = random.Random(seed)
    over = False

    async def make() -> None:
        while not over:
            await a_while(server, rng, 60)
            while not over and not all(zk.state.is_connected for zk in clients):
                await asyncio.sleep(0)
            if expiries and rng.random() < 0.2:
                with suppress(UnavailableError):
                    await asyncio.to_thread(server.expire, rng.choice(clients).session_id)
            else:
                proxy.cut()

    task = asyncio.create_task(make())
    try:
        yield rng
    finally:
        over = True
        await task
        for zk in clients:
            await patiently(zk, zk.sync)  # the last cut may not have been noticed yet
