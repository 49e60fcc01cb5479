"""What a local ensemble's servers are asked, and what is made of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kraal.local.layout import HOST
from kraal.local.status import Figures, Poller, Seen, parse_srvr

# As Apache ZooKeeper 3.9.5 answers.
VERSION = "Zookeeper version: 3.9.5-293c895a, built on 2026-02-11 20:18 UTC\n"
LEADER = f"""\
{VERSION}Latency min/avg/max: 3/5.1234/7
Received: 30
Sent: 30
Connections: 2
Outstanding: 0
Zxid: 0x10000000c
Mode: leader
Node count: 13
Proposal sizes last/min/max: 146/48/146
"""
READ_ONLY = f"""\
{VERSION}READ-ONLY mode; serving only read-only clients
Latency min/avg/max: 0/1.2E-4/0
Received: 17
Sent: 16
Connections: 8
Outstanding: 7
Zxid: 0x200000000
Mode: read-only
Node count: 9
"""
NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"


def test_figures_of_a_leader() -> None:
    assert parse_srvr(LEADER) == Figures(
        mode="leader", zxid=0x10000000C, clients=1, average_ms=5.1234, maximum_ms=7, received=30
    )


def test_figures_of_a_read_only_server() -> None:
    figures = parse_srvr(READ_ONLY)
    assert figures is not None
    assert (figures.mode, figures.clients, figures.average_ms) == ("read-only", 7, 0.00012)


@pytest.mark.parametrize("text", [NOT_SERVING, "", "Mode: leader\n", LEADER[:100]])
def test_other_texts_have_no_figures(text: str) -> None:
    assert parse_srvr(text) is None


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def polled(answer: Answer, data: Path, polls: int = 1) -> list[Seen]:
    """What a poller sees of a server that answers like this."""
    found: list[Seen] = []
    enough = asyncio.Event()

    def changed() -> None:
        found.append(poller.seen)
        if len(found) == polls:
            enough.set()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        poller = Poller(server.sockets[0].getsockname()[1], data, changed)
        poller.watch(1)
        task = asyncio.create_task(poller.run())
        await enough.wait()
        task.cancel()
    return found


def saying(*texts: str) -> Answer:
    """A server with one answer after the other."""
    left = list(texts)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == b"srvr"
        text = left.pop(0)
        writer.write(text[:50].encode())
        await writer.drain()
        writer.write(text[50:].encode())
        writer.close()

    return answer


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say no more than a beginning, until the other side gives up."""
    writer.write(b"Zook")
    try:
        await reader.read()
    finally:
        writer.transport.abort()


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_the_epoch_is_that_of_the_file_before_a_transaction_shows_it(tmp_path: Path) -> None:
    (without,) = asyncio.run(polled(saying(LEADER), tmp_path))
    assert (without.epoch, without.reason) == (1, "")
    (tmp_path / "version-2").mkdir()
    (tmp_path / "version-2" / "currentEpoch").write_text("2")
    (seen,) = asyncio.run(polled(saying(LEADER), tmp_path))
    assert seen.epoch == 2
    assert seen.figures == parse_srvr(LEADER)
    (electing,) = asyncio.run(polled(saying(NOT_SERVING), tmp_path))
    assert electing == Seen(reason="has no leader", epoch=2)


def test_requests_are_counted_between_polls_and_anew_in_a_new_term(tmp_path: Path) -> None:
    def received(count: int) -> str:
        return LEADER.replace("Received: 30", f"Received: {count}")

    texts = [received(30), received(31), received(1032), received(2)]
    rates = [seen.requests_per_s for seen in asyncio.run(polled(saying(*texts), tmp_path, 4))]
    assert rates[:2] == [None, 0], "the question itself is no request"
    assert rates[2] is not None
    assert 0 < rates[2] < 1000 / 0.5 + 1
    assert rates[3] is None


@pytest.mark.parametrize("answer", [hang, reset])
def test_a_server_that_hangs_costs_nobody_anything(answer: Answer, tmp_path: Path) -> None:
    assert asyncio.run(polled(answer, tmp_path)) == [Seen(reason="does not answer")]


def test_an_answer_of_the_last_process_is_forgotten(tmp_path: Path) -> None:
    async def scene() -> tuple[Seen, list[Seen]]:
        asked, go_on = asyncio.Event(), asyncio.Event()
        found: list[Seen] = []

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await go_on.wait()
            writer.write(LEADER.encode())
            writer.close()

        async with await asyncio.start_server(answer, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            poller = Poller(port, tmp_path, lambda: found.append(poller.seen))
            poller.watch(1)
            task = asyncio.create_task(poller.run())
            await asked.wait()
            poller.watch(2)
            asked.clear()
            go_on.set()
            await asked.wait()  # the next poll has begun, so the first is over
            seen = poller.seen
            task.cancel()
        return seen, found

    seen, found = asyncio.run(scene())
    assert seen == Seen()
    assert found == []
