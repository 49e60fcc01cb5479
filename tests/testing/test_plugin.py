"""The pytest plugin, with pytest as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kraal.testing import ServerProcess
from tests.cli.terminal import is_alive
from tests.support import servers
from tests.testing.pytester import ENVIRONMENT, ROOT, command, outcomes, run
from tests.testing.support import kazoo, until

SYNC = """
from kazoo.client import KazooClient

def names(server):
    client = KazooClient(server.hosts)
    client.start()
    try:
        return client.get_children("/")
    finally:
        client.stop()
        client.close()

def leave_something(server):
    client = KazooClient(server.hosts)
    client.start()
    client.create("/left")
    client.create("/ephemeral", ephemeral=True)

def test_one(kraal_server):
    assert names(kraal_server) in ([], ["zookeeper"])
    leave_something(kraal_server)

def test_other(kraal_server):
    assert names(kraal_server) in ([], ["zookeeper"])
    leave_something(kraal_server)
"""


def write(directory: Path, test: str, ini: str = "") -> None:
    (directory / "test_it.py").write_text(test)
    (directory / "pytest.ini").write_text(f"[pytest]\n{ini}\n")


def passed(directory: Path, *arguments: str) -> int:
    done = run(directory, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(done).keys() == {"passed"}, done.stdout
    return outcomes(done)["passed"]


def test_every_test_finds_the_server_as_good_as_new(tmp_path: Path) -> None:
    write(tmp_path, SYNC)
    assert passed(tmp_path) == 2


def test_workers_have_servers_of_their_own(tmp_path: Path) -> None:
    tests = "".join(f"\ndef test_{n}(kraal_server): test_one(kraal_server)\n" for n in range(20))
    write(tmp_path, SYNC + tests)
    assert passed(tmp_path, "-n", "3", "-p", "no:asyncio") == 22


def test_coroutines_use_it_with_pytest_asyncio(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
async def test_coroutine(kraal_server, kraal_async_client):
    async with kraal_async_client() as zk, kraal_async_client() as other:
        await zk.create("/a", b"data")
        assert (await other.get("/a")).data == b"data"
""",
        "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function",
    )
    assert passed(tmp_path) == 1


def test_threads_use_it_with_the_client_for_threads(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
import pytest

def test_threads(kraal_sync_client):
    with kraal_sync_client() as zk, kraal_sync_client() as other:
        zk.create("/a", b"data")
        assert other.get("/a").data == b"data"

def test_no_options(kraal_sync_client, kraal_async_client):
    for connect in (kraal_sync_client, kraal_async_client):
        with pytest.raises(TypeError, match="sync_client.. got an unexpected"):
            connect(session_timeout=5)

def test_as_good_as_new(kraal_sync_client):
    with kraal_sync_client() as zk:
        assert zk.get_children("/") == ["zookeeper"]
""",
    )
    assert passed(tmp_path) == 3


def test_coroutines_use_it_with_anyio(tmp_path: Path) -> None:
    pytest.importorskip("anyio")
    write(
        tmp_path,
        """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_coroutine(kraal_async_client):
    async with kraal_async_client() as zk:
        assert await zk.get_children("/") == ["zookeeper"]
""",
    )
    assert passed(tmp_path, "-p", "no:asyncio") == 1


ENSEMBLES = """
import pytest

@pytest.mark.parametrize("time", [1, 2])
def test_default(kraal_ensemble, time):
    assert len(kraal_ensemble.members) == 2
    kraal_ensemble.kill(kraal_ensemble.leader())

@pytest.mark.kraal_ensemble(size=3, observers=1)
def test_marked(kraal_ensemble):
    assert sorted(kraal_ensemble.modes().values()) == [
        "follower", "follower", "leader", "observer"
    ]

def test_process(kraal_server_process):
    kraal_server_process.kill()
    assert kraal_server_process.pid is None
    kraal_server_process.start()

@pytest.mark.kraal_ensemble(5)
def test_wrong(kraal_ensemble):
    pass
"""


def test_processes_and_ensembles(tmp_path: Path) -> None:
    write(tmp_path, ENSEMBLES, "kraal_ensemble_size = 2\nkraal_settings =\n    tickTime=150")
    done = run(tmp_path, "--strict-markers")
    assert outcomes(done) == {"passed": 4, "error": 1}, done.stdout
    assert "the marker is written kraal_ensemble(size=3, observers=0)" in done.stdout


def test_the_same_tests_run_against_another_server(tmp_path: Path) -> None:
    write(tmp_path, SYNC + "\ndef test_fault(kraal_server): kraal_server.pause()\n" + ENSEMBLES)
    with ServerProcess() as server, kazoo(server.hosts) as client:
        client.create("/precious")
        done = run(tmp_path, "--kraal-hosts", server.hosts)
        assert outcomes(done) == {"passed": 2, "skipped": 6}, done.stdout
        assert "is not a server of the tests and cannot be paused" in done.stdout
        assert sorted(client.get_children("/")) == ["precious", "zookeeper"]


def test_nobody_at_the_other_server_is_said_and_nothing_waits(tmp_path: Path) -> None:
    write(tmp_path, SYNC)
    hosts = f"{servers.HOST}:{servers.free_port()}"
    done = run(tmp_path, "--kraal-hosts", hosts)
    assert outcomes(done) == {"error": 2}, done.stdout
    assert f"no server at {hosts}" in done.stdout
    assert "took longer than" not in done.stdout


@pytest.mark.apache
def test_the_same_tests_run_against_apache(tmp_path: Path) -> None:
    servers.require_reference()
    write(tmp_path, SYNC, "kraal_hosts = unused:1")
    with servers.apache(tmp_path / "server") as server:
        assert passed(tmp_path, "--kraal-hosts", f"{servers.HOST}:{server.port}") == 2


def test_wrong_settings_are_said(tmp_path: Path) -> None:
    write(tmp_path, SYNC, "kraal_settings = tickTme=5")
    done = run(tmp_path)
    assert "nobody knows tickTme" in done.stdout


def test_a_run_that_uses_no_server_imports_none(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
import sys

def test_nothing():
    loaded = [name for name in sys.modules if name.startswith("kraal")]
    assert set(loaded) <= {"kraal", "kraal.version", "kraal.testing", "kraal.testing.plugin"}
""",
    )
    assert passed(tmp_path) == 1


HANGING = """
import signal, sys, time

# What runs in the background of a shell inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def test_hang(kraal_ensemble, kraal_server, kraal_server_process):
    pids = [kraal_ensemble.pid(member) for member in kraal_ensemble.members]
    kraal_ensemble.pause(1)
    print("pids", *pids, kraal_server_process.pid, kraal_ensemble.directory, file=sys.stderr)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_run_that_is_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    write(tmp_path, HANGING)
    pytest_run = subprocess.Popen(
        command("-s"), cwd=tmp_path, env=ENVIRONMENT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    with pytest_run:
        assert pytest_run.stderr is not None
        try:
            found = None
            while found is None:
                line = pytest_run.stderr.readline()
                assert line, "pytest ended"
                found = re.search(r"pids ([\d ]+) (/\S+)", line)
            pids = [int(pid) for pid in found[1].split()]
            assert all(map(is_alive, pids))
            os.kill(pytest_run.pid, number)
            pytest_run.communicate(timeout=60)
        finally:
            pytest_run.kill()  # or the block would wait for what has not ended
    until("end", lambda: not any(map(is_alive, pids)))
    if number == signal.SIGINT:
        assert not Path(found[2]).exists()


def test_the_package_declares_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"kraal": "kraal.testing.plugin"}
    assert sys.version_info >= (3, 11)
