"""Ensembles of server processes, and what is done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kraal.client import connect
from kraal.testing import Ensemble, StartError, UnavailableError, WaitError
from kraal.testing.settings import SUPER_AUTH
from tests.testing.support import kazoo, states_of, threads, until


@pytest.fixture(scope="module")
def shared() -> Iterator[Ensemble]:
    with Ensemble(3, observers=1) as ensemble:
        yield ensemble


@pytest.fixture
def ensemble(shared: Ensemble) -> Ensemble:
    shared.reset()
    return shared


def roles(ensemble: Ensemble) -> list[str]:
    return sorted(ensemble.modes().values())


def test_all_members_serve(ensemble: Ensemble) -> None:
    assert roles(ensemble) == ["follower", "follower", "leader", "observer"]
    assert ensemble.modes()[4] == "observer"
    for member in ensemble.members:
        with kazoo(ensemble.hosts_of(member)) as client:
            client.create(f"/of-{member}")
    with kazoo(ensemble.hosts) as client:
        client.sync("/")
        assert len(client.get_children("/")) == 5


def test_members_are_named_by_their_ids(ensemble: Ensemble) -> None:
    calls = (ensemble.kill, ensemble.cut_clients, ensemble.hosts_of, ensemble.is_running)
    for call in calls:
        for member in (True, 1.0, "1"):
            with pytest.raises(TypeError, match="a member is named by its id, an int"):
                call(member)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no member 9; there are 1 to 4"):
            call(9)


def test_a_killed_leader_has_a_successor_and_comes_back(ensemble: Ensemble) -> None:
    with kazoo(ensemble.hosts) as client:
        client.create("/a", b"data")
        first = ensemble.leader()
        ensemble.kill(first)
        assert ensemble.modes()[first] == ""
        assert ensemble.leader() != first
        assert client.retry(client.get, "/a")[0] == b"data"
    ensemble.start(first)
    assert ensemble.modes()[first] == "follower"


def test_members_can_be_started_one_after_the_other(ensemble: Ensemble) -> None:
    with kazoo(ensemble.hosts) as client:
        client.create("/a", b"data")
    for member in ensemble.members:
        ensemble.stop(member)
    for member in (4, 1):  # an observer is no quorum, nor is one of three
        ensemble.start(member)
        assert ensemble.is_running(member)
        assert ensemble.modes()[member] == ""
    for member in (2, 3):
        ensemble.start(member)
        assert ensemble.modes()[member] in ("leader", "follower")
    ensemble.wait_healthy()
    with kazoo(ensemble.hosts) as client:
        client.sync("/")
        assert client.get("/a")[0] == b"data"


def test_a_cut_off_leader_gives_way_at_once(ensemble: Ensemble) -> None:
    first = ensemble.leader()
    ensemble.isolate(first)
    second = until("successor", lambda: other_leader(ensemble, first))
    ensemble.wait_healthy()
    with kazoo(ensemble.hosts_of(second)) as client:
        client.create("/without-it")
    ensemble.heal()
    ensemble.wait_healthy()
    assert ensemble.modes()[first] == "follower"


def test_a_silently_cut_off_leader_gives_way_when_its_time_is_over(ensemble: Ensemble) -> None:
    first = ensemble.leader()
    ensemble.isolate(first, silently=True)
    second = until("successor", lambda: other_leader(ensemble, first))
    assert ensemble.modes()[first] == ""
    with kazoo(ensemble.hosts_of(second)) as client:
        client.create("/without-it")
    ensemble.heal()
    ensemble.wait_healthy()


def other_leader(ensemble: Ensemble, first: int) -> int | None:
    leaders = [member for member, mode in ensemble.modes().items() if mode == "leader"]
    return leaders[0] if leaders and leaders != [first] else None


def test_two_followers_that_do_not_reach_each_other_still_follow(ensemble: Ensemble) -> None:
    one, other = ensemble.followers()
    ensemble.cut(one, other)
    with kazoo(ensemble.hosts_of(one)) as client, kazoo(ensemble.hosts_of(other)) as second:
        client.create("/a", b"data")
        second.sync("/")
        assert second.get("/a")[0] == b"data"


def test_clients_that_are_cut_off_come_back_with_their_sessions(ensemble: Ensemble) -> None:
    with kazoo(ensemble.hosts, timeout=30) as client:
        states = states_of(client)
        client.create("/mine", ephemeral=True)
        ensemble.cut_clients()
        until("loss", lambda: states == ["SUSPENDED"])
        assert roles(ensemble) == ["follower", "follower", "leader", "observer"]
        ensemble.heal()
        until("connection", lambda: states == ["SUSPENDED", "CONNECTED"])
        assert client.exists("/mine") is not None


def test_clients_that_are_cut_off_silently_wait(ensemble: Ensemble) -> None:
    with kazoo(ensemble.hosts, timeout=30) as client:
        ensemble.cut_clients(silently=True)
        asked = client.exists_async("/")
        assert not asked.wait(0.3)
        ensemble.heal()
        assert asked.get(timeout=10) is not None


def test_a_paused_follower_is_missed_by_nobody_else(ensemble: Ensemble) -> None:
    one, other = ensemble.followers()
    ensemble.pause(one)
    assert ensemble.modes()[one] == ""
    with kazoo(ensemble.hosts_of(other)) as client:
        client.create("/a")
    ensemble.resume(one)
    ensemble.wait_healthy()


def test_slow_disks_delay_writes(ensemble: Ensemble) -> None:
    with kazoo(ensemble.hosts, timeout=30) as client:
        for member in ensemble.members:
            ensemble.slow_disk(member, 60)
        writing = client.create_async("/a")
        assert not writing.wait(0.3)
        for member in ensemble.members:
            ensemble.slow_disk(member, 0)
        assert writing.get(timeout=10) == "/a"


def test_sessions_expire_on_request(ensemble: Ensemble) -> None:
    with kazoo(ensemble.hosts) as client:
        states, session_id = states_of(client), client.client_id[0]
        client.create("/mine", ephemeral=True)
        assert ensemble.sessions() == [session_id]
        ensemble.expire(session_id)
        assert session_id not in ensemble.sessions()
        until("a new session", lambda: states == ["SUSPENDED", "LOST", "CONNECTED"])
        assert client.exists("/mine") is None
        with pytest.raises(UnavailableError, match="there is no session"):
            ensemble.expire(session_id)


def test_a_reset_leaves_nothing_to_the_next_test(ensemble: Ensemble) -> None:
    first = ensemble.leader()
    with kazoo(ensemble.hosts) as client:
        session_id = client.client_id[0]
        client.create("/a/b/c", makepath=True)
        client.create("/mine", ephemeral=True)
        ensemble.kill(ensemble.followers()[0])
        ensemble.pause(first)
        ensemble.reset()
        assert session_id not in ensemble.sessions()
    assert roles(ensemble) == ["follower", "follower", "leader", "observer"]
    for member in ensemble.members:
        with kazoo(ensemble.hosts_of(member)) as client:
            assert client.get_children("/") == ["zookeeper"]


async def test_asynchronous_code_may_wait_in_a_thread(ensemble: Ensemble) -> None:
    async with connect(ensemble.hosts) as zk:
        await zk.create("/a", b"data")
        await asyncio.to_thread(ensemble.kill, ensemble.leader())
        await asyncio.to_thread(ensemble.leader)
        await zk.wait_connected()
        await zk.create("/b", b"data")


def test_members_can_be_reconfigured_and_still_be_cut_off() -> None:
    before = threads()
    with Ensemble(3, settings={"reconfigEnabled": True}) as ensemble:

        async def leave() -> None:
            auth = [("digest", SUPER_AUTH)]
            async with connect(ensemble.hosts_of(ensemble.leader()), auth=auth) as zk:
                await zk.reconfig(leaving=str(ensemble.followers()[0]))

        leader = ensemble.leader()
        asyncio.run(leave())
        ensemble.isolate(leader)
        until("deposition", lambda: ensemble.modes()[leader] != "leader")
        ensemble.heal()
        ensemble.leader()
    assert threads() == before


def test_what_is_waited_for_in_vain_is_described(ensemble: Ensemble) -> None:
    for member in ensemble.followers():
        ensemble.kill(member)
    until("deposition", lambda: "leader" not in ensemble.modes().values())
    with pytest.raises(WaitError, match=r"no leader within 0\.3 s: .*server \d killed"):
        ensemble.leader(timeout=0.3)
    with pytest.raises(ValueError, match="no member 7"):
        ensemble.kill(7)


def test_a_member_that_does_not_start_says_why(tmp_path: Path) -> None:
    before = threads()
    data = tmp_path / "server-2" / "data"
    data.mkdir(parents=True)
    (data / "version-2").write_text("in the way")
    expected = pytest.raises(StartError, match=r"server 2 has ended with code 3(?s:.*)version-2")
    with expected, Ensemble(3, directory=tmp_path):
        pass
    assert threads() == before
