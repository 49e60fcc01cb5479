"""How each client does the cases: `DRIVERS[name](case, port, seconds)` returns a rate per second.

Every driver does the same: prepare, warm up, and count what is done in the given time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvloop

from bench.clients.cases import VALUE, WATCHED, WINDOW, ZNODE, Case, watched
from tests.support.servers import HOST

WARM_UP_S = 0.5
Batch = Callable[[], Awaitable[int]]
"""Does some operations and says how many."""


async def rate(batch: Batch, seconds: float) -> float:
    """Batches for a while to warm up, then for the measured time."""
    for span in (WARM_UP_S, seconds):
        count, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < span:
            count += await batch()
    return count / elapsed


def told(count: int, done: Callable[[], None]) -> Callable[[Any], None]:
    """A callback that is to be called so many times."""
    left = [count]

    def callback(_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            done()

    return callback


async def kraal(case: Case, port: int, seconds: float) -> float:
    from kraal.client import connect

    async with connect(f"{HOST}:{port}") as zk:
        await zk.delete_recursive(ZNODE)
        await zk.create(ZNODE, VALUE)

        async def read_many() -> int:
            await asyncio.gather(*(zk.get(ZNODE) for _ in range(WINDOW)))
            return WINDOW

        async def write_many() -> int:
            await asyncio.gather(*(zk.set(ZNODE, VALUE) for _ in range(WINDOW)))
            return WINDOW

        async def read_one() -> int:
            await zk.get(ZNODE)
            return 1

        async def write_one() -> int:
            await zk.set(ZNODE, VALUE)
            return 1

        async def events() -> int:
            all_told = asyncio.Event()
            callback = told(WATCHED, all_told.set)
            await asyncio.gather(*(zk.get(path, watch=callback) for path in paths))
            async with zk.transaction() as t:
                for path in paths:
                    t.set(path, VALUE)
            await all_told.wait()
            return WATCHED

        paths = [watched(number) for number in range(WATCHED)]
        if case is Case.EVENTS:
            await asyncio.gather(*(zk.create(path) for path in paths))
        batches = {
            Case.READ_ONE: read_one, Case.READ_MANY: read_many, Case.WRITE_ONE: write_one,
            Case.WRITE_MANY: write_many, Case.EVENTS: events,
        }  # fmt: skip
        return await rate(batches[case], seconds)


async def aiozk(case: Case, port: int, seconds: float) -> float:
    from aiozk import ZKClient
    from aiozk.protocol import WatchEvent

    zk = ZKClient(f"{HOST}:{port}")
    await zk.start()
    try:
        await zk.ensure_path(ZNODE)
        await zk.deleteall(ZNODE)
        await zk.create(ZNODE, VALUE)

        async def read_many() -> int:
            await asyncio.gather(*(zk.get(ZNODE) for _ in range(WINDOW)))
            return WINDOW

        async def write_many() -> int:
            await asyncio.gather(*(zk.set(ZNODE, VALUE, -1) for _ in range(WINDOW)))
            return WINDOW

        async def read_one() -> int:
            await zk.get(ZNODE)
            return 1

        async def write_one() -> int:
            await zk.set(ZNODE, VALUE, -1)
            return 1

        async def events() -> int:
            all_told = asyncio.Event()
            callback = told(WATCHED, all_told.set)
            for path in paths:
                zk.session.add_watch_callback(WatchEvent.DATA_CHANGED, path, callback)
            await asyncio.gather(*(zk.get(path, watch=True) for path in paths))
            async with zk.begin_transaction() as t:
                for path in paths:
                    t.set_data(path, VALUE)
            await all_told.wait()
            for path in paths:
                zk.session.remove_watch_callback(WatchEvent.DATA_CHANGED, path, callback)
            return WATCHED

        paths = [watched(number) for number in range(WATCHED)]
        if case is Case.EVENTS:
            await asyncio.gather(*(zk.create(path) for path in paths))
        batches = {
            Case.READ_ONE: read_one, Case.READ_MANY: read_many, Case.WRITE_ONE: write_one,
            Case.WRITE_MANY: write_many, Case.EVENTS: events,
        }  # fmt: skip
        return await rate(batches[case], seconds)
    finally:
        await zk.close()


def kazoo(case: Case, port: int, seconds: float) -> float:
    import threading

    from kazoo.client import KazooClient

    zk = KazooClient(f"{HOST}:{port}")
    zk.start()
    zk.delete(ZNODE, recursive=True)
    zk.create(ZNODE, VALUE)
    paths = [watched(number) for number in range(WATCHED)]

    async def read_many() -> int:
        for answer in [zk.get_async(ZNODE) for _ in range(WINDOW)]:
            answer.get()
        return WINDOW

    async def write_many() -> int:
        for answer in [zk.set_async(ZNODE, VALUE) for _ in range(WINDOW)]:
            answer.get()
        return WINDOW

    async def read_one() -> int:
        zk.get(ZNODE)
        return 1

    async def write_one() -> int:
        zk.set(ZNODE, VALUE)
        return 1

    async def events() -> int:
        all_told = threading.Event()
        callback = told(WATCHED, all_told.set)
        for answer in [zk.get_async(path, watch=callback) for path in paths]:
            answer.get()
        t = zk.transaction()
        for path in paths:
            t.set_data(path, VALUE)
        t.commit()
        all_told.wait()
        return WATCHED

    if case is Case.EVENTS:
        for answer in [zk.create_async(path, b"") for path in paths]:
            answer.get()
    batches = {
        Case.READ_ONE: read_one, Case.READ_MANY: read_many, Case.WRITE_ONE: write_one,
        Case.WRITE_MANY: write_many, Case.EVENTS: events,
    }  # fmt: skip
    try:
        # The batches of kazoo block; they are coroutines so that all are timed by the same lines.
        return asyncio.run(rate(batches[case], seconds))
    finally:
        zk.stop()
        zk.close()


Driver = Callable[[Case, int, float], float]

DRIVERS: Mapping[str, Driver] = {
    "kraal": lambda *given: asyncio.run(kraal(*given)),
    "kraal on uvloop": lambda *given: uvloop.run(kraal(*given)),
    "kazoo": kazoo,
    "aiozk": lambda *given: asyncio.run(aiozk(*given)),
}
BASE = "kazoo"
"""The client that the others are compared with."""
