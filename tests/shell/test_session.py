"""ACLs, quotas, watches, and what a session remembers."""

from __future__ import annotations

import asyncio

import kraal
from tests.shell.conftest import Opener


async def test_acls_are_shown_and_set(opened: Opener) -> None:
    async with opened() as sh:
        await sh.run("create /a", "create /a/b", "create /a/c")
        assert await sh.run("setAcl /a world:anyone:cdrwa,digest:x:y:r,z:r") == (
            0, "", "z:r does not have the form scheme:id:perm\n",
        )  # fmt: skip
        assert (await sh.run("getAcl /a")).out == "'world,'anyone\n: cdrwa\n'digest,'x:y\n: r\n"
        assert await sh.run("setAcl /a nonsense") == (
            1, "", "nonsense does not have the form scheme:id:perm\nAcl is not valid : null\n",
        )  # fmt: skip
        assert (await sh.run("setAcl -R /a world:anyone:cdra")).code == 0
        assert (await sh.run("getAcl /a/c")).out == "'world,'anyone\n: cdra\n"
        await sh.run("setAcl /a/b world:anyone:r")
        code, _, err = await sh.run("setAcl -R /a world:anyone:ra")
        assert (code, err.splitlines()) == (
            1, ["Insufficient permission : /a/b", "1 ACLs could not be set"],
        )  # fmt: skip


async def test_quotas_are_of_the_whole_tree(opened: Opener, hosts: str) -> None:
    whole, _, chroot = hosts.partition("/")
    async with opened() as sh:
        assert "without a chroot" in (await sh.run("setquota -n 1 /")).err
    async with opened(hosts=whole) as sh:
        path = f"/{chroot}"
        await sh.run(f"create {path}/in 12345")
        assert (await sh.run(f"setquota -n 1 {path}")).out == (
            "[Warning]: the count quota you create is less than the existing count:2\n"
        )
        assert (await sh.run(f"listquota {path}")).out == (
            f"Output quota for {path} count=1,bytes=-1=;byteHardLimit=-1;countHardLimit=-1\n"
            f"Output stat for {path} count=2,bytes=5\n"
        )
        assert (await sh.run(f"setquota -b 9 {path}/in")).err == (
            f"{path}/in has a parent {path} which has a quota\n"
        )
        assert (await sh.run(f"setquota -n 0 {path}")).code == 1
        assert (await sh.run(f"delquota {path}")).code == 0
        assert (await sh.run(f"delquota {path}")).out == f"Quota does not exist for {path}\n"


async def test_events_are_printed_once_and_can_be_switched_off(opened: Opener, hosts: str) -> None:
    async with opened() as sh, kraal.connect(hosts) as other:
        await sh.run("create /a", "get -w /a", "stat -w /a", "addWatch /a", "addWatch /a")
        stat = await other.set("/a", b"new")
        await sh.run("sync /")
        assert sh.seen == [
            f"WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: {stat.mzxid}"
        ]
        assert (await sh.run("printwatches")).out == "printwatches is on\n"
        await sh.run("printwatches off")
        await other.set("/a", b"newer")
        await sh.run("sync /")
        assert len(sh.seen) == 1
        assert (await sh.run("removewatches /a -d")).err == (
            "KeeperErrorCode = No such watcher for /a\n"
        )
        assert (await sh.run("addWatch -m nonsense /a")).code == 1


async def test_programs_are_told_of_events(opened: Opener) -> None:
    async with opened(is_json=True, is_quiet=False) as sh:
        await asyncio.sleep(0)
        said = await sh.run("create /a", "get -w /a", "delete /a", "close")
        events = [each for each in said.json if "event" in each]
        assert [each.get("type", each.get("state")) for each in events][-2:] == [
            "NodeDeleted", "Closed",
        ]  # fmt: skip


async def test_history_and_redo(opened: Opener) -> None:
    async with opened() as sh:
        await sh.run("create /a", "get /none")
        assert (await sh.run("redo 0")).err == "Node already exists: /a\n"
        assert (await sh.run("redo 1")).code == 1
        assert (await sh.run("history")).out == (
            "0 - create /a\n1 - get /none\n2 - create /a\n3 - get /none\n4 - history\n"
        )
        for line in ("redo 6", "redo x", "redo 99"):
            assert (await sh.run(line)).err == "Command index out of range\n"


async def test_close_and_connect(opened: Opener, hosts: str) -> None:
    async with opened() as sh:
        await sh.run("create -e /mine")
        assert (await sh.run("getEphemerals")).out == "[/mine]\n"
        await sh.run("close")
        assert await sh.run("ls /") == (1, "Not connected\n", "")
        assert (await sh.run("connect host:0")).code == 1
        await sh.run("connect")
        assert (await sh.run("ls /")).out == "[]\n"
        await sh.run("get /none", "quit")
        assert (sh.shell.exit_code, sh.shell.is_over) == (1, True)


async def test_credentials_that_are_refused(opened: Opener) -> None:
    async with opened() as sh:
        assert (await sh.run("addauth digest bob:pw")).code == 0
        assert (await sh.run("whoami")).out.endswith("digest: bob\n")
        assert (await sh.run("addauth nosuch x")).code == 1
        assert (await sh.run("whoami")) == (1, "Not connected\n", "")


async def test_help(opened: Opener) -> None:
    async with opened() as sh:
        assert "  getAcl " in (await sh.run("help")).out
        shown = (await sh.run("help create")).out
        assert shown.startswith(
            "create [-s] [-e] [-c] [-t ttl] path [data] [acl]\n\nCreate a znode"
        )
        assert " -t <t>" in shown
        assert (await sh.run("help nosuch")).code == 127
