"""The server in the process of its test."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.exceptions import NoNodeError
from kazoo.security import make_digest_acl

from kraal.client import CreateMode, connect
from kraal.errors import ConfigError
from kraal.testing import Server, StartError, UnavailableError, WaitError
from tests.support.servers import four_letter_word
from tests.testing.support import kazoo, states_of, threads, until


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_sync_code_in_the_same_process_uses_it(server: Server) -> None:
    with kazoo(server.hosts) as client:
        client.create("/a", b"data")
        assert client.get("/a")[0] == b"data"
        assert server.sessions() == [client.client_id[0]]
    assert server.sessions() == []


async def test_async_code_uses_it() -> None:
    async with Server() as server, connect(server.hosts) as zk:
        await zk.create("/a", b"data", mode=CreateMode.EPHEMERAL)
        assert (await zk.get("/a")).data == b"data"


@pytest.fixture
def before() -> set[str]:
    """Threads of servers that other fixtures keep."""
    return set(threads())


def test_nothing_of_it_is_left(before: set[str]) -> None:
    with Server() as server:
        port = server.port
        assert threads()
    assert set(threads()) <= before
    with socket.socket() as other:
        other.bind((server.host, port))


def test_a_stop_keeps_port_and_data(server: Server) -> None:
    hosts = server.hosts
    with kazoo(hosts) as client:
        states = states_of(client)
        client.create("/a", b"data")
        server.stop()
        until("loss", lambda: "SUSPENDED" in states)
        assert not server.is_running
        server.start()
        assert server.hosts == hosts
        until("connection", lambda: "CONNECTED" in states)
        assert client.get("/a")[0] == b"data"
        assert "LOST" not in states


def test_a_directory_is_used_again(tmp_path: Path) -> None:
    with Server(tmp_path) as first, kazoo(first.hosts) as client:
        client.create("/a", b"data")
    with Server(tmp_path) as second, kazoo(second.hosts) as client:
        assert client.get("/a")[0] == b"data"
    assert (tmp_path / "version-2").is_dir()


def test_a_reset_leaves_nothing_to_the_next_test(server: Server) -> None:
    with kazoo(server.hosts) as client:
        states, session_id = states_of(client), client.client_id[0]
        client.add_auth("digest", "user:password")
        client.create("/closed", acl=[make_digest_acl("user", "password", all=True)])
        client.create("/closed/below", b"data")
        client.create("/ephemeral", ephemeral=True)
        client.set("/", b"root")
        client.set_acls("/", [make_digest_acl("user", "password", all=True)])
        last_zxid = client.get("/")[1].mzxid
        server.slow_disk(0.01)
        server.reset()
        assert session_id not in server.sessions()
        with kazoo(server.hosts) as other:
            assert other.get_children("/") == ["zookeeper"]
            assert other.get("/")[0] == b""
            other.create("/mine")
            assert other.exists("/mine").czxid > last_zxid
        until("a new session", lambda: states[-2:] == ["LOST", "CONNECTED"])
        assert client.client_id[0] != session_id


def test_resets_do_not_gather_memory(server: Server) -> None:
    sizes = []
    for _ in range(12):
        with kazoo(server.hosts) as client:
            client.create("/large", bytes(500_000))
        server.reset()
        words = four_letter_word(server.port, "dirs").split()
        sizes.append(int(words[words.index("logdir_size:") + 1]))
    assert max(sizes) < 5_000_000, sizes


def test_watches_do_not_survive_a_reset(server: Server) -> None:
    seen: list[object] = []
    with kazoo(server.hosts) as client:
        client.exists("/a", watch=seen.append)
        server.reset()
        with kazoo(server.hosts) as other:
            other.create("/a")
        until("a new session", lambda: client.connected)
    assert [event.type for event in seen] in ([], ["NONE"])  # type: ignore[attr-defined]


def test_any_session_can_expire(server: Server) -> None:
    with kazoo(server.hosts) as client, kazoo(server.hosts) as other:
        states = states_of(client)
        client.create("/mine", ephemeral=True)
        other.create("/others", ephemeral=True)
        server.expire(client.client_id[0])
        assert other.exists("/mine") is None
        assert other.exists("/others") is not None
        until("a new session", lambda: states == ["SUSPENDED", "LOST", "CONNECTED"])
        with pytest.raises(UnavailableError, match="there is no session 0x1234"):
            server.expire(0x1234)


def test_disconnected_clients_keep_their_sessions(server: Server) -> None:
    with kazoo(server.hosts) as client:
        states = states_of(client)
        client.create("/mine", ephemeral=True)
        server.disconnect()
        until("connection", lambda: states == ["SUSPENDED", "CONNECTED"])
        assert client.exists("/mine") is not None


def test_a_paused_server_says_nothing(server: Server) -> None:
    with kazoo(server.hosts) as client:
        server.pause()
        asked = client.exists_async("/")
        assert not asked.wait(0.3)
        server.resume()
        assert asked.get(timeout=10) is not None


def test_a_paused_server_can_be_stopped(before: set[str]) -> None:
    with Server() as server:
        server.pause()
    assert set(threads()) <= before


def test_what_is_asked_of_a_paused_server_does_it_no_harm(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kazoo(server.hosts) as client:
        session_id = client.client_id[0]
        server.pause()
        monkeypatch.setattr("kraal.testing.server.TIMEOUT_SECONDS", 0.1)
        for expired in (session_id, 1):
            with pytest.raises(WaitError, match="of a test server that is paused took longer"):
                server.expire(expired)
        monkeypatch.undo()
        server.resume()
        assert server.sessions() == [session_id], "what was given up is not done later"
        assert client.exists("/") is not None
    assert server.is_running


def test_only_what_runs_can_be_paused() -> None:
    server = Server()
    with pytest.raises(UnavailableError, match="does not run"):
        server.pause()
    server.resume()
    with server:
        server.stop()
        with pytest.raises(UnavailableError, match="does not run"):
            server.pause()


def test_a_slow_disk_delays_writes_but_no_reads_of_others(server: Server) -> None:
    with kazoo(server.hosts) as client, kazoo(server.hosts) as other:
        server.slow_disk(60)
        writing = client.create_async("/a")
        assert other.exists("/a") is None
        assert not writing.wait(0.3)
        server.slow_disk(0)
        assert writing.get(timeout=10) == "/a"


def test_settings_are_those_of_zoo_cfg() -> None:
    with Server(settings={"tickTime": 50, "maxSessionTimeout": 300}) as server:
        with kazoo(server.hosts, timeout=30) as client:
            client.create("/mine", ephemeral=True)
            session_id = client.client_id[0]
            server.stop()
        server.start()
        until("expiry", lambda: session_id not in server.sessions())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tickTme": 5}, "nobody knows tickTme"),
        ({"tickTime": "soon"}, "tickTime"),
        ({"clientPort": 2181}, "clientPort is chosen by the test server"),
        ({"server.1": "a:1:2"}, "server.1 is chosen by the test server"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, str | int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Server(settings=settings)


def test_a_port_in_use_is_said(before: set[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=str(port)), Server(port=port):
            pass
    assert set(threads()) <= before


def test_a_server_that_was_never_started_says_so() -> None:
    server = Server()
    with pytest.raises(UnavailableError, match="was not started"):
        _ = server.hosts
    server.stop()
    server.close()


def test_many_at_once_have_ports_of_their_own(before: set[str]) -> None:
    servers = [Server() for _ in range(5)]
    for server in servers:
        server.start()
    assert len({server.port for server in servers}) == 5
    for number, server in enumerate(servers):
        with kazoo(server.hosts) as client:
            client.create(f"/of-{number}")
            assert sorted(client.get_children("/")) == [f"of-{number}", "zookeeper"]
    for server in servers:
        server.close()
    assert set(threads()) <= before


def test_an_interpreter_ends_with_a_server_that_nobody_stopped() -> None:
    program = """
import logging, kraal.testing
server = kraal.testing.Server()
server.start()
print(server.hosts)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("127.0.0.1:")
    assert done.stderr == ""


async def test_znodes_with_a_ttl_are_served_and_go_soon() -> None:
    async with Server() as server, connect(server.hosts) as zk, asyncio.timeout(30):
        await zk.create("/short", mode=CreateMode.PERSISTENT_WITH_TTL, ttl=0.05)
        while await zk.exists("/short") is not None:
            await asyncio.sleep(0.02)


def test_threads_may_share_it(server: Server) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with kazoo(server.hosts) as client:
                for index in range(20):
                    client.create(f"/{number}-{index}")
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    with kazoo(server.hosts) as client:
        assert len(client.get_children("/")) == 81
        with pytest.raises(NoNodeError):
            client.get("/5-0")
