"""`tree` and `find`."""

from __future__ import annotations

import pytest

import kraal
from kraal.client import CreateMode, digest_acl
from tests.shell.conftest import Opener
from tests.support.servers import HOST, Server


async def test_a_tree_is_drawn(opened: Opener) -> None:
    async with opened() as sh:
        await sh.run(
            "create /a", "create '/a/two words' xyz", "create /a/z.y", "create -e /a/z.y/eph 12",
            "create /ü",
        )  # fmt: skip
        assert (await sh.run("tree")).out.splitlines() == [
            "/",
            "├── a",
            "│   ├── two words",
            "│   └── z.y",
            "│       └── eph  [ephemeral]",
            "└── ü",
            "",
            "6 znodes, 1 ephemeral, 5 bytes of data",
        ]
        assert (await sh.run("tree -L 1 --sizes /a")).out.splitlines() == [
            "/a  [0 bytes]",
            "├── two words  [3 bytes]",
            "└── z.y  [0 bytes, 1 child not shown]",
            "",
            "3 znodes, 0 ephemeral, 3 bytes of data",
        ]
        assert f"ephemeral of 0x{sh.shell.zk.session_id:x}, version 0, 2 bytes" in (
            (await sh.run("tree -l")).out
        )
        assert (await sh.run("tree /none")) == (1, "", "Node does not exist: /none\n")
        assert "from 0 on" in (await sh.run("tree -L -1")).err
        assert (await sh.run("tree /a /b")).code == 1


async def test_a_tree_with_closed_doors(opened: Opener, hosts: str) -> None:
    async with kraal.connect(hosts) as zk:
        await zk.create("/closed", b"", acl=[digest_acl("nobody", "secret")])
    async with opened() as sh:
        said = await sh.run("tree")
        assert "└── closed  [no permission]" in said.out
        assert said.code == 1
        assert said.err == "1 znode could not be read, with what is below: no permission\n"
        assert (await sh.run("find '*'")).out.splitlines() == ["/"]
        assert sh.shell.exit_code == 1


async def test_a_tree_for_programs(opened: Opener) -> None:
    async with opened(is_json=True) as sh:
        await sh.run("create /a xyz")
        root, node, totals = (await sh.run("tree")).json
        assert root["path"] == "/"
        assert (node["path"], node["kind"], node["stat"]["data_length"]) == ("/a", "persistent", 3)
        assert (totals["znodes"], totals["data_bytes"], totals["no_permission"]) == (2, 3, 0)


async def test_the_server_s_own_znodes_are_left_out(server: Server, opened: Opener) -> None:
    async with opened(hosts=f"{HOST}:{server.port}") as sh:
        assert "zookeeper" not in (await sh.run("tree -L 1")).out
        assert "── zookeeper" in (await sh.run("tree -a -L 1")).out
        assert "── quota" in (await sh.run("tree /zookeeper")).out
        assert "/zookeeper/quota" not in (await sh.run("find quota")).out.splitlines()
        assert "/zookeeper/quota" in (await sh.run("find --all quota")).out.splitlines()
    async with opened() as sh:  # below a chroot it is a name as any other
        await sh.run("create /zookeeper")
        assert "── zookeeper" in (await sh.run("tree")).out


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("find '*.lock'", ["/app/one.lock", "/app/sub/two.LOCK.lock"]),
        ("find /app/sub '*'", ["/app/sub", "/app/sub/two.LOCK.lock"]),
        ("find -i '*LOCK.L*'", ["/app/sub/two.LOCK.lock"]),
        ("find '/app/*lock'", ["/app/one.lock", "/app/sub/two.LOCK.lock"]),
        ("find -r '^s|^one'", ["/app/one.lock", "/app/sub"]),
        ("find -r 'app/[^/]+$'", ["/app/[x]", "/app/one.lock", "/app/sub"]),
        ("find '[[]x]'", ["/app/[x]"]),
        ("find --type ephemeral '*'", ["/app/sub/two.LOCK.lock"]),
        ("find --type persistent /app '*o*'", ["/app/one.lock"]),
        ("find --size +3 '*'", ["/app/one.lock"]),
        ("find --size -0 '/app/*'", ["/app/[x]", "/app/sub", "/app/sub/two.LOCK.lock"]),
        ("find --size 5 '*'", ["/app/one.lock"]),
        ("find --newer 1h '*.lock'", ["/app/one.lock", "/app/sub/two.LOCK.lock"]),
        ("find --older 1d '*'", []),
        ("find -L 1 'a*'", ["/app"]),
    ],
)
async def test_find(opened: Opener, written: str, expected: list[str]) -> None:
    async with opened() as sh:
        zk = sh.shell.zk
        await zk.wait_connected()
        for path in ("/app", "/app/sub", "/app/[x]"):
            await zk.create(path)
        await zk.create("/app/one.lock", b"12345")
        await zk.create("/app/sub/two.LOCK.lock", mode=CreateMode.EPHEMERAL)
        said = await sh.run(written)
        assert (said.code, said.out.splitlines(), said.err) == (0, expected, "")


async def test_find_by_owner(opened: Opener) -> None:
    async with opened() as sh:
        await sh.run("create -e /mine", "create /other")
        session = sh.shell.zk.session_id
        for written in (f"0x{session:x}", str(session)):
            assert (await sh.run(f"find --owner {written} '*'")).out == "/mine\n"
        assert (await sh.run("find --owner 5 '*'")).out == ""


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("find", "find [options] [path] pattern"),
        ("find relative '*'", "Path must start with / character"),
        ("find -r '('", "is no regular expression"),
        ("find --size much '*'", "'much' is no size; write 100, 10k or 1M"),
        ("find --newer soon '*'", "'soon' is no length of time"),
        ("find --owner me '*'", "'me' is no session"),
        ("find --type container '*'", "is none of ephemeral, persistent"),
    ],
)
async def test_wrong_questions(opened: Opener, written: str, message: str) -> None:
    async with opened() as sh:
        said = await sh.run(written)
        assert said.code == 1
        assert message in said.err
        assert said.out == ""
