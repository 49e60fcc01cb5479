"""`watch`: what happens below a znode, as it happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import kraal
from kraal.client import NULL
from tests.shell.conftest import Opener, Session
from tests.support import servers
from tests.support.servers import HOST


class Following:
    """A `watch` that runs beside the test."""

    def __init__(self, sh: Session, task: asyncio.Task[int]) -> None:
        self._sh = sh
        self.task = task
        self.out = ""
        self.err = ""

    async def until(self, pattern: str) -> None:
        """Wait until something was written; what is not to come ends the test by its timeout."""
        while not re.search(pattern, self.out + self.err):
            await asyncio.sleep(0.01)
            said = self._sh.said()
            self.out += said.out
            self.err += said.err

    async def code(self) -> int:
        code = await self.task
        said = self._sh.said()
        self.out += said.out
        self.err += said.err
        return code

    @property
    def events(self) -> list[str]:
        """What was told, without its time."""
        return [line.partition("  ")[2] for line in self.out.splitlines()]


@asynccontextmanager
async def _following(sh: Session, line: str) -> AsyncIterator[Following]:
    sh.said()
    following = Following(sh, asyncio.create_task(sh.shell.run(line)))
    try:
        await following.until("Watching|watching")
        yield following
    finally:
        following.task.cancel()
        await asyncio.gather(following.task, return_exceptions=True)


async def test_events_in_their_order(opened: Opener, hosts: str) -> None:
    async with kraal.connect(hosts) as zk, opened() as sh:
        async with _following(sh, "watch /a -c 5") as following:
            assert following.err == "Watching /a\n"
            await zk.create("/b")
            await zk.create("/a")
            await zk.create("/a/x", b"1")
            await zk.set("/a/x", b"2")
            await zk.delete("/a/x")
            await zk.delete("/a")
            assert await following.code() == 0
        assert following.events == [
            "created  /a", "created  /a/x", "changed  /a/x", "deleted  /a/x", "deleted  /a",
        ]  # fmt: skip
        assert re.match(r"\d\d:\d\d:\d\d\.\d\d\d  created", following.out)
        assert await zk.get_children("/") == ["b"]


async def test_data(opened: Opener, hosts: str) -> None:
    async with kraal.connect(hosts) as zk, opened() as sh:
        async with _following(sh, "watch --data / -c 6") as following:
            for number, data in enumerate((b"two\nlines", b"\xff", b"", NULL)):
                await zk.create(f"/{number}", data)
                await following.until(f"/{number}  ")
            await zk.create("/gone")
            await following.until("/gone")
            await zk.delete("/gone")
            assert await following.code() == 0
        assert following.events == [
            "created  /0  two\\nlines", "created  /1  1 byte, no text", "created  /2  ",
            "created  /3  null", "created  /gone  ", "deleted  /gone",
        ]  # fmt: skip


async def test_for_programs(opened: Opener, hosts: str) -> None:
    async with kraal.connect(hosts) as zk, opened(is_json=True) as sh:
        async with _following(sh, "watch -d / -c 1") as following:
            await zk.create("/x", b"data")
            assert await following.code() == 0
        assert '"event": "created", "path": "/x", "zxid": ' in following.out
        assert '"data": "data", "encoding": "utf-8"}' in following.out


async def test_it_ends_in_time(opened: Opener, hosts: str) -> None:
    async with kraal.connect(hosts) as zk, opened() as sh:
        assert (await sh.run("watch -t 0.1s /")) == (0, "", "Watching /\n")
        async with _following(sh, "watch -t 1s -c 2 /") as following:
            await zk.create("/x")
            assert await following.code() == 1
        assert following.events == ["created  /x"]
        assert following.err.endswith("1 of 2 events in 1s\n")
        assert "must be a number from 1 on" in (await sh.run("watch -c 0 /")).err


async def test_it_is_interrupted_and_leaves_no_watch(opened: Opener, hosts: str) -> None:
    async with kraal.connect(hosts) as zk, opened() as sh:
        async with _following(sh, "watch /") as following:
            following.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following.task
        await zk.create("/x")
        await sh.run("sync /")
        assert (await sh.run("ls /")).out == "[x]\n"
        assert (await sh.run("removewatches /")).err == "KeeperErrorCode = No such watcher for /\n"


async def test_a_gap_is_said(opened: Opener, tmp_path: Path) -> None:
    with servers.kraal(tmp_path) as server:
        async with opened(hosts=f"{HOST}:{server.port}") as sh:
            async with _following(sh, "watch /a -c 1") as following:
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await following.until("gap")
                async with kraal.connect(f"{HOST}:{server.port}") as zk:
                    await zk.create("/a")
                assert await following.code() == 0
            gap = "gap  events may be missing: what is below /a must be read again"
            assert following.events == [gap, "created  /a"]
