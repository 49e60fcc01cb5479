"""Commands on znodes: what they say to people and to programs, and how they fail."""

from __future__ import annotations

import pytest

from tests.shell.conftest import Opener


async def test_create_get_set_delete(opened: Opener) -> None:
    async with opened() as sh:
        assert await sh.run("create /a") == (0, "", "Created /a\n")
        assert await sh.run("get /a") == (0, "null\n", "")
        assert await sh.run("set /a 'two words'") == (0, "", "")
        assert await sh.run("get /a") == (0, "two words\n", "")
        assert await sh.run("get -b /a") == (0, "dHdvIHdvcmRz\n", "")
        assert (await sh.run("get -s /a")).out.splitlines()[7:9] == [
            "dataVersion = 1",
            "aclVersion = 0",
        ]
        assert await sh.run("delete -v 0 /a") == (1, "", "version No is not valid : /a\n")
        assert await sh.run("delete /a") == (0, "", "")
        assert await sh.run("get /a") == (1, "", "Node does not exist: /a\n")


async def test_programs_get_one_object_for_each_result(opened: Opener) -> None:
    async with opened(is_json=True) as sh:
        assert (await sh.run("create /a text")).json == [{"created": "/a"}]
        (got,) = (await sh.run("get -s /a")).json
        assert (got["data"], got["encoding"], got["stat"]["version"]) == ("text", "utf-8", 0)
        await sh.run("set -b /a /w==")
        assert (await sh.run("get /a")).json == [
            {"path": "/a", "data": "/w==", "encoding": "base64"}
        ]
        assert (await sh.run("ls -R /a")).json == [{"path": "/a"}]
        failed = await sh.run("get /none")
        assert failed.out == ""
        assert '"error": "Node does not exist: /none"' in failed.err


async def test_ls_recurses_in_zkcli_s_order(opened: Opener) -> None:
    async with opened() as sh:
        paths = ["/b", "/a", "/a/y", "/a/x", "/b/z", "/a/x/deep"]
        await sh.run(*(f"create {path}" for path in paths))
        assert await sh.run("ls /") == (0, "[a, b]\n", "")
        assert (await sh.run("ls -R /")).out.split() == [
            "/", "/a", "/b", "/a/x", "/a/y", "/a/x/deep", "/b/z",
        ]  # fmt: skip
        assert (await sh.run("getAllChildrenNumber /")).out == "6\n"


async def test_deleteall_takes_many_batches(opened: Opener) -> None:
    async with opened() as sh:
        await sh.run("create /a", *(f"create /a/{n}" for n in range(30)))
        assert (await sh.run("deleteall /a -b 4")).code == 0
        assert (await sh.run("ls /")).out == "[]\n"
        assert await sh.run("deleteall /a") == (1, "", "Node does not exist: /a\n")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("get a", "Path must start with / character"),
        ("get /a/", "Path must not end with / character"),
        ("get /a//b", 'Invalid path string "/a//b" caused by empty node name specified @3'),
        ("get /a/../b", 'Invalid path string "/a/../b" caused by relative paths not allowed @4'),
        ("get /a/.", 'Invalid path string "/a/." caused by relative paths not allowed @3'),
        ("get /a\x01", 'Invalid path string "/a\x01" caused by invalid character @2'),
        ("create -c -s /a", "-c cannot be combined with -s or -e. Containers cannot be ephemeral"
         " or sequential."),
        ("create -t x /a", "-t argument must be a long value"),
        ("create -t 5 -e /a", "TTLs cannot be used with Ephemeral znodes"),
        ("delete -v x /a", "-v argument must be an int value"),
        ("delete", "delete [-v version] path"),
        ("get -q /a", "Unrecognized option: -q"),
    ],
)  # fmt: skip
async def test_what_is_refused(opened: Opener, line: str, complaint: str) -> None:
    async with opened() as sh:
        assert await sh.run(line) == (1, "", f"{complaint}\n")


async def test_unknown_commands_show_what_there_is(opened: Opener) -> None:
    async with opened(is_quiet=False) as sh:
        code, out, err = await sh.run("rmr /a")
        assert (code, out) == (127, "")
        assert "\tget [-s] [-w] [-b] [-x] path\n" in err
        assert err.endswith("Command not found: Command not found rmr\n")
