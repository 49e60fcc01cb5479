"""A kraal server for the tests of the client, and clients that have a chroot to themselves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

import kraal
from kraal.client import Client
from tests.support import choice, servers
from tests.support.servers import HOST, Server

Connector = Callable[..., AbstractAsyncContextManager[Client]]
SETTINGS = {"tickTime": 200, "reconfigEnabled": "true"}


@pytest.fixture(scope="session")
def server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    kind = pytestconfig.getoption(choice.OPTION)
    with choice.chosen(kind, tmp_path_factory.mktemp("client"), SETTINGS) as (running, _):
        yield running


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """A client that was closed leaves no task behind, and complains about nothing."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks were left behind: {left}"
    assert not complaints


@pytest.fixture
def chroot(request: pytest.FixtureRequest, numbers: Iterator[int]) -> str:
    """A path of this test's own, which its clients create when they connect."""
    return f"/{request.function.__name__}-{next(numbers)}"


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def connect(server: Server, chroot: str) -> Connector:
    """`async with connect(port=…, **options) as zk`: a client below the test's chroot."""

    @asynccontextmanager
    async def connected(port: int = server.port, **options: Any) -> AsyncIterator[Client]:
        async with kraal.connect(f"{HOST}:{port}{chroot}", **options) as zk:
            await zk.ensure_path("/")
            yield zk

    return connected


async def figure(server: Server, name: str) -> int:
    """A number of `mntr`, asked without stopping the loop."""
    answer = await asyncio.to_thread(servers.four_letter_word, server.port, "mntr")
    for line in answer.splitlines():
        key, _, value = line.partition("\t")
        if key == f"zk_{name}":
            return int(float(value))
    raise AssertionError(f"mntr has no {name}")
