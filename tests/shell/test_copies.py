"""`export` and `import`: what is copied, what is kept, what is refused before it is written."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import kraal
from kraal.client import NULL, OPEN_ACL, Acl, Client, CreateMode, digest_acl
from kraal.shell import importing
from tests.shell.conftest import Opener, Session
from tests.support import servers
from tests.support.servers import HOST, Server


async def _made(sh: Session) -> Client:
    """A subtree with one of each."""
    zk = sh.shell.zk
    await zk.wait_connected()
    await zk.create("/app", b"text")
    await zk.create("/app/null", NULL)
    await zk.create("/app/empty", b"")
    await zk.create("/app/binary", b"\xff\x00")
    await zk.create("/app/two words.é", b"1\n2\n")
    await zk.create("/app/two words.é/below", b"x", acl=[digest_acl("me", "pw"), *OPEN_ACL])
    await zk.create("/app/mine", b"soon gone", mode=CreateMode.EPHEMERAL)
    return zk


@pytest.mark.parametrize("suffix", ["json", "yaml"])
async def test_there_and_back(opened: Opener, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"app.{suffix}"
    async with opened() as sh:
        zk = await _made(sh)
        said = await sh.run(f"export --acls /app {file}")
        assert said.out == f"6 znodes of /app exported to {file}\n"
        assert said.err == "1 ephemeral left out; --ephemerals exports them\n"
        said = await sh.run(f"import {file} /copy")
        assert said == (0, "/copy: 6 created, 0 changed, 0 kept, 0 deleted\n", "")
        assert (await zk.get("/copy/null")).data is NULL
        empty = (await zk.get("/copy/empty")).data
        assert empty == b"" and empty is not NULL
        assert (await zk.get("/copy/binary")).data == b"\xff\x00"
        below = "two words.é/below"
        assert (await zk.get_acl(f"/copy/{below}"))[0] == (await zk.get_acl(f"/app/{below}"))[0]
        assert await zk.exists("/copy/mine") is None
        # the same file at its old place, and what is already right is not written
        said = await sh.run(f"import -m overwrite {file}")
        assert said.out == "/app: 0 created, 0 changed, 6 kept, 0 deleted\n"
        assert (await zk.get("/app")).stat.version == 0


async def test_files_are_whole_or_not_there(opened: Opener, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    async with opened() as sh:
        assert (await sh.run(f"export /none {file}")).code == 1
        assert [*tmp_path.iterdir()] == []
        file.write_text("mine")
        said = await sh.run("create /a", f"export /a {file}")
        assert said.code == 1 and said.err.endswith(f"{file} exists; --force replaces it\n")
        assert (await sh.run(f"export /none -f {file}")).code == 1
        assert file.read_text() == "mine"
        assert (await sh.run(f"export -f /a {file}")).code == 0
        assert json.loads(file.read_text())["znodes"] == [{"path": "/", "data": None}]
        assert [*tmp_path.iterdir()] == [file]
        said = await sh.run(f"export /a {tmp_path}/none/a.json")
        assert said.code == 1 and "No such file or directory" in said.err
        assert "neither .json nor .yaml" in (await sh.run(f"export /a {tmp_path}/a.txt")).err


async def test_export_to_the_screen(opened: Opener) -> None:
    async with opened() as sh:
        await _made(sh)
        shown = json.loads((await sh.run("export /app -e")).out)
        assert (shown["root"], shown["count"]) == ("/app", 7)
        assert shown["znodes"][1:4] == [
            {"path": "/binary", "data": "/wA=", "encoding": "base64"},
            {"path": "/empty", "data": ""},
            {"path": "/mine", "data": "soon gone", "kind": "ephemeral"},
        ]
        said = await sh.run("export /app --format yaml")
        assert said.out.splitlines()[-7:] == [
            "- path: /two words.é",
            "  data: |",
            "    1",
            "    2",
            "- path: /two words.é/below",
            "  data: x",
            "count: 6",
        ]
        missing = await sh.run("export /none")
        assert (missing.out, missing.err) == ("", "Node does not exist: /none\n")
    async with opened(is_json=True) as sh:
        header, *znodes, end = (await sh.run("export /app")).json
        assert header == {"format": "kraal-export", "version": 1, "root": "/app"}
        assert [each["path"] for each in znodes][:2] == ["/", "/binary"]
        assert end == {"count": len(znodes)}


def _file(tmp_path: Path, *znodes: dict[str, object], root: str = "/app") -> Path:
    file = tmp_path / "file.json"
    content = {"format": "kraal-export", "version": 1, "root": root, "znodes": znodes}
    file.write_text(json.dumps(content))
    return file


async def _data(zk: Client, *names: str) -> list[bytes | None]:
    found = []
    for path in names:
        is_there = await zk.exists(path) is not None
        found.append((await zk.get(path)).data if is_there else None)
    return found


@pytest.mark.parametrize(
    ("mode", "said", "data"),
    [
        ("merge", "1 created, 0 changed, 2 kept, 0 deleted", [b"old", b"file", b"old", b"old"]),
        ("overwrite", "1 created, 1 changed, 1 kept, 0 deleted", [b"file"] * 2 + [b"old"] * 2),
        ("replace", "1 created, 1 changed, 1 kept, 2 deleted", [b"file", b"file", None, None]),
    ],
)  # fmt: skip
async def test_modes(
    opened: Opener, tmp_path: Path, mode: str, said: str, data: Sequence[bytes | None]
) -> None:
    file = _file(
        tmp_path,
        {"path": "/", "data": "same"}, {"path": "/a", "data": "file"},
        {"path": "/a/new", "data": "file"}, {"path": "/e", "kind": "ephemeral"},
    )  # fmt: skip
    paths = ("/app/a", "/app/a/new", "/app/other", "/app/other/below")
    async with opened() as sh:
        zk = sh.shell.zk
        await zk.wait_connected()
        for path in ("/app", "/app/a", "/app/other", "/app/other/below"):
            await zk.create(path, b"old" if path != "/app" else b"same")
        before = await _data(zk, *paths)
        refused = await sh.run(f"import {file}")
        assert refused.code == 1 and refused.err.startswith("Node already exists: /app; --mode ")
        dry = await sh.run(f"import --dry-run --mode {mode} {file}")
        assert dry.out.splitlines()[-1] == f"/app: {said} (dry run: nothing was done)"
        assert "create /app/a/new" in dry.out.splitlines()
        assert await _data(zk, *paths) == before
        done = await sh.run(f"import -v --mode {mode} {file}")
        assert done.out.splitlines()[:-1] == dry.out.splitlines()[:-1]
        assert done.out.splitlines()[-1] == f"/app: {said}"
        assert done.err == "1 ephemeral of the file left out\n"
        assert await _data(zk, *paths) == data
        again = await sh.run(f"import --mode {mode} {file}")
        assert again.out == "/app: 0 created, 0 changed, 3 kept, 0 deleted\n"


async def test_ephemerals_of_others_are_never_touched(opened: Opener, tmp_path: Path) -> None:
    file = _file(tmp_path, {"path": "/"}, {"path": "/e", "data": "file"})
    async with opened() as sh:
        zk = sh.shell.zk
        await sh.run("create /app", "create -e /app/e mine", "create /app/d", "create -e /app/d/e")
        said = await sh.run(f"import -m replace {file}")
        assert "/app/d has ephemerals below it: left alone" in said.err
        assert "/app/e is an ephemeral of session" in said.err
        assert await _data(zk, "/app/e", "/app/d/e") == [b"mine", NULL]


async def test_kinds_and_acls(opened: Opener, tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        {"path": "/", "acl": ["world:anyone:r"]},  # nothing can be created here afterwards
        {"path": "/c", "kind": "container", "acl": ["world:anyone:ra"]},
        {"path": "/c/below", "acl": ["world:anyone:cdrwa"]},
    )
    async with opened() as sh:
        zk = sh.shell.zk
        said = await sh.run(f"import {file}")
        assert said == (0, "/app: 3 created, 0 changed, 0 kept, 0 deleted\n", "")
        assert (await zk.get_acl("/app"))[0] == [Acl(1, "world", "anyone")]
        assert (await zk.get_acl("/app/c"))[0] == [Acl(17, "world", "anyone")]
        said = await sh.run(f"import --no-acls {file} /open")
        assert (await zk.get_acl("/open/c"))[0] == [*OPEN_ACL]
        # an ACL that differs is a change, and one that the session may not make is said
        await zk.set_acl("/open", [Acl(15, "world", "anyone")])
        said = await sh.run(f"import -m overwrite {file} /open")
        assert said.code == 1
        assert "do not have their ACL yet" in said.err


async def test_a_time_to_live(opened: Opener, tmp_path: Path) -> None:
    file = _file(tmp_path, {"path": "/", "kind": "ttl", "ttl": 50})
    settings = {"extendedTypesEnabled": "true", "znode.container.checkIntervalMs": 50}
    with servers.kraal(tmp_path, settings=settings) as server:
        async with opened(hosts=f"{HOST}:{server.port}") as sh:
            assert (await sh.run(f"import {file} /ttl")).code == 0
            gone = asyncio.Event()
            if await sh.shell.zk.exists("/ttl", watch=lambda _event: gone.set()) is not None:
                await gone.wait()


async def test_parents(opened: Opener, tmp_path: Path) -> None:
    file = _file(tmp_path, {"path": "/a/b/c", "data": "1"}, {"path": "/a/d", "data": "2"})
    async with opened() as sh:
        said = await sh.run(f"import {file} /x/y")
        assert "znode /a/b/c stands before its parent /a/b, or without" in said.err
        said = await sh.run(f"import -p {file} /x/y")
        assert said.code == 1 and said.err.startswith("Node does not exist: /x/y/a")
        await sh.run("create /x/y")
        assert (await sh.run(f"import -p -m merge {file} /x/y")).code == 0
        assert await _data(sh.shell.zk, "/x/y/a/b", "/x/y/a/b/c", "/x/y/a/d") == [NULL, b"1", b"2"]


@pytest.mark.parametrize(
    ("znodes", "message"),
    [
        ([{"path": "/a"}, {"path": "/a"}], "line 1: znode /a is there twice"),
        ([{"path": "/b/a"}, {"path": "/b"}], "znode /b/a stands before its parent /b, or without"),
        ([{"path": "/e", "kind": "ephemeral"}, {"path": "/e/x"}], "the parent of /e/x is ephem"),
        ([{"path": "/"}, {"path": "/big", "data": "x" * 1_100_000}], "znode /big has 1100000 byt"),
        ([{"path": "/"}, {"path": "/bad", "data": 1}], "znode /bad: data must be text in quotes"),
    ],
)
async def test_nothing_is_written_of_a_file_with_a_fault(
    opened: Opener, tmp_path: Path, znodes: list[dict[str, object]], message: str
) -> None:
    file = _file(tmp_path, *znodes)
    async with opened() as sh:
        said = await sh.run(f"import {file}")
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith(str(file)) and message in said.err
        assert (await sh.run("ls /")).out == "[]\n"


async def test_a_whole_server(server: Server, opened: Opener, tmp_path: Path) -> None:
    """Root and chroot: what is there stays, the server's own znodes are no one's business."""
    file = tmp_path / "all.json"
    async with opened(hosts=f"{HOST}:{server.port}") as sh:
        await sh.run(f"export -a / {file}")
        assert any(
            each["path"] == "/zookeeper/quota" for each in json.loads(file.read_text())["znodes"]
        )
        said = await sh.run(f"import -n -m overwrite {file}")
        assert said.code == 0 and "below /zookeeper left out" in said.err
        assert (await sh.run(f"import {file}")).code == 1  # something is there
    async with opened() as sh:
        said = await sh.run(f"import {file} /")
        assert said.code == 0 and "0 deleted" in said.out


async def test_batches_that_others_interfere_with(
    opened: Opener, tmp_path: Path, hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others create and change the same znodes between the look and the transaction."""
    monkeypatch.setattr(importing, "BATCH", 10)
    znodes: list[dict[str, object]] = [{"path": f"/{n}", "data": "file"} for n in range(100)]
    file = _file(tmp_path, {"path": "/"}, *znodes)
    async with kraal.connect(hosts) as other, opened() as sh:
        meddled = 0
        send = importing.Importer._send

        async def meddle(self: importing.Importer, steps: Sequence[importing.Step]) -> None:
            nonlocal meddled
            path = steps[-1].path
            if meddled < 3 and await other.exists("/app") is not None:
                meddled += 1
                if await other.exists(path) is None:
                    await other.create(path, b"other")
            await send(self, steps)

        monkeypatch.setattr(importing.Importer, "_send", meddle)
        said = await sh.run(f"import -m overwrite {file}")
        assert said.code == 0, said
        assert meddled
        names = await other.get_children("/app")
        assert len(names) == 100
        assert {(await other.get(f"/app/{name}")).data for name in names} == {b"file"}


async def test_standard_input(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(tmp_path, {"path": "/", "data": "x"})
    async with opened() as sh:
        said = await sh.run("import -")
        assert said.code == 1 and "commands come from standard input" in said.err
        sh.shell.has_input = True
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
        assert (await sh.run("import -")).out == "/app: 1 created, 0 changed, 0 kept, 0 deleted\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{")))
        assert (
            await sh.run("import - /y")
        ).err == "standard input, line 1: the file ends too early\n"


async def test_an_export_that_is_interrupted_leaves_nothing(opened: Opener, tmp_path: Path) -> None:
    async with opened() as sh:
        zk = sh.shell.zk
        await zk.wait_connected()
        await asyncio.gather(*(zk.create(f"/{number}") for number in range(1000)))
        running = asyncio.create_task(sh.shell.run(f"export / {tmp_path}/a.json"))
        while not [*tmp_path.iterdir()]:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [*tmp_path.iterdir()] == []


async def test_yaml_is_an_extra(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "kraal.shell.yaml_document", raising=False)
    async with opened() as sh:
        said = await sh.run("export / --format yaml")
        assert said == (1, "", "YAML needs PyYAML: pip install 'kraal[yaml]'\n")
        assert (await sh.run("export /")).code == 0


async def test_files_that_cannot_be_opened(opened: Opener, tmp_path: Path) -> None:
    missing = f"{tmp_path}/none/file.json"
    async with opened() as sh:
        assert (await sh.run(f"import {missing}")).err == (
            f"cannot read {missing}: No such file or directory\n"
        )
        assert (await sh.run(f"export / {missing}")).err == (
            f"cannot write {missing}: No such file or directory\n"
        )
        yaml = tmp_path / "file.json"
        yaml.write_text("format: kraal-export\nversion: 1\nznodes: []\n")
        assert "without --format yaml" in (await sh.run(f"import {yaml}")).err
