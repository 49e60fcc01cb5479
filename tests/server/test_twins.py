"""Two servers that call themselves by one id: processes, and the election port alone."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from tests.server.election_peers import Ours, dialled, ensemble, initial, settings_of, started
from tests.server.test_joining import Joiner, until
from tests.support.servers import HOST


def test_two_servers_with_one_id_pause_and_both_sides_say_why(tmp_path: Path) -> None:
    """The leader serves who came last, as ZooKeeper does."""
    settings = {"reconfigEnabled": "false"}
    voter, one, other, leader = everybody = [
        Joiner(tmp_path / name, id_, "", **settings)
        for name, id_ in (("a", 1), ("b", 2), ("c", 2), ("d", 3))
    ]
    for server in everybody:
        second = other if server is other else one
        with server.config.open("a") as config:
            config.writelines(f"{each.line}\n" for each in (voter, second, leader))
    named = re.compile(r"id 2 is used by two servers: 127\.0\.0\.1:\d+ and 127\.0\.0\.1:\d+;")
    paused = re.compile(r"this server, id 2, (\d+) times in a row.*not dialled again for (\d+)")
    try:
        voter.launch()
        leader.launch()
        until(lambda: leader.mode() == "leader", voter, leader)
        one.launch()
        until(lambda: one.mode() == "follower", leader, one)
        other.launch()
        until(lambda: named.search(leader.log()), leader, one, other)
        for twin in (one, other):
            until(lambda twin=twin: "for 800 ms" in twin.log(), leader, one, other)  # type: ignore[misc]
            found = paused.findall(twin.log())
            assert found[:3] == [("2", "200"), ("3", "400"), ("4", "800")]
        assert len(named.findall(leader.log())) < leader.log().count("again, from") / 2
        one.stop()
        until(lambda: other.mode() == "follower", leader, other)
        assert leader.mode() == "leader"
    finally:
        for server in everybody:
            if server.server is not None:
                server.stop()


async def test_an_id_that_dials_to_and_fro_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ours = Ours(1, settings_of(ensemble(1, 2)))

    async def connects(port: int) -> None:
        async with dialled(ours, initial(2, f"{HOST}:{port}")):
            while ours._links.get(2) is None:
                await asyncio.sleep(0.01)
        while ours._links.get(2) is not None:
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20), started(ours):
        for port in (7001, 7001, 7002, 7002):  # it comes back, and it has moved
            await connects(port)
        assert "two servers" not in caplog.text
        for port in (7001, 7002, 7001):
            await connects(port)
    [line] = [record.message for record in caplog.records if "two servers" in record.message]
    assert line.startswith(
        f"Server id 2 is used by two servers: {HOST} (election address {HOST}:7002)"
        f" and {HOST} (election address {HOST}:7001);"
    )
