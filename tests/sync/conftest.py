"""One server for the tests of the client for threads, forgotten after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kraal import sync
from kraal.testing import Server


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    yield running
    running.reset()


@pytest.fixture
def zk(server: Server) -> Iterator[sync.Client]:
    with sync.connect(server.hosts) as client:
        yield client
