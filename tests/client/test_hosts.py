"""Connect strings, the order of servers, names that stand for several addresses."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

import kraal
from kraal.client import SessionState
from kraal.client.hosts import Hosts, Server, parse
from kraal.errors import ConfigError
from tests.client.conftest import Connector
from tests.client.test_session import changed_to
from tests.support.proxy import Proxy
from tests.support.servers import HOST, free_port
from tests.support.servers import Server as Process


@pytest.mark.parametrize(
    ("text", "servers", "chroot"),
    [
        ("h", [("h", 2181)], ""),
        ("h:1,i:2", [("h", 1), ("i", 2)], ""),
        (" h:1 , i , h:1", [("h", 1), ("i", 2181)], ""),
        ("h:1/a/b", [("h", 1)], "/a/b"),
        ("h:1/a/", [("h", 1)], "/a"),
        ("h:1/", [("h", 1)], ""),
        ("[::1]:7,[fe80::1%eth0]", [("::1", 7), ("fe80::1%eth0", 2181)], ""),
        ("fe80::1", [("fe80::1", 2181)], ""),
    ],
)
def test_connect_strings(text: str, servers: list[tuple[str, int]], chroot: str) -> None:
    assert parse(text) == (servers, chroot)


def test_servers_read_as_they_are_written() -> None:
    assert str(Server("h", 1)) == "h:1"
    assert str(Server("::1", 1)) == "[::1]:1"
    assert Server("::1", 1).is_address
    assert not Server("localhost", 1).is_address


def test_every_turn_goes_on_behind_the_last_server() -> None:
    servers = [Server(f"h{n}", 1) for n in range(5)]
    hosts = Hosts(servers, random.Random(3))
    first = list(hosts.turn())
    assert sorted(first) == servers
    begun = hosts.turn()
    assert [next(begun), next(begun)] == first[:2]
    assert list(hosts.turn()) == first[2:] + first[:2]
    hosts.prefer(first[4])
    assert next(hosts.turn()) == first[4]
    hosts.resolved(first[0], 3)
    assert hosts.count == 7


async def test_names_are_resolved_at_each_attempt(
    server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    answers: list[list[str] | OSError] = [["192.0.2.1"], OSError("no such name"), [HOST]]
    asked = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answer]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with kraal.connect(f"zoo.example:{server.port}", connect_timeout=0.2) as zk:
        assert zk.server == ("zoo.example", server.port)
    assert len(asked) >= 3  # more on a machine that is too slow for the timeout
    assert set(asked) == {"zoo.example"}


async def test_all_addresses_of_a_name_are_tried(
    server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        found = ("192.0.2.1", "192.0.2.2", HOST)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with kraal.connect(f"zoo.example:{server.port}", connect_timeout=0.2):
        pass


async def test_other_hosts_take_the_session_over(
    connect: Connector, server: Process, chroot: str
) -> None:
    async with Proxy(server.port) as old, Proxy(server.port) as new, connect(port=old.port) as zk:
        session = zk.session_id
        reads = [asyncio.ensure_future(zk.get("/")) for _ in range(20)]
        await asyncio.sleep(0)
        zk.set_hosts(f"{HOST}:{new.port},{HOST}:{free_port()}{chroot}")
        await asyncio.gather(*reads)  # what was sent is answered first
        await changed_to(zk, SessionState.CONNECTING)
        await zk.get("/")
        assert (zk.session_id, new.connections) == (session, 1)
        zk.set_hosts(f"{HOST}:{new.port}")
        await zk.get("/")
        assert zk.state is SessionState.CONNECTED
        with pytest.raises(ConfigError, match="chroot"):
            zk.set_hosts(f"{HOST}:{new.port}/elsewhere")
