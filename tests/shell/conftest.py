"""Shells in the test's process, on a kraal server that has a chroot for each test."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import pytest

import kraal
from kraal.shell.registry import COMMANDS
from kraal.shell.settings import Settings
from kraal.shell.shell import Shell
from tests.support import servers
from tests.support.servers import HOST, Server


class Said(NamedTuple):
    """What a line has led to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """The objects of standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


class Session:
    """A shell that is connected, and what it has written since the last question."""

    def __init__(self, shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell = shell
        self._capsys = capsys
        self.seen: list[str] = []
        """All events so far."""

    async def run(self, *lines: str) -> Said:
        """Run lines; the code is that of the last one."""
        self.said()
        for line in lines:
            await self.shell.run(line)
        return self.said()

    def said(self) -> Said:
        """What was written meanwhile."""
        out, err = self._capsys.readouterr()
        self.seen += [line for line in out.splitlines() if line.startswith("WatchedEvent")]
        return Said(self.shell.exit_code, out, err)


Opener = Callable[..., AbstractAsyncContextManager[Session]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.kraal(tmp_path_factory.mktemp("shell")) as running:
        yield running


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
async def hosts(
    server: Server, request: pytest.FixtureRequest, numbers: Iterator[int]
) -> AsyncIterator[str]:
    """The connect string of a chroot that the test has for itself."""
    chroot = f"/{request.function.__name__}-{next(numbers)}"
    async with kraal.connect(f"{HOST}:{server.port}") as zk:
        await zk.create(chroot)
    yield f"{HOST}:{server.port}{chroot}"


@pytest.fixture
def opened(hosts: str, capsys: pytest.CaptureFixture[str]) -> Opener:
    """`async with opened(is_json=True) as session`: a shell that is connected."""

    @asynccontextmanager
    async def session(**settings: Any) -> AsyncIterator[Session]:
        shell = Shell(Settings(**{"hosts": hosts, "is_quiet": True, **settings}), COMMANDS)
        await shell.connect()
        try:
            yield Session(shell, capsys)
        finally:
            await shell.close()

    return session
