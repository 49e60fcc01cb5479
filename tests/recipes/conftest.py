"""A server for the tests of the recipes, clients of it, and what they must not leave behind."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

import kraal
from kraal.client import Client
from kraal.recipes import _background
from kraal.testing import Server
from tests.support import choice, servers

Connector = Callable[..., AbstractAsyncContextManager[Client]]
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="session")
def server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server | choice.OtherServer]:
    kind = pytestconfig.getoption(choice.OPTION)
    settings = {"tickTime": 200}
    if kind == choice.DEFAULT:
        with Server(settings=settings) as running:
            yield running
        return
    with choice.chosen(kind, tmp_path_factory.mktemp("recipes"), settings) as (other, leader):
        yield choice.OtherServer(other.port, leader)


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def path(request: pytest.FixtureRequest, numbers: Iterator[int]) -> str:
    """A path that no other test uses."""
    return f"/{request.function.__name__}/{next(numbers)}"


@pytest.fixture
def connect(server: Server) -> Connector:
    """`async with connect(port=…, **options) as zk`: a client, whose background work has ended."""

    @asynccontextmanager
    async def connected(port: int | None = None, **options: Any) -> AsyncIterator[Client]:
        async with kraal.connect(f"{server.host}:{port or server.port}", **options) as zk:
            yield zk
        await background_ends()

    return connected


async def background_ends() -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while _background._running:
            await asyncio.sleep(0.001)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has become true that does so by itself."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def turns(count: int) -> None:
    """Let everything else run for so many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_contenders(zk: Client, path: str, count: int) -> None:
    """Wait until so many znodes are below the path; a missing path counts as none."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await znodes(zk, path) != count:
            await asyncio.sleep(0.001)


async def znodes(zk: Client, path: str) -> int:
    stat = await zk.exists(path)
    return 0 if stat is None else stat.num_children


async def watches(server: Server) -> int:
    """How many watches the server has, of data and of children (`wchs` counts only the former)."""
    answer = await asyncio.to_thread(servers.four_letter_word, server.port, "mntr")
    return int(answer.partition("zk_watch_count\t")[2].partition("\n")[0])


async def until_clean(server: Server, zk: Client, path: str) -> None:
    """Wait until neither contenders nor watches are left."""
    await until_contenders(zk, path, 0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await watches(server):
            await asyncio.sleep(0.001)
