"""kraal's tools on directories of Apache ZooKeeper, and its own tools' output beside theirs."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path, PurePath

import pytest
from click.testing import CliRunner, Result

from kraal.cli.main import main
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.recovery import recover
from tests.storage.test_apache_directories import (
    create,
    held,
    reference,
    seen,
    write_every_kind,
)
from tests.support.raw_client import RawClient, path_and_watch
from tests.support.servers import apache, four_letter_word, kraal, require_reference

pytestmark = [pytest.mark.apache, pytest.mark.timeout(300)]

FS = OsFileSystem()
SNAPSHOT_SECONDS = 60.0
BEING_WRITTEN = {"zero-length-snapshot", "torn-snapshot", "damaged-snapshot"}


@pytest.fixture(scope="module")
def classpath() -> str:
    return require_reference()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="kraal")


def looked_at_whole_snapshots(data: Path) -> Result:
    """The doctor's words once no snapshot is being written: Apache's have their final name then."""
    deadline = time.monotonic() + SNAPSHOT_SECONDS
    while True:
        looked = run("doctor", data, "-o", "json")
        kinds = {one["kind"] for one in json.loads(looked.stdout)["findings"]}
        if not kinds & BEING_WRITTEN or time.monotonic() > deadline:
            return looked


@pytest.fixture(scope="module", params=SnapshotCodec, ids=lambda codec: codec.value or "plain")
def directory(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, classpath: str
) -> Path:
    """What a killed Apache ZooKeeper leaves after writes of every kind."""
    path = tmp_path_factory.mktemp("apache")
    server = reference(path, request.param)
    with server, RawClient(server.port) as client, RawClient(server.port) as other:
        client.connect()
        other.connect()
        write_every_kind(client, other)
        # While it runs: looking is safe, and a backup is whole.
        looked = looked_at_whole_snapshots(path / "data")
        assert looked.exit_code == 0, looked.output
        backed_up = run("backup", path / "data", "--to", path / "backup")
        assert backed_up.exit_code == 0, backed_up.output
        server.kill()
    return path


def tool(classpath: str, name: str, *arguments: str) -> str:
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC",
         "-Duser.language=en", "-Duser.country=US", "-cp", classpath,
         f"org.apache.zookeeper.server.{name}", *arguments],
        capture_output=True, text=True, check=True, errors="replace",
    )  # fmt: skip
    return done.stdout


def test_dump_prints_what_txn_log_toolkit_prints(directory: Path, classpath: str) -> None:
    for log in sorted((directory / "data/version-2").glob("log.*")):
        theirs = tool(classpath, "persistence.TxnLogToolkit", str(log))
        # It breaks lines in ACL lists, and prints the bytes of a multi's operations.
        joined = re.sub(r"\}\n(, |\])", r"}\1", theirs)
        expected = [line for line in joined.splitlines() if " session 0x" in line]
        ours = run("log", "dump", log).stdout.splitlines()
        assert ours[-1] in joined
        assert len(ours) - 2 == len(expected)
        for mine, other in zip(ours[1:-1], expected, strict=True):
            if " multi " in other:
                assert mine.partition(" multi ")[0] == other.partition(" multi ")[0]
            elif "closeSession" in other:
                assert sorted(re.split("[{},]", mine)) == sorted(re.split("[{},]", other))
            else:
                assert mine == other


def test_snapshot_dump_has_what_snapshot_formatter_has(directory: Path, classpath: str) -> None:
    for snapshot in sorted((directory / "data/version-2").glob("snapshot.*")):
        theirs = tool(classpath, "SnapshotFormatter", str(snapshot))
        ours = run("snapshot", "dump", snapshot).stdout

        def figures(text: str) -> set[str]:
            nodes = text.partition("----\n")[2].split("----\n")
            return {
                "\n".join(line for line in node.splitlines() if "time =" not in line)
                for node in nodes
            }

        assert ours.splitlines()[0] in theirs
        assert figures(ours) == {one for one in figures(theirs) if "Exiting" not in one}


def test_every_tool_is_content(directory: Path) -> None:
    data = directory / "data"
    for arguments in (("doctor", data), ("log", "verify", data), ("snapshot", "verify", data)):
        result = run(*arguments)
        assert result.exit_code == 0, result.output


def test_history_knows_an_ephemeral_that_ended_with_its_session(directory: Path) -> None:
    text = run("history", "/other-1", "--data-dir", directory / "data", "-o", "json").stdout
    created, deleted = [json.loads(line) for line in text.splitlines()]
    assert (created["type"], created["kind"]) == ("create", "ephemeral")
    assert (deleted["type"], deleted["cause"]) == ("delete", "closeSession")
    assert created["session"] == deleted["session"]
    in_multi = run("history", "/multi/child", "--data-dir", directory / "data", "-o", "json").stdout
    assert [json.loads(line)["cause"] for line in in_multi.splitlines()] == ["multi", "multi"]


def test_apache_starts_on_what_was_restored(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    restored = run("restore", directory / "backup", "--data-dir", target)
    assert restored.exit_code == 0, restored.output
    config = StorageConfig(data_dir=PurePath(target), data_log_dir=PurePath(target))
    expected = held(recover(FS, config, extended_types=True).tree)
    with reference(tmp_path) as server:
        found = seen(server.port)
        assert set(found) >= {path for path in expected if "/ephemeral" not in path}
        assert found["/large"] == expected["/large"]


@pytest.mark.parametrize("kind", [kraal, apache], ids=["kraal", "apache"])
def test_a_backup_of_a_server_that_writes(tmp_path: Path, kind: object) -> None:
    """Everything that was acknowledged before the backup began is in it."""
    require_reference()
    make = kraal if kind is kraal else apache
    settings = {"snapCount": 40, "preAllocSize": 64, "autopurge.purgeInterval": 1}
    with make(tmp_path / "server", settings=settings) as server:
        with RawClient(server.port) as client:
            client.connect()
            for turn in range(6):
                for number in range(30):
                    create(client, f"/{turn}-{number}")
                last = client.call("exists", path_and_watch("/", False)).zxid
                backup = tmp_path / f"backup-{turn}"
                for _ in range(20):  # in flight while the backup reads
                    client.send("setData", b"\0\0\0\4/0-0" + b"\0\0\0\1x" + b"\xff" * 4)
                made = run("backup", tmp_path / "server/data", "--to", backup, "-o", "json")
                assert made.exit_code == 0, made.output
                for _ in range(20):
                    client.receive_frame()
                client._pending.clear()
                assert int(json.loads(made.stdout)["last_zxid"], 16) >= last
                assert run("doctor", backup).exit_code == 0
        assert "Mode: standalone" in four_letter_word(server.port, "srvr")
