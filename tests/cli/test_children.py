"""`kraal children`, on a process whose lists no client with its limit could read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from kraal.cli.main import main
from tests.interop.shell_comparison import zkcli
from tests.server.conftest import connected, create, data_of, running
from tests.support import raw_client as raw
from tests.support.servers import HOST, KRAAL_PATH, free_port

COUNT = 2500
MAX_BUFFER = 4000
OWNERS = [(31, "digest", "root:J1scEM42CKaLPP5+ElgpgGsuONg=")]
"""The password is secret."""


class Listed(NamedTuple):
    """A server with many children below /many."""

    port: int
    admin: str
    names: list[str]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listed]:
    admin = free_port()
    names = sorted(f"{number * 7919 % COUNT:05} ü" for number in range(COUNT))
    with running(
        tmp_path_factory.mktemp("children"),
        jute__maxbuffer=MAX_BUFFER, extendedTypesEnabled="true",
        admin__enableServer="true", admin__serverPort=admin, admin__serverAddress=HOST,
    ) as server, connected(server.port) as client:  # fmt: skip
        create(client, "/many")
        for name in reversed(names):
            create(client, f"/many/{name}")
        yield Listed(server.port, f"{HOST}:{admin}", names)


def kraal(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["children", *map(str, arguments)], prog_name="kraal")


def test_who_is_waited_for_is_said() -> None:
    with socket.create_server((HOST, 0)) as mute:
        address = f"{HOST}:{mute.getsockname()[1]}"
        command = [sys.executable, "-m", "kraal", "children", address, "/"]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **KRAAL_PATH}
        ) as process:
            connection, _ = mute.accept()
            assert process.stderr is not None
            with connection:
                assert f"waiting for {address}, 60 s at most" in process.stderr.readline()
            assert f"{address} does not answer" in process.stderr.read()
        assert process.returncode == 2


def shell(port: int | str, *words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kraal", "shell", "-q", "-server", f"{HOST}:{port}", *words],
        input=lines, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **KRAAL_PATH},
    )  # fmt: skip


def test_all_children_of_a_znode_that_clients_cannot_list(many: Listed) -> None:
    with connected(many.port) as client:
        seen = client.call("getChildren", raw.path_and_watch("/many", False)).value
        assert isinstance(seen, list)
        assert sum(map(len, seen)) > MAX_BUFFER, "a client with this limit breaks off"
    listed = kraal(many.admin, "/many", "--all")
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.splitlines() == many.names
    rows = kraal(many.admin, "/", "--prefix", "many", "-o", "json").stdout.splitlines()
    assert json.loads(rows[0]) == {
        "path": "/many", "name": "many", "kind": "persistent", "data_bytes": 0, "children": COUNT,
    }  # fmt: skip


def test_pages_follow_one_another(many: Listed) -> None:
    names: list[str] = []
    after = ""
    while True:
        page = kraal(many.admin, "/many", "--limit", 999, "--after", after)
        names += page.stdout.splitlines()
        if "There are more" not in page.stderr:
            break
        after = names[-1]
        assert page.stderr == f"There are more: --after '{after}', or --all\n"
    assert names == many.names
    some = kraal(many.admin, "/many", "--prefix", "0001", "--limit", 4, "--paths")
    assert some.stdout.splitlines() == [f"/many/0001{digit} ü" for digit in range(4)]
    assert kraal(many.admin, "/many", "--after", "~").stdout == ""


def test_a_page_is_no_longer_than_it_may_be(many: Listed) -> None:
    with connected(many.port) as client:
        create(client, "/long")
        for number in range(600):
            create(client, f"/long/{number:03}{'n' * 3000}")
    first = kraal(many.admin, "/long", "--limit", 600)
    assert 0 < len(first.stdout.splitlines()) < 600
    assert len(kraal(many.admin, "/long", "--all").stdout.splitlines()) == 600


def test_kinds_are_told(many: Listed) -> None:
    with connected(many.port) as client:
        create(client, "/kinds")
        assert create(client, "/kinds/e", b"xy", 1) == 0
        container = raw.create_body("/kinds/c", b"", raw.OPEN_ACL, 4)
        assert client.call("createContainer", container).err == 0
        ttl = raw.create_ttl_body("/kinds/t", b"", raw.OPEN_ACL, 5, 70_000)
        assert client.call("createTTL", ttl).err == 0
        said = kraal(many.admin, "/kinds", "-o", "json").stdout.splitlines()
        long = kraal(many.admin, "/kinds", "--long").stdout.splitlines()
    rows = [json.loads(row) for row in said]
    assert [(row["name"], row["kind"]) for row in rows] == [
        ("c", "container"), ("e", "ephemeral"), ("t", "ttl"),
    ]  # fmt: skip
    assert rows[1]["session_id"].startswith("0x")
    assert rows[1]["data_bytes"] == 2
    assert rows[2]["ttl_ms"] == 70_000
    assert long[0] == "container          0         0  c"


def test_what_cannot_be_listed_is_said(many: Listed, tmp_path: Path) -> None:
    for path, why in (("/none", "Node does not exist: /none"), ("none", "no path of a znode")):
        refused = kraal(many.admin, path)
        assert refused.exit_code == 2
        assert why in refused.stderr
    denied = kraal(many.admin, "/many", "--auth", "nosuch scheme")
    assert "give --auth" in denied.stderr
    assert denied.exit_code == 2
    nobody = f"{HOST}:{free_port()}"
    assert "does not answer" in kraal(nobody, "/").stderr
    for server in (nobody, f"{HOST}:99999"):
        assert kraal(server, "/").exit_code == 2
        backup = ["backup", server, "--to", str(tmp_path / "to")]
        assert CliRunner().invoke(main, backup, prog_name="kraal").exit_code == 2


def test_names_need_the_permissions_of_the_root(tmp_path: Path) -> None:
    admin = free_port()
    with running(
        tmp_path, admin__enableServer="true", admin__serverPort=admin, admin__serverAddress=HOST
    ) as server, connected(server.port) as client:  # fmt: skip
        acl = raw.set_acl_body("/", OWNERS, -1)
        assert client.call("setACL", acl).err == 0
        target = f"{HOST}:{admin}"
        assert "all permissions on the root" in kraal(target, "/").stderr
        allowed = kraal(target, "/", "--auth", "digest root:secret")
        assert allowed.stdout == "zookeeper\n", allowed.output


def test_a_subtree_that_clients_cannot_list_is_deleted_by_a_pipe(many: Listed) -> None:
    with connected(many.port) as client:
        create(client, "/doomed")
        for number in range(700):
            create(client, f"/doomed/{number:04}")
        create(client, "/doomed/0007/below")
    paths = kraal(many.admin, "/doomed", "--all", "--paths").stdout
    done = shell(many.port, "deleteall", "-b", "50", "-", lines=paths)
    assert done.returncode == 0, done.stderr
    assert kraal(many.admin, "/doomed").stdout == ""
    assert kraal(many.admin, "/", "--prefix", "doomed").stdout == "doomed\n"


def test_a_wrong_line_of_the_pipe_is_named_by_its_number(many: Listed) -> None:
    with connected(many.port) as client:
        create(client, "/kept")
    there = "/kept\n/gone\n"
    for lines, said in (
        (f"{there}kept\n", "line 3: Path must start with / character"),
        (f"{there}\n/kept\n", "line 3: Path length must be > 0"),
        ("/gone\n" * 700 + "/gone/\n", "line 701: Path must not end with / character"),
    ):
        done = shell(many.port, "deleteall", "-", lines=lines)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    with connected(many.port) as client:
        assert data_of(client, "/kept") is not None


def test_an_export_has_the_kinds(many: Listed, tmp_path: Path) -> None:
    with connected(many.port) as client:
        for path in ("/out", "/out/box", "/out/box/plain", "/out/box/plain/inner"):
            kind = "createContainer" if path.endswith(("box", "inner")) else "create"
            flags = 4 if kind == "createContainer" else 0
            assert client.call(kind, raw.create_body(path, b"", raw.OPEN_ACL, flags)).err == 0
        ttl = raw.create_ttl_body("/out/box/lease", b"", raw.OPEN_ACL, 5, 86_400_000)
        assert client.call("createTTL", ttl).err == 0
    file = tmp_path / "box.json"
    for root, path in (("", "/out/box"), ("/out", "/box")):
        exported = shell(
            f"{many.port}{root}", "export", "--force", "--admin", many.admin, path, str(file)
        )
        assert exported.returncode == 0, exported.stderr
        kinds = {
            entry["path"]: (entry.get("kind"), entry.get("ttl"))
            for entry in json.loads(file.read_text())["znodes"]
        }
        assert kinds == {
            "/": ("container", None),
            "/lease": ("ttl", 86_400_000),
            "/plain": (None, None),
            "/plain/inner": ("container", None),
        }
    assert shell(many.port, "import", str(file), "/out/copy").returncode == 0
    copied = kraal(many.admin, "/out/copy", "-o", "json").stdout.splitlines()
    rows = [json.loads(row) for row in copied]
    assert [(row["kind"], row.get("ttl_ms")) for row in rows] == [
        ("ttl", 86_400_000), ("persistent", None),
    ]  # fmt: skip
    nowhere = shell(many.port, "export", "--admin", f"{HOST}:{free_port()}", "/out")
    assert nowhere.returncode == 1
    assert "does not answer" in nowhere.stderr
    assert "is no admin port" in shell(many.port, "export", "--admin", "zk1", "/out").stderr


@pytest.mark.apache
def test_zkcli_cannot_list_what_the_tool_can(many: Listed) -> None:
    said = zkcli(many.port, ("ls", "/many"), properties=(f"-Djute.maxbuffer={MAX_BUFFER}",))
    assert said.code != 0
    assert many.names[0] not in said.out
    assert len(kraal(many.admin, "/many", "--all").stdout.splitlines()) == COUNT


def test_an_export_asks_the_admin_port_before_it_writes(many: Listed, tmp_path: Path) -> None:
    admin = free_port()
    with (
        running(
            tmp_path, admin__enableServer="true", admin__serverPort=admin, admin__serverAddress=HOST
        ) as other,
        connected(other.port) as client,
    ):
        create(client, "/elsewhere")
        create(client, "/elsewhere/below")
        exporting = ("export", "/elsewhere", "--format", "json", "--admin")
        right = shell(other.port, *exporting, f"{HOST}:{admin}")
        assert right.returncode == 0, right.stderr
        assert "below" in right.stdout
        for target, why in (
            (many.admin, "that server has no znode /elsewhere"),
            (f"{HOST}:{free_port()}", "does not answer"),
            (f"{HOST}:99999", "ort out of range"),
        ):
            wrong = shell(other.port, *exporting, target)
            assert wrong.returncode != 0
            assert why in wrong.stderr
            assert wrong.stdout == ""
