"""Starts `Peer.java` and talks with it. Curator comes from Maven once, into ``build/``."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.servers import ROOT

HERE = Path(__file__).parent
JARS = ROOT / "build" / "curator-5.9.0"
PATIENCE_SECONDS = 60.0


class CuratorMissingError(Exception):
    """Java or Maven is not there, or Curator cannot be fetched."""


def require_curator() -> str:
    """The class path, or skip the test with the reason; in CI a missing peer is a failure."""
    try:
        return _classpath()
    except CuratorMissingError as error:
        if os.environ.get("CI"):
            pytest.fail(f"Curator is required in CI: {error}")
        pytest.skip(f"no Curator: {error}")


def _classpath() -> str:
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise CuratorMissingError(f"{tool} is not installed")
    if not (JARS / "curator-recipes-5.9.0.jar").exists():
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
             f"-DoutputDirectory={JARS}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CuratorMissingError(f"Maven failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return f"{JARS}/*:{ROOT / 'tests' / 'support'}"


class Thing:
    """One lock, semaphore or latch of Curator's, with a thread of its own."""

    def __init__(self, peer: Peer, name: str) -> None:
        self._peer = peer
        self._name = name

    async def acquire(self, seconds: float = PATIENCE_SECONDS) -> bool:
        return await self._peer.ask("acquire", self._name, round(seconds * 1000)) == "yes"

    async def release(self) -> None:
        assert await self._peer.ask("release", self._name) == "released"

    async def revoke(self, path: str) -> None:
        """Ask the holder that this znode stands for to give up."""
        assert await self._peer.ask("revoke", self._name, path) == "asked"

    async def hears(self) -> str:
        """The next thing that is said without having been asked for."""
        return await self._peer.answer(self._name)


class Peer:
    """The Java process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._in = process.stdin
        self._out = process.stdout
        self._answers: defaultdict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)
        self._count = 0

    async def make(self, kind: str, path: str, *arguments: object) -> Thing:
        """Kinds: mutex, revocable, read, write, semaphore (with its limit), latch."""
        self._count += 1
        name = f"{kind}{self._count}"
        assert await self.ask(kind, name, path, *arguments) == "made"
        return Thing(self, name)

    async def ask(self, verb: str, name: str, *arguments: object) -> str:
        self._in.write(" ".join(map(str, (verb, name, *arguments))).encode() + b"\n")
        return await self.answer(name)

    async def answer(self, name: str) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._answers[name].get()

    async def read(self) -> None:
        """Sort what the process says by whom it is about."""
        async for line in self._out:
            name, _, answer = line.decode().rstrip().partition(" ")
            self._answers[name].put_nowait(answer)


@asynccontextmanager
async def curator(hosts: str) -> AsyncIterator[Peer]:
    """A client of Curator that is connected."""
    process = await asyncio.create_subprocess_exec(
        "java", "-XX:TieredStopAtLevel=1", "-cp", require_curator(), str(HERE / "Peer.java"), hosts,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    peer = Peer(process)
    reading = asyncio.create_task(peer.read())
    try:
        assert await peer.answer("peer") == "ready"
        yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
        reading.cancel()
