"""Observers that followers serve, with Apache ZooKeeper on the one end or on the other."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.certificates import members_settings
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Member, Shape, quiet_ports
from tests.support.links import LinksMissingError, build_resolver, host_name
from tests.support.servers import require_reference

TIMEOUT_MS = 4000


def shape_of(participants: tuple[str, ...], observer: str) -> Shape:
    """One port on all hosts, so every member needs an address of its own."""
    if APACHE in (*participants, observer):
        require_reference()
    try:
        build_resolver()
    except LinksMissingError as error:
        pytest.skip(str(error))
    port = quiet_ports(1)[0]
    settings = {"observerMasterPort": port}
    return Shape(participants=participants, observers=(observer,), settings=settings, proxied=True)


def served_by(ensemble: Ensemble, observer: Member) -> Member:
    """The member that an observer is served by."""

    def found() -> Member | None:
        master = observer.figures().get("zk_observer_master_id")
        return ensemble.members.get(int(master or -1))

    return ensemble.wait("a master of the observer", found)


def connected(
    stack: ExitStack, member: Member, former: raw.RawClient | None = None
) -> raw.RawClient:
    """A client of a member, with the session of another one."""
    client = stack.enter_context(raw.RawClient(member.client_port))
    if former is None:
        client.connect(raw.connect_request(timeout=TIMEOUT_MS))
    else:
        assert former.handshake is not None
        session, password = former.handshake.session, former.handshake.password
        answer = client.connect(raw.connect_request(session, password, timeout=TIMEOUT_MS))
        assert answer.session == session
    return client


def test_an_observer_of_a_follower_that_speaks_tls(tmp_path: Path) -> None:
    shape = shape_of((KRAAL, KRAAL, KRAAL), KRAAL)
    tls = members_settings([host_name(number) for number in range(1, 5)])
    with Ensemble(tmp_path, replace(shape, settings={**shape.settings, **tls})) as ensemble:
        ensemble.start()
        outside = ensemble.members[4]
        assert served_by(ensemble, outside).mode() == "follower"
        with ExitStack() as stack:
            client = connected(stack, outside)
            assert client.call("create", raw.create_body("/e", b"", raw.OPEN_ACL, 1)).err == 0


@pytest.mark.apache
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("participants", "observer"),
    [
        ((KRAAL, KRAAL, KRAAL), APACHE),
        ((APACHE, APACHE, KRAAL), KRAAL),
        ((KRAAL, KRAAL, APACHE), KRAAL),
    ],
    ids=["kraal serves Apache", "two of Apache", "one of Apache"],
)
def test_an_observer_of_a_follower(
    tmp_path: Path, participants: tuple[str, ...], observer: str
) -> None:
    shape = shape_of(participants, observer)
    with Ensemble(tmp_path, shape) as ensemble, ExitStack() as stack:
        outside = ensemble.members[4]
        ensemble.start(90)
        master, leader = served_by(ensemble, outside), ensemble.wait_leader()
        assert master.mode() == "follower"
        assert int(leader.figures()["zk_learners"]) == 2

        client = connected(stack, outside)
        assert client.call("create", raw.create_body("/e", b"", raw.OPEN_ACL, 1)).err == 0
        for number in range(100):
            path = f"/n{number}"
            client.send("create", raw.create_body(path, b"x", raw.OPEN_ACL, 0))
            client.send("sync", raw.ustring("/"))
            client.send("getData", raw.path_and_watch(path, False))
        replies = [client.receive() for _ in range(300)]
        assert [reply.err for reply in replies if isinstance(reply, raw.Reply)] == [0] * 300
        for _ in range(6):  # longer than the session would live in silence
            assert client.call("ping").err == 0
            time.sleep(1.0)
        # To every member and back, on the same session.
        for member in (*ensemble.members.values(), outside):
            moved = connected(stack, member, client)
            assert moved.call("setData", raw.set_data_body("/e", b"%d" % member.id, -1)).err == 0
            client = moved
        assert ensemble.wait_in_step() > 0

        master.kill()
        ensemble.wait("another master", lambda: served_by(ensemble, outside) is not master, 60)
        ensemble.wait_mode(outside, "observer", 60)
        client = connected(stack, outside)
        assert client.call("create", raw.create_body("/after", b"", raw.OPEN_ACL, 0)).err == 0
