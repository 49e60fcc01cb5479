"""A server in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from kazoo.security import make_digest_acl

from kraal.client import connect
from kraal.errors import ConfigError
from kraal.testing import ServerProcess, StartError, UnavailableError
from tests.cli.terminal import is_alive
from tests.testing.support import kazoo, states_of, threads, until


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        yield server


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    shared.reset()
    return shared


def test_what_was_acknowledged_survives_a_kill(server: ServerProcess) -> None:
    with kazoo(server.hosts) as client:
        states = states_of(client)
        client.create("/a", b"data")
        pid = server.pid
        server.kill()
        assert server.pid is None
        until("loss", lambda: states == ["SUSPENDED"])
        for ask in (server.sessions, lambda: server.expire(1)):
            with pytest.raises(UnavailableError, match="the server does not run"):
                ask()
        server.start()
        assert server.pid not in (None, pid)
        until("connection", lambda: states == ["SUSPENDED", "CONNECTED"])
        assert client.get("/a")[0] == b"data"
    server.restart()
    with kazoo(server.hosts) as client:
        assert client.get("/a")[0] == b"data"


def test_a_paused_process_says_nothing(server: ServerProcess) -> None:
    with kazoo(server.hosts) as client:
        server.pause()
        asked = client.exists_async("/")
        assert not asked.wait(0.3)
        server.resume()
        assert asked.get(timeout=10) is not None


def test_a_slow_disk_delays_writes(server: ServerProcess) -> None:
    with kazoo(server.hosts) as client:
        server.slow_disk(60)
        writing = client.create_async("/a")
        assert not writing.wait(0.3)
        server.slow_disk(0)
        assert writing.get(timeout=10) == "/a"


def test_sessions_expire_on_request(server: ServerProcess) -> None:
    with kazoo(server.hosts) as client:
        states, session_id = states_of(client), client.client_id[0]
        client.create("/mine", ephemeral=True)
        assert server.sessions() == [session_id]
        server.expire(session_id)
        until("a new session", lambda: states == ["SUSPENDED", "LOST", "CONNECTED"])
        assert client.exists("/mine") is None
        with pytest.raises(UnavailableError, match="there is no session"):
            server.expire(session_id)


def test_a_reset_ends_whatever_a_test_did(server: ServerProcess) -> None:
    with kazoo(server.hosts) as client:
        client.add_auth("digest", "user:password")
        client.create("/a/b/c", b"data", makepath=True)
        client.set_acls("/a", [make_digest_acl("user", "password", all=True)])
        client.create("/mine", ephemeral=True)
        client.set("/", b"root")
        client.create("/zookeeper/quota/a", b"")
        server.slow_disk(60)
        server.kill()
        server.reset()
        with kazoo(server.hosts) as other:
            assert other.get_children("/") == ["zookeeper"]
            assert other.get_children("/zookeeper/quota") == []
            assert other.get("/")[0] == b""


def test_a_directory_stays_and_a_temporary_one_goes(tmp_path: Path) -> None:
    before = threads()
    with ServerProcess(tmp_path / "mine") as server, kazoo(server.hosts) as client:
        client.create("/a")
        assert server.directory == tmp_path / "mine"
        assert "Recovered to zxid 0x0" in server.log()
    with ServerProcess(tmp_path / "mine") as server, kazoo(server.hosts) as client:
        assert client.exists("/a")
        pid = server.pid
    assert (tmp_path / "mine" / "server.log").exists()
    assert pid is not None
    assert not is_alive(pid)
    with ServerProcess() as server:
        temporary = server.directory
    assert not temporary.exists()
    assert threads() == before


async def test_coroutines_use_it() -> None:
    async with ServerProcess() as server, connect(server.hosts) as zk:
        assert await zk.get_children("/") == ["zookeeper"]


def test_it_may_be_started_in_a_thread_that_ends() -> None:
    # Linux ends a child with the thread that started it.
    server = ServerProcess()
    thread = Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        with kazoo(server.hosts) as client:
            assert client.get_children("/") == ["zookeeper"]
        assert server.pid is not None
        assert is_alive(server.pid)
    finally:
        server.close()


def test_a_process_that_does_not_start_says_why(tmp_path: Path) -> None:
    before = threads()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "version-2").write_text("in the way")
    failing = pytest.raises(StartError, match=r"has ended with code \d(?s:.*)Not a directory")
    with failing, ServerProcess(tmp_path):
        pass
    with pytest.raises(ConfigError, match="nobody knows tickTme"):
        ServerProcess(tmp_path / "other", settings={"tickTme": 5}).start()
    assert threads() == before


def test_one_that_ended_by_itself_is_noticed(server: ServerProcess) -> None:
    assert server.pid is not None
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    until("end", lambda: not is_alive(pid))
    server.start()
    with kazoo(server.hosts) as client:
        assert client.get_children("/") == ["zookeeper"]
