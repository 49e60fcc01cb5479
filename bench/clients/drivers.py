"""How each client does the cases: `DRIVERS[name](case, port, seconds)` returns the figures.

Every driver does the same: prepare, warm up, and count what is done in the given time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import uvloop

from bench.clients.cases import LOCK, VALUE, WATCHED, WINDOW, ZNODE, Case, watched
from bench.clients.floor import floor
from bench.clients.meter import Figures, Meter
from tests.support.servers import HOST

Batch = Callable[[], Awaitable[int]]
"""Does some operations and says how many."""


async def rate(batch: Batch, seconds: float) -> Figures:
    """Batches for a while to warm up, then for the measured time."""
    meter = Meter(seconds)
    done = 0
    while meter.goes_on(done):
        done = await batch()
    return meter.figures


def told(count: int, done: Callable[[], None]) -> Callable[[Any], None]:
    """A callback that is to be called so many times."""
    left = [count]

    def callback(_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            done()

    return callback


async def kraal(case: Case, port: int, seconds: float) -> Figures:
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


async def aiozk(case: Case, port: int, seconds: float) -> Figures:
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


def kazoo(case: Case, port: int, seconds: float) -> Figures:
    from kazoo.client import KazooClient

    zk = KazooClient(f"{HOST}:{port}")
    zk.start()
    zk.delete(ZNODE, recursive=True)
    zk.create(ZNODE, VALUE)
    paths = [watched(number) for number in range(WATCHED)]

    def read_many() -> int:
        for answer in [zk.get_async(ZNODE) for _ in range(WINDOW)]:
            answer.get()
        return WINDOW

    def write_many() -> int:
        for answer in [zk.set_async(ZNODE, VALUE) for _ in range(WINDOW)]:
            answer.get()
        return WINDOW

    def read_one() -> int:
        zk.get(ZNODE)
        return 1

    def write_one() -> int:
        zk.set(ZNODE, VALUE)
        return 1

    def events() -> int:
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
    batch, meter, done = batches[case], Meter(seconds), 0
    try:
        while meter.goes_on(done):
            done = batch()
        return meter.figures
    finally:
        zk.stop()
        zk.close()


async def hand_overs(holders: Sequence[Callable[[], Awaitable[None]]], seconds: float) -> Figures:
    """Every holder takes and gives the lock as often as it can."""
    meter = Meter(seconds)

    async def hold(once: Callable[[], Awaitable[None]]) -> None:
        await once()
        while meter.goes_on(1):
            await once()

    await asyncio.gather(*map(hold, holders))
    return meter.figures


async def kraal_locks(port: int, seconds: float) -> Figures:
    from kraal.client import Client, connect
    from kraal.recipes import Lock

    def holder(zk: Client) -> Callable[[], Awaitable[None]]:
        lock = Lock(zk, LOCK)

        async def once() -> None:
            async with lock:
                pass

        return once

    async with connect(f"{HOST}:{port}") as one, connect(f"{HOST}:{port}") as other:
        return await hand_overs([holder(one), holder(other)], seconds)


async def aiozk_locks(port: int, seconds: float) -> Figures:
    from aiozk import ZKClient

    clients = [ZKClient(f"{HOST}:{port}") for _ in range(2)]
    for zk in clients:
        await zk.start()

    def holder(zk: Any) -> Callable[[], Awaitable[None]]:
        lock = zk.recipes.Lock(LOCK)

        async def once() -> None:
            async with lock:
                pass

        return once

    try:
        return await hand_overs([holder(zk) for zk in clients], seconds)
    finally:
        for zk in clients:
            await zk.close()


def kazoo_locks(port: int, seconds: float) -> Figures:
    from kazoo.client import KazooClient

    clients = [KazooClient(f"{HOST}:{port}") for _ in range(2)]
    for zk in clients:
        zk.start()
    meter = Meter(seconds)

    def hold(zk: Any) -> None:
        lock = zk.Lock(LOCK)
        goes_on = True
        while goes_on:
            with lock:
                pass
            goes_on = meter.goes_on(1)

    threads = [threading.Thread(target=hold, args=[zk]) for zk in clients]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return meter.figures
    finally:
        for zk in clients:
            zk.stop()
            zk.close()


Driver = Callable[[Case, int, float], Figures]


async def of_kraal(case: Case, port: int, seconds: float) -> Figures:
    if case is Case.LOCKS:
        return await kraal_locks(port, seconds)
    return await kraal(case, port, seconds)


async def of_aiozk(case: Case, port: int, seconds: float) -> Figures:
    if case is Case.LOCKS:
        return await aiozk_locks(port, seconds)
    return await aiozk(case, port, seconds)


def of_kazoo(case: Case, port: int, seconds: float) -> Figures:
    return kazoo_locks(port, seconds) if case is Case.LOCKS else kazoo(case, port, seconds)


FLOOR = "bare socket"
"""Not a client: what the server takes."""
DRIVERS: Mapping[str, Driver] = {
    "kraal": lambda *given: asyncio.run(of_kraal(*given)),
    "kraal on uvloop": lambda *given: uvloop.run(of_kraal(*given)),
    "kazoo": of_kazoo,
    "aiozk": lambda *given: asyncio.run(of_aiozk(*given)),
    FLOOR: floor,
}
BASE = "kazoo"
"""The client that the others are compared with."""
