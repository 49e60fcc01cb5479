"""Connections of the quorum port on loopback: dialling, and peers that do not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from kraal.model.ensemble import Address
from kraal.server.quorum_transport import QuorumDialer, QuorumLink, QuorumListener
from tests.support.servers import HOST, free_port

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
LIMIT_SECONDS = 30.0


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine in a loop of either kind."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_in_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_SECONDS):
                await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited())

    return run_in_loop


class Dialling:
    """A dialler, and what comes of it."""

    def __init__(self) -> None:
        self.links: list[QuorumLink] = []
        self.outcome: asyncio.Queue[QuorumLink | None] = asyncio.Queue()
        self.dialer = QuorumDialer(self._link, self.outcome.put_nowait, self._failed)

    def _link(self) -> QuorumLink:
        link = QuorumLink(opened=lambda _: None, received=lambda _, __: None, lost=lambda _: None)
        self.links.append(link)
        return link

    def _failed(self) -> None:
        self.outcome.put_nowait(None)

    def start(self, *addresses: Address, limit_ms: int = 20_000, delay_ms: int = 20) -> None:
        self.dialer.start(addresses, delay_ms=delay_ms, limit_ms=limit_ms)

    def close(self) -> None:
        self.dialer.stop()
        for link in self.links:
            link.close()


class Listening:
    """A port that counts who is connected."""

    def __init__(self) -> None:
        self.address = Address(HOST, free_port())
        self.accepted = 0
        self.closed = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[Listening]:
        server = await asyncio.start_server(self._accept, *self.address)
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.append(writer)
        await reader.read()
        self.closed.set()


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that neither accepts nor refuses: its queue of connections is full."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen(0)
        address = Address(*listening.getsockname())
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        yield address
        for filler in fillers:
            filler.close()


def test_of_several_addresses_the_first_that_answers_is_taken(run: Run, silent: Address) -> None:
    async def main() -> None:
        dialling = Dialling()
        refused = Address(HOST, free_port())
        async with Listening().bound() as leader:
            dialling.start(silent, refused, leader.address)
            link = await dialling.outcome.get()
            assert link is not None
            assert link.name == f"{HOST}:{leader.address.port}"
            assert leader.accepted == 1
        dialling.close()

    run(main)


def test_when_several_answer_one_connection_is_kept(run: Run) -> None:
    async def main() -> None:
        dialling = Dialling()
        async with Listening().bound() as one, Listening().bound() as other:
            dialling.start(one.address, other.address)
            link = await dialling.outcome.get()
            assert link is not None
            taken, left = (
                (one, other) if link.name.endswith(f":{one.address.port}") else (other, one)
            )
            if left.accepted:
                await left.closed.wait()
            assert taken.accepted == 1
            assert not taken.closed.is_set()
            assert dialling.outcome.empty()
        dialling.close()

    run(main)


def test_a_leader_that_listens_late_is_found(run: Run) -> None:
    async def main() -> None:
        dialling = Dialling()
        leader = Listening()
        dialling.start(leader.address)
        await asyncio.sleep(0.03)
        async with leader.bound():
            assert await dialling.outcome.get() is not None
        dialling.close()

    run(main)


def test_nobody_answers(run: Run, silent: Address, caplog: pytest.LogCaptureFixture) -> None:
    """Refusals end soon; silence ends with `connectToLearnerMasterLimit`, or initLimit."""

    async def main() -> None:
        dialling = Dialling()
        for addresses in ((), (Address(HOST, free_port()),), (silent, silent)):
            dialling.start(*addresses, limit_ms=300)
            assert await dialling.outcome.get() is None
            assert dialling.outcome.empty()
        dialling.start(Address("nosuch.invalid", 2888), delay_ms=0)
        assert await dialling.outcome.get() is None
        assert "Cannot dial the leader at nosuch.invalid:2888: [Errno" in caplog.text

    run(main)


def test_a_dial_that_is_given_up_says_nothing(run: Run, silent: Address) -> None:
    async def main() -> None:
        dialling = Dialling()
        async with Listening().bound() as leader:
            for turns in range(12):
                dialling.start(silent, leader.address)
                for _ in range(turns):
                    await asyncio.sleep(0)
                dialling.dialer.stop()
            await asyncio.sleep(0.1)
            assert dialling.outcome.qsize() <= 12
            while not dialling.outcome.empty():
                dialling.outcome.get_nowait()
            dialling.start(leader.address)
            assert await dialling.outcome.get() is not None
        dialling.close()

    run(main)


# A peer that does not read


def test_a_peer_that_does_not_read_is_cut_off_at_its_limit(run: Run) -> None:
    async def main() -> None:
        lost: list[QuorumLink] = []
        opened: asyncio.Queue[QuorumLink] = asyncio.Queue()

        def link() -> QuorumLink:
            return QuorumLink(
                opened=opened.put_nowait,
                received=lambda _, __: None,
                lost=lost.append,
                output_max_bytes=8 << 20,
            )

        listener = QuorumListener(link)
        address = Address(HOST, free_port())
        listener.start([address])
        _, writer = await asyncio.open_connection(*address)
        served = await opened.get()
        sent = 0
        while not lost and sent < 64 << 20:
            served.send(bytes(1 << 16))
            sent += 1 << 16
        assert lost == [served]
        assert 8 << 20 <= sent <= 32 << 20  # the kernel has taken some of it
        served.send(b"more")
        served.stream(iter([b"more"]))
        assert lost == [served]
        listener.stop()
        writer.close()
        await asyncio.sleep(0)

    run(main)


def test_a_stream_is_drawn_only_as_the_peer_takes_it(run: Run) -> None:
    """A snapshot does not stand in memory as a whole, and what follows it waits."""

    async def main() -> None:
        drawn = 0
        opened: asyncio.Queue[QuorumLink] = asyncio.Queue()

        def slices() -> Iterator[bytes]:
            nonlocal drawn
            for _ in range(400):
                drawn += 1
                yield bytes(1 << 16)

        listener = QuorumListener(
            lambda: QuorumLink(
                opened=opened.put_nowait, received=lambda _, __: None, lost=lambda _: None
            )
        )
        address = Address(HOST, free_port())
        listener.start([address])
        reader, writer = await asyncio.open_connection(*address, limit=1 << 16)
        served = await opened.get()
        served.send(b"begin")
        served.stream(slices())
        served.send(b"end")
        while True:
            before = drawn
            await asyncio.sleep(0.1)
            if drawn == before:
                break
        assert drawn < 400
        assert await reader.readexactly(5) == b"begin"
        for _ in range(400):
            assert await reader.readexactly(1 << 16) == bytes(1 << 16)
        assert await reader.readexactly(3) == b"end"
        listener.stop()
        writer.close()
        await asyncio.sleep(0)

    run(main)
