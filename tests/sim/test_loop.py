"""The event loop in virtual time: asyncio's own behaviour, and connections to simulated servers."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest

from kraal.sim import protocol
from kraal.sim.application import Application
from kraal.sim.scheduler import MS, SECOND
from kraal.sim.transport import SimTransport
from kraal.sim.violation import ViolationError
from kraal.sim.world import EnsemblePlan, World
from kraal.wire.framing import FrameReader
from kraal.wire.opcodes import OpCode


def make_world(seed: int = 1, *, start: bool = True) -> World:
    world = World(seed, EnsemblePlan())
    if start:
        for server in world.servers.values():
            server.start()
        world.run(2000)
    return world


def run(main: Callable[[], Coroutine[Any, Any, None]], world: World | None = None) -> Application:
    """Run an application to its end."""
    world = world or make_world(start=False)
    app = Application(world, "app 1")
    app.start(main())
    assert world.scheduler.run(60 * SECOND, lambda: app.is_done)
    app.check()
    return app


class Client(asyncio.Protocol):
    """Collects frames."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._reader = FrameReader(1 << 20)

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append("data")
        for frame in self._reader.feed(data)[0]:
            self.frames.put_nowait(frame)

    def eof_received(self) -> None:
        self.calls.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


async def connect(host: str = "s1") -> tuple[SimTransport, Client]:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Client, host, 2181)
    return cast(SimTransport, transport), client


async def open_session(transport: SimTransport, client: Client) -> int:
    transport.write(protocol.connect(0, 2000, 0, bytes(16), read_only=False))
    return protocol.read_connected(await client.frames.get()).session_id


# asyncio


def test_time_passes_without_a_clock() -> None:
    world = make_world(start=False)
    woken: list[str] = []

    async def sleeper(name: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        woken.append(name)

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("late", 20))
            group.create_task(sleeper("early", 10))
        assert 20 <= asyncio.get_running_loop().time() - began < 20.01

    run(main, world)
    assert woken == ["early", "late"]


def test_timeouts_cancellation_queues_and_conditions_work() -> None:
    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for number in range(5):
                await queue.put(number)

        producer = asyncio.create_task(produce(), name="producer")
        assert [await queue.get() for _ in range(5)] == [0, 1, 2, 3, 4]
        await producer
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await queue.get()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1)
        lock = asyncio.Lock()
        async with lock:
            waiter = asyncio.create_task(lock.acquire())
            done, pending = await asyncio.wait({waiter}, timeout=0.5)
            assert not done and pending == {waiter}
        await waiter
        sleeper = asyncio.create_task(asyncio.sleep(100))
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        assert asyncio.current_task() in asyncio.all_tasks()
        assert [*await asyncio.gather(asyncio.sleep(2, "a"), asyncio.sleep(1, "b"))] == ["a", "b"]

    app = run(main)
    assert app.loop.tasks() == [] and app.loop.timers == []


def test_a_generator_that_is_dropped_is_closed() -> None:
    closed: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(1)
            closed.append(True)

    async def main() -> None:
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(2)

    run(main)
    assert closed


SETS_OF_TASKS = """
import asyncio
from kraal.sim.application import Application
from kraal.sim.world import EnsemblePlan, World
world, order = World(1, EnsemblePlan()), []
async def sleep(number):
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        order.append(number)
async def main():
    held = [bytearray(number) for number in range(50)]
    tasks = {asyncio.create_task(sleep(number)) for number in range(20)}
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
app = Application(world, "app")
app.start(main())
world.run(2000)
print(order)
"""


def test_sets_of_tasks_have_the_same_order_in_every_process() -> None:
    orders = {
        subprocess.run(
            [sys.executable, "-c", SETS_OF_TASKS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(orders) == 1 and orders != {"[]\n"}


async def _raise() -> None:
    raise OSError("no reason")


async def _drop_task() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    asyncio.create_task(wait())  # noqa: RUF006
    await asyncio.sleep(1)
    gc.collect()
    await asyncio.sleep(1)


async def _fail_in_callback() -> None:
    asyncio.get_running_loop().call_soon(lambda: 1 // 0)
    await asyncio.sleep(1)


async def _ignore_failed_task() -> None:
    asyncio.create_task(_raise())  # noqa: RUF006
    await asyncio.sleep(1)
    gc.collect()
    await asyncio.sleep(1)


async def _spin() -> None:
    while True:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("main", "what"),
    [
        (_raise, "no reason"),
        (_drop_task, "pending"),
        (_fail_in_callback, "Exception in callback"),
        (_ignore_failed_task, "never retrieved"),
        (_spin, "spins"),
    ],
)
def test_what_fails_unseen_is_a_violation(
    main: Callable[[], Coroutine[Any, Any, None]], what: str
) -> None:
    with pytest.raises(ViolationError, match=what):
        run(main)


def test_a_paused_application_does_nothing_and_then_everything() -> None:
    world = make_world(start=False)
    ticks: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.1)
            ticks.append(loop.time())

    app = Application(world, "app 1")
    app.start(main())
    world.run(1050)
    count = len(ticks)
    app.pause()
    world.run(1000)
    assert len(ticks) == count
    app.resume()
    world.run(1000)
    assert ticks[count] - ticks[count - 1] > 0.9


def test_nothing_of_a_dead_application_cleans_up() -> None:
    world = make_world()
    cleaned: list[str] = []

    async def main() -> None:
        transport, _ = await connect()
        try:
            await asyncio.sleep(100)
        finally:
            transport.close()
            cleaned.append("finally")

    app = Application(world, "app 1")
    app.start(main())
    world.run(1000)
    assert len(world.servers[1].port.connections) == 1
    [transport] = app.loop.transports
    app.kill()
    gc.collect()
    world.run(1000)
    assert not cleaned
    assert not transport.near.is_open
    del app, transport
    gc.collect()


# Connections


@pytest.mark.parametrize("host", ["s1", "10.0.0.1"])
def test_an_application_has_a_session(host: str) -> None:
    world = make_world()

    async def main() -> None:
        transport, client = await connect(host)
        assert await open_session(transport, client)
        assert transport.get_extra_info("peername") == ("10.0.0.1", 2181)
        body = protocol.create(b"/a", b"data", 0)
        transport.writelines([protocol.frame(1, OpCode.CREATE, body), b""])
        assert protocol.read_reply(await client.frames.get()).err == 0
        transport.close()
        assert transport.is_closing()
        assert await client.lost is None
        assert client.calls[0] == "made" and client.calls[-1] == "lost"

    app = run(main, world)
    assert not app.loop.transports
    world.run(500)
    assert world.servers[2].peer.tree.nodes[b"/a"].data == b"data"
    assert not world.servers[1].port.connections


def test_a_name_is_looked_up() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        [(family, kind, _, _, where)] = await loop.getaddrinfo("s3", 2181)
        assert (family, kind, where) == (socket.AF_INET, socket.SOCK_STREAM, ("10.0.0.3", 2181))
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("nobody", 2181)
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Client, "nobody", 2181)
        world.are_names_known = False
        assert await loop.getaddrinfo("10.0.0.3", 2181)
        with pytest.raises(socket.gaierror, match="Temporary"):
            await loop.getaddrinfo("s3", 2181)

    world = make_world(start=False)
    run(main, world)


def test_a_server_that_is_down_refuses_or_is_silent() -> None:
    results: set[str] = set()

    async def main() -> None:
        for _ in range(30):
            try:
                async with asyncio.timeout(0.1):
                    await connect()
            except ConnectionRefusedError:
                results.add("refused")
            except TimeoutError:
                results.add("silent")

    run(main, make_world(start=False))
    assert results == {"refused", "silent"}


@pytest.mark.parametrize("port", [2888, 0])
def test_only_the_client_port_is_served(port: int) -> None:
    async def main() -> None:
        with pytest.raises(OSError):
            async with asyncio.timeout(1):
                await asyncio.get_running_loop().create_connection(Client, "s1", port)

    run(main, make_world())


def test_a_connection_waits_behind_a_partition() -> None:
    world = make_world()
    app = Application(world, "app 1")
    connected: list[float] = []

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await connect()
        transport, client = await connect()
        connected.append(world.scheduler.now_us / SECOND)
        assert await open_session(transport, client)
        transport.abort()

    for server in world.servers.values():
        world.network.block(server, app)
    began = world.scheduler.now_us / SECOND
    app.start(main())
    world.run(5000)
    assert not connected
    world.network.heal()
    world.run(5000)
    assert connected and connected[0] >= began + 5
    assert app.is_done
    app.check()


def test_what_was_given_up_is_closed() -> None:
    world = make_world()

    async def main() -> None:
        for ms in range(40):
            task = asyncio.create_task(connect())
            await asyncio.sleep(ms / 10_000)
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                continue
            transport.abort()

    app = run(main, world)
    world.run(1000)
    assert not app.loop.transports
    assert not world.servers[1].port.connections


@pytest.mark.parametrize("seed", range(6))
def test_a_server_that_dies_is_lost(seed: int) -> None:
    world = make_world(seed)
    world.scheduler.after(SECOND, lambda: world.servers[1].crash(power=False))
    calls: list[list[str]] = []

    async def main() -> None:
        transport, client = await connect()
        await open_session(transport, client)
        error = await client.lost
        assert (client.calls[-2:] == ["eof", "lost"]) == (error is None)
        assert error is None or isinstance(error, ConnectionResetError)
        transport.write(b"to nobody")
        transport.close()
        await asyncio.sleep(1)
        calls.append(client.calls)

    run(main, world)
    assert calls[0].count("lost") == 1


def test_reading_pauses() -> None:
    async def main() -> None:
        transport, client = await connect()
        await open_session(transport, client)
        transport.pause_reading()
        assert not transport.is_reading()
        transport.write(protocol.frame(1, OpCode.CREATE, protocol.create(b"/a", b"", 0)))
        await asyncio.sleep(1)
        assert client.frames.empty()
        transport.resume_reading()
        assert protocol.read_reply(await client.frames.get()).err == 0
        transport.close()

    run(main, make_world())


def test_writing_pauses_while_the_server_does_not_read() -> None:
    world = make_world()

    async def main() -> None:
        transport, client = await connect()
        await open_session(transport, client)
        transport.set_write_buffer_limits(high=2000, low=500)
        world.servers[1].pause()
        for xid in range(1, 41):
            transport.write(
                protocol.frame(xid, OpCode.CREATE, protocol.create(b"/%d" % xid, bytes(200), 0))
            )
        assert client.calls[-1] == "pause"
        assert transport.get_write_buffer_size() > 2000
        await asyncio.sleep(0.2)
        assert client.calls[-1] == "pause"
        world.servers[1].resume()
        for _ in range(40):
            await client.frames.get()
        assert client.calls.count("pause") == client.calls.count("resume") == 1
        assert transport.get_write_buffer_size() == 0
        transport.close()

    run(main, world)


class Buffered(asyncio.BufferedProtocol):
    """Takes a few bytes at a time."""

    def __init__(self) -> None:
        self._piece = bytearray(5)
        self.got = bytearray()
        self.changed = asyncio.Event()

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._piece

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self._piece[:nbytes]
        self.changed.set()


def test_a_buffered_protocol_gets_every_byte() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(Buffered, "s1", 2181)
        transport.write(protocol.connect(0, 2000, 0, bytes(16), read_only=False))
        while len(client.got) < 41:
            client.changed.clear()
            await client.changed.wait()
        assert protocol.read_connected(bytes(client.got[4:])).session_id
        transport.abort()

    run(main, make_world())


def test_there_is_no_tls() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="TLS"):
            await asyncio.get_running_loop().create_connection(Client, "s1", 2181, ssl=True)

    run(main)


def test_clocks_run_at_their_own_rate() -> None:
    world = make_world(start=False)
    app = Application(world, "app 1")
    app.loop.rate = 2.0
    woken_us: list[int] = []

    async def main() -> None:
        await asyncio.sleep(4)
        woken_us.append(world.scheduler.now_us)

    app.start(main())
    world.run(10_000)
    assert 2 * SECOND <= woken_us[0] < 2 * SECOND + 10 * MS
