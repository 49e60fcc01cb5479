"""A real ensemble loses its majority: what the doctor says, and what force-new makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kraal.cli.main import main
from tests.server.conftest import connected, create, data_of
from tests.support.ensembles import KRAAL, Ensemble, Member, Shape
from tests.support.servers import HOST

OK, THROTTLED = 0, -127
SMALL_DISK = 1
SHAPE = Shape(
    participants=(KRAAL, KRAAL, KRAAL),
    own_settings={SMALL_DISK: {"disk.refuseFreeBytes": 1 << 60}},
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="kraal")


def findings(ensemble: Ensemble) -> tuple[int, set[str]]:
    """The exit code of the doctor who asks all members, and the words for what he finds."""
    hosts = ",".join(f"{HOST}:{member.client_port}" for member in ensemble.members.values())
    result = run("doctor", hosts, "--output", "json")
    return result.exit_code, {one["kind"] for one in json.loads(result.stdout)["findings"]}


def written(member: Member, path: str) -> int:
    with connected(member.client_port) as client:
        code = create(client, path, b"data")
        assert client.call("closeSession").err == OK
    return code


@pytest.mark.timeout(240)
def test_from_three_to_one_and_back(tmp_path: Path) -> None:
    with Ensemble(tmp_path, SHAPE) as ensemble:
        small, *others = ensemble.members.values()
        for member in others:  # one of these leads, as a majority is there without the third
            member.launch()
        leader = ensemble.wait_serving()
        other = next(member for member in others if member is not leader)
        small.launch()
        ensemble.wait_serving()
        # A member without room refuses its own clients' writes, and nobody else's.
        assert written(small, "/refused") == THROTTLED
        assert written(other, "/of-three") == OK
        assert findings(ensemble) == (3, {"disk-full"})

        leader.kill()
        ensemble.wait_leader()
        code, kinds = findings(ensemble)
        assert code == 3
        assert "unreachable" in kinds
        small.kill()
        ensemble.wait("a member without a leader", lambda: not other.mode())
        assert findings(ensemble) == (3, {"unreachable", "not-serving"})
        other.stop()

        zoo_cfg = other.directory / "zoo.cfg"
        whole = zoo_cfg.read_text()
        assert run("doctor", zoo_cfg).exit_code == 0
        done = run("ensemble", "force-new", "--config", zoo_cfg, "--yes")
        assert done.exit_code == 0, done.output
        other.launch()
        ensemble.wait_mode(other, "standalone")
        assert written(other, "/of-one") == OK
        epoch = other.zxid() >> 32
        other.stop()

        # Back to three: one with an empty directory, one with what it had of the old ensemble.
        zoo_cfg.write_text(whole)
        shutil.rmtree(leader.data)
        other.launch()
        leader.launch()
        ensemble.wait_serving(members=[other, leader])
        assert other.mode() == "leader"
        small.launch()
        ensemble.wait_serving()
        for member in ensemble.members.values():
            with connected(member.client_port) as client:
                for path in ("/of-three", "/of-one"):
                    assert data_of(client, path) == b"data"
        assert written(other, "/of-three-again") == OK
        assert ensemble.wait_in_step() >> 32 > epoch
