"""Servers log in to each other by SASL: kraal alone, and beside Apache ZooKeeper in any role."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.test_tls import with_jks
from tests.server.conftest import connected, create
from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape
from tests.support.servers import require_reference

pytestmark = pytest.mark.timeout(180)

DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule"
REQUIRED = {
    "quorum.auth.enableSasl": "true",
    "quorum.auth.learnerRequireSasl": "true",
    "quorum.auth.serverRequireSasl": "true",
}
ENABLED = {"quorum.auth.enableSasl": "true"}
MIXTURES = [
    pytest.param((KRAAL, KRAAL, KRAAL), id="kraal"),
    pytest.param((KRAAL, APACHE, KRAAL), id="apache-2", marks=pytest.mark.apache),
    pytest.param((APACHE, KRAAL, APACHE), id="apache-1-3", marks=pytest.mark.apache),
]


PASSWORD = "correct-horse"


def jaas(directory: Path, password: str = PASSWORD) -> Path:
    path = directory / ("right.jaas" if password == PASSWORD else "wrong.jaas")
    path.write_text(
        f'QuorumServer {{ {DIGEST} required user_zk="{PASSWORD}"; }};\n'
        f'QuorumLearner {{ {DIGEST} required username="zk" password="{password}"; }};\n'
    )
    return path


def ensemble(
    directory: Path,
    kinds: tuple[str, ...],
    *settings: dict[str, str],
    observers: tuple[str, ...] = (),
    wrong: int = 0,
) -> Ensemble:
    """Member `wrong` has another password; each has its settings, or all the same."""
    if APACHE in kinds + observers:
        require_reference()
    right = jaas(directory)
    own: dict[int, dict[str, object]] = {}
    for number in range(1, len(kinds + observers) + 1):
        file = jaas(directory, "another") if number == wrong else right
        mine = settings[(number - 1) % len(settings)]
        own[number] = {"java.security.auth.login.config": file, **mine}
    shape = Shape(participants=kinds, observers=observers, own_settings=own)
    options = ("-Dzookeeper.fips-mode=false", f"-Djava.security.auth.login.config={right}")
    return Ensemble(directory, replace(shape, java_options=(*shape.java_options, *options)))


def assert_works(running: Ensemble) -> None:
    """Writes at each member reach all."""
    for member in running.living:
        with connected(member.client_port) as client:
            assert create(client, f"/by-{member.id}") == 0
    running.wait_in_step()


@pytest.mark.apache
def test_behind_tls(tmp_path: Path) -> None:
    """The login comes after the handshake."""
    tls = {key: str(value) for key, value in with_jks("ssl.quorum.").items()}
    settings = {**REQUIRED, **tls, "sslQuorum": "true", "fips-mode": "false"}
    with ensemble(tmp_path, (KRAAL, APACHE, KRAAL), settings) as running:
        running.start()
        assert_works(running)


@pytest.mark.parametrize("kinds", MIXTURES)
def test_all_demand_it(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    with ensemble(tmp_path, kinds, REQUIRED) as running:
        running.start()
        assert_works(running)
        leader = running.wait_leader()
        leader.stop()
        running.wait_serving()
        with connected(running.living[0].client_port) as client:
            assert create(client, "/after") == 0
        leader.launch()
        running.wait_serving()
        assert_works_again(running)


def assert_works_again(running: Ensemble) -> None:
    running.wait_in_step()
    for member in running.living:
        with connected(member.client_port) as client:
            assert client.call("exists", raw.path_and_watch("/after", False)).err == 0


@pytest.mark.parametrize(
    ("voters", "observer"),
    [
        pytest.param((KRAAL, KRAAL), KRAAL, id="kraal"),
        pytest.param((KRAAL, KRAAL), APACHE, id="apache observes", marks=pytest.mark.apache),
        pytest.param((APACHE, APACHE), KRAAL, id="kraal observes", marks=pytest.mark.apache),
    ],
)
def test_observers_log_in(tmp_path: Path, voters: tuple[str, ...], observer: str) -> None:
    with ensemble(tmp_path, voters, REQUIRED, observers=(observer,)) as running:
        running.start()
        assert_works(running)


def test_it_is_introduced_one_by_one(tmp_path: Path) -> None:
    """Some log in, some do not yet, and nobody demands it."""
    logs_in = {**ENABLED, "quorum.auth.learnerRequireSasl": "true"}
    with ensemble(tmp_path, (KRAAL, KRAAL, KRAAL), ENABLED, logs_in) as running:
        running.start()
        assert_works(running)


def test_who_does_not_know_the_password_stays_out(tmp_path: Path) -> None:
    with ensemble(tmp_path, (KRAAL, KRAAL, KRAAL), REQUIRED, wrong=3) as running:
        for member in running.members.values():
            member.launch()
        inside = [running.members[1], running.members[2]]
        running.wait_serving(members=inside)
        outside = running.members[3]
        running.wait("refusal", lambda: "refuses the login of 'zk'" in outside.log_text())
        assert outside.mode() == ""
        assert any("the password of 'zk' is wrong" in one.log_text() for one in inside)
        assert all(PASSWORD not in one.log_text() for one in running.living)


def test_who_does_not_log_in_stays_out(tmp_path: Path) -> None:
    with ensemble(tmp_path, (KRAAL, KRAAL, KRAAL), REQUIRED, REQUIRED, {}) as running:
        for member in running.members.values():
            member.launch()
        inside = [running.members[1], running.members[2]]
        running.wait_serving(members=inside)
        running.wait("refusal", lambda: any("does not log in" in m.log_text() for m in inside))
        assert running.members[3].mode() == ""
