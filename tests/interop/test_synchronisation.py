"""Learners are brought in step by DIFF, SNAP and TRUNC, kraal by Apache ZooKeeper and the reverse.

Each way is forced, and both sides' logs say which one was taken
(reference/quorum-protocol.md section 4.4).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, APACHE_BEFORE, KRAAL, Ensemble, Member, Shape
from tests.support.links import LinksMissingError, build_resolver
from tests.support.servers import require_reference

LEARNER = 3
FEW = 10
MANY = 700
"""More than the 500 that a leader keeps in memory."""
_LEADER_SAYS = {
    KRAAL: r"Synchronising follower 3 \(.*: {way} to",
    APACHE: r"LearnerHandler.* Sending {way} ",
    APACHE_BEFORE: r"LearnerHandler.* Sending {way} ",
}
_LEARNER_SAYS = {
    "DIFF": r"Getting a diff from the leader|The leader sends what is missing",
    "SNAP": r"Getting a snapshot from leader|The leader's tree as of",
    "TRUNC": r"Truncating log to get in sync|does not know what this server has behind",
}


def write(member: Member, paths: list[str]) -> None:
    with raw.RawClient(member.client_port, timeout=30) as client:
        client.connect()
        for path in paths:
            client.send("create", raw.create_body(path, b"x", raw.OPEN_ACL, 0))
        assert [reply.err for reply in (client.receive() for _ in paths)] == [0] * len(paths)  # type: ignore[union-attr]


def log_alone(ensemble: Ensemble, leader: Member, client: raw.RawClient) -> None:
    """Wait until the leader has logged writes that nobody else hears of."""
    lost = names("lost", FEW)
    for path in lost:
        client.send("create", raw.create_body(path, b"x", raw.OPEN_ACL, 0))

    def logged() -> bool:
        return any(lost[-1].encode() in log.read_bytes() for log in leader.data.glob("log.*"))

    ensemble.wait("writes in the leader's log", logged)


def names(prefix: str, count: int) -> list[str]:
    return [f"/{prefix}-{number}" for number in range(count)]


def children(member: Member) -> set[str | None]:
    with raw.RawClient(member.client_port) as client:
        client.connect()
        client.call("sync", raw.ustring("/"))
        found = client.call("getChildren", raw.path_and_watch("/", False)).value
    assert isinstance(found, list)
    return set(found)


def assert_way(leader: Member, learner: Member, way: str) -> None:
    """Both have said so; Apache ZooKeeper tells of a TRUNC only where it debugs."""
    if leader.kind == KRAAL or way != "TRUNC":
        word = "snapshot" if way == "SNAP" and leader.kind != KRAAL else way
        pattern = _LEADER_SAYS[leader.kind].format(way=word)
        assert re.search(pattern, leader.log_text()), f"{leader} has sent no {way}"
    assert re.search(_LEARNER_SAYS[way], learner.log_text()), f"{learner} has taken no {way}"


@pytest.fixture(params=[(KRAAL, APACHE), (APACHE, KRAAL)], ids=["of kraal", "by kraal"])
def ensemble(request: pytest.FixtureRequest, tmp_path: Path) -> Ensemble:
    return _ensemble(tmp_path, *request.param)


def _ensemble(directory: Path, learner: str, others: str) -> Ensemble:
    require_reference()
    try:
        build_resolver()
    except LinksMissingError as error:
        pytest.skip(str(error))
    shape = Shape(
        participants=(others, others, learner), proxied=True, log_level="INFO",
        settings={"snapshotSizeFactor": -1},  # what is not in memory is no DIFF
    )  # fmt: skip
    return Ensemble(directory, shape)


@pytest.mark.apache
@pytest.mark.timeout(240)
def test_every_way_to_bring_a_learner_in_step(ensemble: Ensemble) -> None:
    with ensemble:
        bring_in_step_in_every_way(ensemble)


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "kinds", [(KRAAL, APACHE_BEFORE), (APACHE_BEFORE, KRAAL)], ids=["of kraal", "by kraal"]
)
def test_every_way_with_the_release_before(tmp_path: Path, kinds: tuple[str, str]) -> None:
    with _ensemble(tmp_path, *kinds) as ensemble:
        bring_in_step_in_every_way(ensemble)


def bring_in_step_in_every_way(ensemble: Ensemble) -> None:
    links = ensemble.links
    assert links is not None
    learner, other = ensemble.members[LEARNER], ensemble.members[1]
    # It leads first, so that it can log what nobody agrees on.
    learner.launch()
    other.launch()
    ensemble.wait_mode(learner, "leader", 60)
    ensemble.members[2].launch()
    ensemble.wait_serving()
    write(other, names("agreed", FEW))
    with raw.RawClient(learner.client_port) as client:
        client.connect()
        links.stall(LEARNER, 1)
        links.stall(LEARNER, 2)
        log_alone(ensemble, learner, client)
    learner.kill()
    links.heal()
    # With a write in the new epoch it would be SNAP: TRUNC does not go back an epoch.
    leader = ensemble.wait_serving()
    learner.launch()
    ensemble.wait_serving()
    assert_way(leader, learner, "TRUNC")
    write(leader, names("instead", FEW))
    expected = {name[1:] for name in (*names("agreed", FEW), *names("instead", FEW))}
    assert children(learner) == expected | {"zookeeper"}

    for way, count in (("DIFF", FEW), ("SNAP", MANY)):
        learner.stop()
        write(leader, names(way, count))
        learner.launch()
        ensemble.wait_serving()
        assert ensemble.leader() is leader
        assert_way(leader, learner, way)
        write(learner, names(f"after-{way}", FEW))
        ensemble.wait_in_step()
        expected |= {name[1:] for name in (*names(way, count), *names(f"after-{way}", FEW))}
        for member in ensemble.members.values():
            assert children(member) == expected | {"zookeeper"}
    assert [member.figures().get("zk_digest_mismatches_count") for member in (learner, leader)] == [
        "0",
        "0",
    ]
