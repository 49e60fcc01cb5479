"""Commands on subtrees whose server goes away in the middle, and subtrees on Apache ZooKeeper."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import kraal
from tests.shell.conftest import Opener
from tests.support import servers
from tests.support.servers import HOST

ZNODES = 3000


def _file(tmp_path: Path) -> Path:
    file = tmp_path / "file.json"
    znodes = [{"path": "/"}, *({"path": f"/{n:05}", "data": str(n)} for n in range(ZNODES))]
    file.write_text(json.dumps({"format": "kraal-export", "version": 1, "znodes": znodes}))
    return file


async def test_reads_wait_for_the_server_and_imports_go_on(opened: Opener, tmp_path: Path) -> None:
    file = _file(tmp_path)
    with servers.kraal(tmp_path, settings={"tickTime": 200}) as server:
        async with opened(hosts=f"{HOST}:{server.port}") as sh:
            assert (await sh.run("create /a")).code == 0
            running = asyncio.create_task(sh.shell.run(f"import --mode merge {file} /a"))
            async with kraal.connect(f"{HOST}:{server.port}") as zk:
                while not await zk.get_children("/a"):
                    await asyncio.sleep(0)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            assert await running == 0, sh.said()
            assert f"{ZNODES + 2} znodes" in (await sh.run("tree /")).out
            running = asyncio.create_task(sh.shell.run(f"export /a {tmp_path}/out.json"))
            while not (partial := [*tmp_path.glob(".*.partial")]) and not running.done():
                await asyncio.sleep(0)
            assert partial
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            assert await running == 0, sh.said()
            assert json.loads((tmp_path / "out.json").read_text())["count"] == ZNODES + 1
            assert (await sh.run(f"import {tmp_path}/out.json /b", "diff /a /b")).code == 0


async def test_an_import_that_refuses_does_not_guess(opened: Opener, tmp_path: Path) -> None:
    file = _file(tmp_path)
    with servers.kraal(tmp_path, settings={"tickTime": 200}) as server:
        async with opened(hosts=f"{HOST}:{server.port}") as sh:
            await sh.run("sync /")
            running = asyncio.create_task(sh.shell.run(f"import {file} /a"))
            async with kraal.connect(f"{HOST}:{server.port}") as zk:
                while await zk.exists("/a") is None:
                    await asyncio.sleep(0)
            await asyncio.to_thread(server.kill)
            code = await running
            said = sh.said()
            assert code == 1 or f"{ZNODES + 1} created" in said.out
            if code:
                assert "that were under way may be written or not" in said.err
            await asyncio.to_thread(server.start)
            assert (await sh.run(f"import --mode merge {file} /a")).code == 0
            assert f"{ZNODES + 1} znodes" in (await sh.run("tree /a")).out


@pytest.mark.apache
async def test_apache_on_either_side(opened: Opener, hosts: str, tmp_path: Path) -> None:
    servers.require_reference()
    with servers.apache(tmp_path) as apache:
        address = f"{HOST}:{apache.port}"
        async with opened() as here, opened(hosts=address) as there:
            await here.shell.zk.wait_connected()
            await here.run(
                "create /a one", "create /a/é", "create '/a/b c' x world:anyone:cdra",
                "create -c /a/c", "set -b /a/é /wA=",
            )  # fmt: skip
            for suffix in ("json", "yaml"):
                file = tmp_path / f"a.{suffix}"
                assert (await here.run(f"export -A /a {file}")).code == 0
                assert (await there.run(f"import -p {file} /{suffix}/a")).code == 0
                said = await here.run(f"diff -A /a {address}/{suffix}/a")
                assert said == (0, "", "")
            said = await there.run(f"import -v -m replace {tmp_path}/a.json /json/a")
            assert said.out == "/json/a: 0 created, 0 changed, 4 kept, 0 deleted\n"
            await there.run("set /json/a/é 2", "create -e /json/a/e", "create /json/a/more")
            said = await there.run(f"diff /json/a {hosts}/a")
            assert said.out.splitlines()[2:] == [
                "- /more",
                "~ /é  data 1 byte -> 2 bytes",
                said.out.splitlines()[-1],
            ]
            assert "├── e  [ephemeral]" in (await there.run("tree /json")).out
            assert "zookeeper" not in (await there.run("tree")).out
            running = asyncio.create_task(there.shell.run("watch -c 2 /json"))
            while "Watching" not in there.said().err:
                await asyncio.sleep(0.01)
            async with kraal.connect(address) as zk:
                await zk.create("/json/new")
                await zk.delete("/json/new")
            assert await running == 0
            assert [line.partition("  ")[2] for line in there.said().out.splitlines()] == [
                "created  /json/new", "deleted  /json/new",
            ]  # fmt: skip
