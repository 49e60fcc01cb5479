"""Directories of an Apache ensemble whose members were killed, stopped and synchronised anew.

They hold what a standalone server never writes: snapshots named after an epoch, several epochs
in one log, logs that were cut. Each must be recovered without a hole and with equal digests.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import pytest

from kraal.model.config import StorageConfig
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.inspection import snapshots
from kraal.storage.recovery import Recovered, recover
from tests.support.raw_client import (
    OPEN_ACL,
    ClosedError,
    RawClient,
    create_body,
    set_data_body,
)
from tests.support.servers import Server, apache, four_letter_word, free_port, require_reference

pytestmark = [pytest.mark.apache, pytest.mark.timeout(300)]


class Ensemble:
    def __init__(self, directory: Path, properties: dict[str, object]) -> None:
        require_reference()
        ports = [(free_port(), free_port(), free_port()) for _ in range(3)]
        members = {
            f"server.{at}": f"127.0.0.1:{quorum}:{election};127.0.0.1:{client}"
            for at, (quorum, election, client) in enumerate(ports, 1)
        }
        settings = {"tickTime": 500, "initLimit": 20, "syncLimit": 10, **members}
        self.servers: list[Server] = []
        self.written = 0
        for at, (_, _, client) in enumerate(ports, 1):
            home = directory / str(at)
            (home / "data").mkdir(parents=True)
            (home / "data" / "myid").write_text(str(at))
            server = apache(home, port=client, settings=settings, properties=properties)
            config = home / "zoo.cfg"
            lines = config.read_text().splitlines(keepends=True)
            config.write_text("".join(one for one in lines if not one.startswith("clientPort")))
            self.servers.append(server)

    def start(self, *servers: Server) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.start, servers))

    def leader(self) -> Server:
        for _ in range(200):
            for server in self.running():
                if "Mode: leader" in four_letter_word(server.port, "srvr"):
                    return server
            time.sleep(0.05)
        raise AssertionError("no leader")

    def running(self) -> list[Server]:
        return [one for one in self.servers if one.process and one.process.poll() is None]

    def write(self, server: Server, count: int) -> int:
        """Create and change znodes; returns the last zxid."""
        for _ in range(20):
            try:
                with RawClient(server.port) as client:
                    client.connect()
                    for _ in range(count):
                        self.written += 1
                        path = f"/n{self.written}"
                        client.call("create", create_body(path, b"data", OPEN_ACL, 0))
                        client.call("setData", set_data_body(path, b"more", -1))
                        client.call("setData", set_data_body("/missing", b"", -1))
                    client.call("closeSession")
                    return client.last_zxid
            except (ClosedError, OSError):
                time.sleep(0.2)
        raise AssertionError("no writing")

    def kill(self) -> None:
        for server in self.running():
            server.kill()

    def configs(self) -> list[StorageConfig]:
        places = [PurePath(server.directory / "data") for server in self.servers]
        return [StorageConfig(data_dir=data, data_log_dir=data) for data in places]

    def recovered(self) -> list[Recovered]:
        fs = OsFileSystem()
        return [recover(fs, config, extended_types=True) for config in self.configs()]


@pytest.fixture
def ensemble(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ensemble]:
    properties = {
        "zookeeper.snapCount": 40,
        "zookeeper.preAllocSize": 64,
        **getattr(request, "param", {}),
    }
    made = Ensemble(tmp_path, properties)
    made.start(*made.servers)
    yield made
    made.kill()


def check(ensemble: Ensemble, last: int) -> None:
    check_names(ensemble)
    found = ensemble.recovered()
    for one in found:
        assert one.digest_mismatches == 0, one.warnings
        assert not [note for note in one.warnings if "missing" in note]
        assert one.passed_over == []
    assert max(one.tree.last_zxid for one in found) >= last
    digests = {one.tree.last_zxid: one.tree.digest for one in found}
    assert all(one.tree.digest == digests[one.tree.last_zxid] for one in found)
    paths = {b"/n%d" % number for number in range(1, ensemble.written + 1)}
    assert any(paths <= one.tree.nodes.keys() for one in found)


def check_names(ensemble: Ensemble) -> int:
    """No snapshot is taken for one with another's name; returns how many there are."""
    checked = [snapshots.check(OsFileSystem(), config) for config in ensemble.configs()]
    for one in checked:
        assert one.misnamed == {}
        assert "doubtful-name" not in one.report.kinds()
    return sum(len(one.sound) for one in checked)


SNAP = {"zookeeper.forceSnapshotSync": "true"}
AS_BEFORE_3_9 = {"zookeeper.serializeLastProcessedZxid.enabled": "false"}


@pytest.mark.parametrize(
    "ensemble", [SNAP, {**SNAP, **AS_BEFORE_3_9}], indirect=True, ids=["now", "before-3.9"]
)
def test_leaders_without_a_transaction_name_their_snapshots_well(ensemble: Ensemble) -> None:
    ensemble.write(ensemble.leader(), 30)
    for turn in range(3):
        victim = ensemble.leader() if turn % 2 else ensemble.servers[turn]
        victim.kill()
        ensemble.leader()
        if turn == 1:  # it gets a tree that this epoch has changed by nothing
            shutil.rmtree(victim.directory / "data" / "version-2")
        ensemble.start(victim)
        ensemble.leader()
    ensemble.kill()
    ensemble.start(*ensemble.servers)
    ensemble.leader()
    ensemble.kill()
    before = check_names(ensemble)
    ensemble.start(*ensemble.servers)
    ensemble.write(ensemble.leader(), 30)
    ensemble.kill()
    assert check_names(ensemble) >= before > 3


@pytest.mark.parametrize("ensemble", [{}, SNAP], indirect=True, ids=["diff", "snap"])
def test_members_that_were_killed_and_came_back(ensemble: Ensemble) -> None:
    for turn in range(4):
        ensemble.write(ensemble.servers[turn % 3], 30)
        victim = ensemble.leader() if turn % 2 else ensemble.servers[turn % 3]
        victim.kill()
        ensemble.leader()
        ensemble.write(ensemble.running()[0], 30)
        ensemble.start(victim)
    last = ensemble.write(ensemble.servers[0], 5)
    ensemble.kill()
    check(ensemble, last)


def test_a_leader_whose_last_proposals_were_cut(ensemble: Ensemble) -> None:
    last = ensemble.write(ensemble.servers[0], 10)
    leader = ensemble.leader()
    others = [server for server in ensemble.servers if server is not leader]
    # The others stand still: what the leader logs now is never acknowledged.
    with RawClient(leader.port) as client:
        client.connect()
        for server in others:
            os.kill(server.pid, signal.SIGSTOP)
        for number in range(10):
            client.send("create", create_body(f"/lost-{number}", b"", OPEN_ACL, 0))
        time.sleep(0.5)
        ensemble.kill()
    config = StorageConfig(
        data_dir=PurePath(leader.directory / "data"),
        data_log_dir=PurePath(leader.directory / "data"),
    )
    tail = recover(OsFileSystem(), config, extended_types=True).tree
    assert tail.last_zxid > last
    assert b"/lost-9" in tail.nodes
    ensemble.start(*others)
    last = ensemble.write(others[0], 10)
    ensemble.start(leader)
    last = ensemble.write(leader, 5)
    ensemble.kill()
    check(ensemble, last)
    assert all(b"/lost-9" not in one.tree.nodes for one in ensemble.recovered())
