"""Backups of servers that are written to: exact, and whole in a fresh ensemble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kraal.storage.recovery import recover
from tests.interop.backup_check import (
    FS,
    SOURCES,
    WAYS,
    Plan,
    Result,
    Writer,
    admin,
    data_config,
    prepare,
    run,
    tool,
)
from tests.server.conftest import connected, create
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape, quiet_ports
from tests.support.servers import HOST, Server, apache, free_port, kraal, require_reference

NODE_EXISTS = -110


def check(plan: Plan, directory: Path) -> list[Result]:
    if "apache" in plan.source or plan.target != "kraal":
        require_reference()
    results = run(plan, directory)
    assert not [result.lost for result in results if result.lost]
    assert all(result.acknowledged and result.later for result in results if not result.refused)
    return results


@pytest.mark.timeout(180)
def test_a_backup_of_an_ensemble_that_is_written_to(tmp_path: Path) -> None:
    plan = Plan(source="kraal-3", seconds=3.0, backups=2)
    assert not any(result.refused for result in check(plan, tmp_path))


@pytest.mark.apache
@pytest.mark.timeout(180)
def test_a_snapshot_of_apache_is_exact_or_refused(tmp_path: Path) -> None:
    check(Plan(source="apache", seconds=3.0, backups=1, znodes=500), tmp_path)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", SOURCES)
def test_backups_at_1000_writes_a_second(source: str, way: str, tmp_path: Path) -> None:
    plan = Plan(source=source, way=way, seconds=20.0, backups=4, znodes=50_000)
    refused = [result for result in check(plan, tmp_path) if result.refused]
    assert not refused or (source, way) in {("apache", "http"), ("apache-3", "http")}


def check_restore_into(kinds: tuple[str, ...], directory: Path) -> None:
    """An ensemble that is written to goes back to a backup, all members alike."""
    ports = quiet_ports(3)
    own = {number: admin(port) for number, port in enumerate(ports, start=1)}
    servers = ",".join(f"{HOST}:{port}" for port in ports)
    with Ensemble(directory / "ensemble", Shape(participants=kinds, own_settings=own)) as ensemble:
        ensemble.start()
        members = list(ensemble.members.values())
        leader = ensemble.wait_leader()
        assert leader.kind == KRAAL
        prepare(leader.client_port, 500)
        backup = directory / "backup"
        made = tool("backup", f"{HOST}:{ports[leader.id - 1]}", "--to", backup)
        assert made.returncode == 0, made.stderr
        before = leader.zxid()
        writers = [Writer(number, member.client_port, 100) for number, member in enumerate(members)]
        for writer in writers:
            writer.start()
        ensemble.wait("writes", lambda: leader.zxid() > before + 100)
        if kinds == (KRAAL,) * 3:
            follower = next(member for member in members if member is not leader)
            refused = tool("restore", backup, "--into", f"{HOST}:{ports[follower.id - 1]}", "-y")
            assert refused.returncode == 3
            assert "name the admin ports of all members" in refused.stderr
        done = tool("restore", backup, "--into", servers, "-y")
        assert done.returncode == 0, done.stderr
        for writer in writers:
            writer.join(60)
            assert writer.problem, "every client is disconnected"
        ensemble.wait_serving()
        new = ensemble.wait_leader()
        assert new.zxid() > before
        # What is written after it is there as well, on all, and survives a restart.
        with connected(new.client_port) as client:
            assert create(client, "/written/after") == 0
            assert client.call("closeSession").err == 0
        ensemble.wait_in_step()
        for member in members:
            member.stop()
        trees = [
            recover(FS, data_config(one.data.parent), extended_types=True).tree for one in members
        ]
        assert len({(tree.last_zxid, tree.digest) for tree in trees}) == 1
        assert sum(path.startswith(b"/before/") for path in trees[0].nodes) == 500
        assert [path for path in trees[0].nodes if path.startswith(b"/written/")] == [
            b"/written/after"
        ]
        for one in members:
            told = tool("history", "/before/1", "--data-dir", one.data.parent)
            assert (told.returncode, told.stderr) == (0, "")
            gap, state = told.stdout.splitlines()[-2:]
            assert "are in no log (missing, or replaced)" in gap
            assert "snapshot" in state


@pytest.mark.timeout(120)
def test_a_running_ensemble_goes_back_to_a_backup(tmp_path: Path) -> None:
    check_restore_into((KRAAL, KRAAL, KRAAL), tmp_path)


@pytest.mark.apache
@pytest.mark.parametrize("make", [kraal, apache], ids=["kraal", "apache"])
def test_one_running_server_goes_back_to_a_backup(
    tmp_path: Path, make: Callable[..., Server]
) -> None:
    require_reference()
    port, backup = free_port(), tmp_path / "backup"
    with make(tmp_path / "server", settings=admin(port)) as server:
        with connected(server.port) as client:
            assert create(client, "/before") == 0
            assert client.call("closeSession").err == 0
        made = tool("backup", f"{HOST}:{port}", "--to", backup)
        assert made.returncode == 0, made.stderr
        with connected(server.port) as client:
            assert create(client, "/after") == 0
            assert client.call("closeSession").err == 0
        done = tool("restore", backup, "--into", f"{HOST}:{port}", "-y")
        assert done.returncode == 0, done.stderr
        assert ("in memory only" in done.stderr) == (make is apache)
        with connected(server.port) as client:
            assert create(client, "/before") == NODE_EXISTS
            assert create(client, "/after") == 0
            assert client.call("closeSession").err == 0


@pytest.mark.apache
@pytest.mark.timeout(180)
def test_followers_of_apache_are_restored_by_a_leader_of_kraal(tmp_path: Path) -> None:
    require_reference()
    check_restore_into((APACHE, APACHE, KRAAL), tmp_path)
