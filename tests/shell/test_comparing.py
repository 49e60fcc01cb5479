"""`diff`, and that nothing differs after an export and an import."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import kraal
from kraal.client import NULL, Acl, Client, CreateMode, digest_acl
from kraal.shell.commands import comparing
from kraal.shell.documents import FORMS
from kraal.shell.registry import COMMANDS
from kraal.shell.settings import Settings
from kraal.shell.shell import Shell
from kraal.shell.znodes import Entry, NodeKind
from tests.shell.conftest import Opener, Session
from tests.shell.test_documents import entry_lists
from tests.support import servers
from tests.support.servers import HOST, Server


async def _client(sh: Session) -> Client:
    await sh.shell.zk.wait_connected()
    return sh.shell.zk


async def _make(zk: Client, root: str, **znodes: bytes) -> None:
    await zk.create(root)
    for name, data in znodes.items():
        await zk.create(f"{root}/{name.replace('_', '/')}", data)


async def test_what_differs_is_told(opened: Opener) -> None:
    async with opened() as sh:
        zk = await _client(sh)
        await _make(zk, "/a", same=b"1", changed=b"a\nb\nc\n", null=NULL, old=b"", old_x=b"")
        await _make(zk, "/b", same=b"1", changed=b"a\nB\nc\n", null=b"", new=b"")
        said = await sh.run("diff /a /b")
        assert said == (
            1,
            "--- /a\n+++ /b\n~ /changed  data 6 bytes -> 6 bytes\n+ /new\n"
            "~ /null  data null -> 0 bytes\n- /old  and 1 below\n"
            "5 of 7 znodes differ: 2 only in /a, 1 only in /b, 2 changed\n",
            "",
        )
        assert "  -b\n  +B\n" in (await sh.run("diff -u /a /b")).out
        assert (await sh.run("diff -s /a /b")).out.startswith("5 of 7 znodes differ: ")
        assert await sh.run("diff /a /a") == (0, "", "")
        assert (await sh.run("diff -s /a /a")).out.startswith("0 of 6 znodes differ")
        assert (await sh.run("diff /a/old /b/null")).code == 1


async def test_acls_and_ephemerals_if_they_are_asked_for(opened: Opener) -> None:
    async with opened() as sh:
        zk = await _client(sh)
        for root, mode in (("/a", CreateMode.PERSISTENT), ("/b", CreateMode.EPHEMERAL)):
            await _make(zk, root, x=b"")
            await zk.create(f"{root}/e", mode=CreateMode.EPHEMERAL)
            await zk.create(f"{root}/k", mode=mode)
        await zk.create("/a/mine", mode=CreateMode.EPHEMERAL)
        assert (await sh.run("diff /a /b")).out.splitlines()[2:3] == ["- /k"]
        assert (await sh.run("diff -e /a /b")).out.splitlines()[2:4] == [
            "~ /k  kind persistent -> ephemeral",
            "- /mine",
        ]
        await zk.delete("/a/k")
        assert (await sh.run("diff -A /a /b")).code == 0
        await zk.set_acl("/b/x", [Acl(1, "world", "anyone")])
        assert (await sh.run("diff /a /b")).code == 0
        said = await sh.run("diff -A /a /b")
        assert "~ /x  acl world:anyone:cdrwa -> world:anyone:r" in said.out.splitlines()


async def test_order_is_that_of_names_not_of_paths(opened: Opener) -> None:
    """`a-b` is before `a/b` as text, and behind all of `a` in a walk."""
    names = ["a", "a_x", "a-b", "a.b", "a b", "é", "a_x_y"]
    async with opened() as sh:
        zk = await _client(sh)
        for root, left_out in (("/l", ""), ("/r", "a_x_y")):
            await _make(zk, root, **{name: b"" for name in names if name != left_out})
        assert (await sh.run("diff /l /r")).out.splitlines()[2:] == [
            "- /a/x/y",
            "1 of 8 znodes differ: 1 only in /l, 0 only in /r, 0 changed",
        ]


async def test_two_servers(opened: Opener, server: Server, tmp_path: Path) -> None:
    with servers.kraal(tmp_path) as other_server:
        address = f"{HOST}:{other_server.port}"
        async with kraal.connect(address) as other, opened() as sh:
            zk = await _client(sh)
            await _make(zk, "/a", x=b"1")
            await _make(other, "/b", x=b"2")
            said = await sh.run(f"diff /a {address}/b")
            assert said.code == 1
            assert said.out.startswith(f"--- /a\n+++ {address}/b\n~ /x  data 1 byte -> 1 byte\n")
            assert (await sh.run(f"diff {address}/b {address}/b")).code == 0
            # /zookeeper is nobody's business
            assert "/zookeeper" not in (await sh.run(f"diff / {address}")).out


async def test_trouble_is_2(opened: Opener, hosts: str) -> None:
    async with opened(timeout_ms=1000) as sh:
        zk = await _client(sh)
        await zk.create("/a")
        await zk.create("/b")
        await zk.create("/b/closed", acl=[digest_acl("nobody", "pw")])
        for written, message in (
            ("/a /none", "Node does not exist: /none"),
            ("/a /b/", "Path must not end with / character"),
            (f"/a {HOST}:{servers.free_port()}/x", "no server could be reached"),
            ("/a host:0/y", "is no address of a server"),
            ("/a /b", "1 znode could not be read: no permission"),
            ("", "diff [options] path path"),
            ("/a", "diff [options] path path"),
            ("/a /a /a", "diff [options] path path"),
            ("--bogus /a /a", "Unrecognized option: --bogus"),
        ):
            said = await sh.run(f"diff {written}")
            assert (said.code, message in said.err) == (2, True), said
        await sh.shell.close()
        assert (await sh.run("diff /a /a")).code == 2
        assert (await sh.run("ls /a")).code == 1


async def test_nobody_at_the_other_side_is_said_once(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE", 0.2)
    async with opened() as sh:
        await sh.run("create /a")
        other = f"{HOST}:{servers.free_port()}"
        assert await sh.run(f"diff /a {other}/a") == (
            2, "", f"{other}: no server could be reached\n",
        )  # fmt: skip


async def test_for_programs(opened: Opener) -> None:
    async with opened(is_json=True) as sh:
        zk = await _client(sh)
        await _make(zk, "/a", x=b"1", y=b"", y_z=b"")
        await _make(zk, "/b", x=b"\xff")
        said = await sh.run("diff -u /a /b")
        assert said.code == 1 and said.err == ""
        heading, changed, only, totals = said.json
        assert heading == {"left": "/a", "right": "/b"}
        assert changed["right_data"] == {"data": "/w==", "encoding": "base64"}
        assert only == {"path": "/y", "difference": "only left", "below": 1}
        assert (totals["only_left"], totals["changed"]) == (2, 1)


_MODES = {
    NodeKind.PERSISTENT: CreateMode.PERSISTENT,
    NodeKind.CONTAINER: CreateMode.CONTAINER,
    NodeKind.TTL: CreateMode.PERSISTENT,  # it might be gone before it is looked at
}
_roots = itertools.count()


@pytest.mark.parametrize("name", FORMS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(entries=entry_lists())
def test_nothing_differs_after_a_journey(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str,
    entries: Sequence[Entry],
) -> None:  # fmt: skip
    """Export, import, diff: names, data, ACLs, whatever they are."""

    async def journey() -> None:
        root = f"/journey-{next(_roots)}"
        async with kraal.connect(f"{HOST}:{server.port}") as zk:
            for path in (root, f"{root}/from"):
                await zk.create(path)
            short_lived = {e.path for e in entries if e.kind is NodeKind.EPHEMERAL}
            for entry in entries[1:]:
                if any(f"{entry.path}/".startswith(f"{path}/") for path in short_lived):
                    continue
                mode = _MODES[entry.kind]
                await zk.create(f"{root}/from{entry.path}", entry.data, mode=mode)
            await zk.set(f"{root}/from", entries[0].data)
            for entry in entries:
                if entry.acl and await zk.exists(f"{root}/from{entry.path}".rstrip("/")):
                    perms = [Acl(each.perms, "world", "anyone") for each in entry.acl]
                    acl = [*perms, digest_acl("ünd", "pw"), Acl(9, "world", "anyone")]
                    await zk.set_acl(f"{root}/from{entry.path}".rstrip("/"), acl)
        shell = Shell(Settings(hosts=f"{HOST}:{server.port}{root}", is_quiet=True), COMMANDS)
        await shell.connect()
        try:
            file = tmp_path / f"journey.{name}"
            assert await shell.run(f"export -A -f /from {file}") == 0
            assert await shell.run(f"import {file} /to") == 0
            assert await shell.run("diff -A /from /to") == 0
            assert await shell.run(f"import -m replace {file} /to") == 0
            assert " 0 created, 0 changed," in capsys.readouterr().out.splitlines()[-1]
        finally:
            await shell.close()

    asyncio.run(journey())
