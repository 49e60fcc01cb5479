"""Four-letter words of the members of an ensemble, as Apache ZooKeeper 3.9.5 answers them."""

from __future__ import annotations

import dataclasses

import pytest

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.replica.status import EnsembleStatus, LeaderStatus, Mode, SessionStatus
from tests.admin.support import CONFIG, FIRST, SECOND, STATUS, Source, answer

MEMBERSHIP = """\
server.1=127.0.0.1:18406:24537:participant
server.2=127.0.0.1:19024:29360|127.0.0.2:19025:29361:participant
server.3=127.0.0.1:25566:20692:participant
server.4=127.0.0.1:25351:28688:observer;127.0.0.1:30582
version=100000000"""
MEMBERS = EnsembleConfig.parse(MEMBERSHIP, multi_address=True)
LEADER = LeaderStatus(
    learners=4,
    synced_followers=3,
    synced_non_voting_followers=1,
    synced_observers=1,
    pending_syncs=2,
    uptime_ms=1504,
    last_proposal_bytes=99,
    min_proposal_bytes=48,
    max_proposal_bytes=146,
)
LOCAL = [SessionStatus(session_id=7, timeout_ms=9000, deadline_ms=1_001_000)]


def source(
    role: str,
    server_id: int = 3,
    leader: LeaderStatus = LEADER,
    local: list[SessionStatus] | None = None,
) -> Source:
    """A member in this role."""
    state = {"leader": "leading", "follower": "following", "observer": "observing"}.get(role)
    ensemble = EnsembleStatus(
        member=MEMBERS.members[server_id],
        config=MEMBERS,
        peer_state=state and f"{state} - broadcast",
        observer_master_id=3 if role == "observer" else None,
        leader=leader if role == "leader" else None,
    )
    settings = EnsembleSettings(config=MEMBERS, init_limit_ticks=20, sync_limit_ticks=6)
    return Source(
        config=dataclasses.replace(CONFIG, ensemble=settings, server_id=server_id),
        status=dataclasses.replace(
            STATUS, mode=Mode(role), ensemble=ensemble, local_session_count=len(local or ())
        ),
        local_sessions=local,
    )


def figures(member: Source) -> dict[str, str]:
    lines = answer("mntr", member).splitlines()
    return dict(line.split("\t") for line in lines)


def test_only_the_leader_tells_the_sizes_of_proposals() -> None:
    text = answer("srvr", source("leader"))
    assert text.endswith("Mode: leader\nNode count: 8\nProposal sizes last/min/max: 99/48/146\n")
    for role in ("follower", "observer", "read-only"):
        assert answer("srvr", source(role)).endswith(f"Mode: {role}\nNode count: 8\n")


@pytest.mark.parametrize(
    ("role", "server_id", "own"),
    [
        ("leader", 3, "electionPort=20692\nquorumPort=25566\npeerType=0\n"),
        ("follower", 2, "electionPort=29360|29361\nquorumPort=19024|19025\npeerType=0\n"),
        ("observer", 4, "electionPort=28688\nquorumPort=25351\npeerType=1\n"),
    ],
)
def test_conf_of_a_member_ends_with_the_membership(role: str, server_id: int, own: str) -> None:
    text = answer("conf", source(role, server_id))
    limits = f"serverId={server_id}\ninitLimit=20\nsyncLimit=6\nelectionAlg=3\n"
    assert text.endswith(f"Backlog=-1\n{limits}{own}membership: \n{MEMBERSHIP}")


def test_conf_of_a_read_only_server_has_no_membership() -> None:
    text = answer("conf", source("read-only", 1))
    assert text.endswith("electionPort=24537\nquorumPort=18406\npeerType=0\n")


def test_mntr_begins_with_what_the_member_is() -> None:
    def head(role: str) -> list[str]:
        lines = answer("mntr", source(role)).splitlines()
        return [line.replace("\t", " ") for line in lines[1:4]]

    assert head("leader")[:2] == ["zk_server_state leader", "zk_peer_state leading - broadcast"]
    assert head("observer") == [
        "zk_server_state observer",
        "zk_peer_state observing - broadcast",
        "zk_observer_master_id 3",
    ]
    assert head("follower")[1] == "zk_peer_state following - broadcast"
    assert head("read-only")[0] == "zk_server_state read-only"
    assert "zk_peer_state" not in figures(source("read-only"))


def test_mntr_of_a_leader_counts_its_learners() -> None:
    shown = figures(source("leader"))
    expected = {
        "learners": 4, "synced_followers": 3, "synced_non_voting_followers": 1,
        "synced_observers": 1, "pending_syncs": 2, "leader_uptime": 1504, "quorum_size": 3,
        "last_proposal_size": 99, "min_proposal_size": 48, "max_proposal_size": 146,
    }  # fmt: skip
    assert {key: shown.get(f"zk_{key}") for key in expected} == {
        key: str(value) for key, value in expected.items()
    }
    follower = figures(source("follower"))
    assert follower["zk_quorum_size"] == "3"
    own = {key for key in shown.keys() - follower.keys() if "learner_handler" not in key}
    assert own == {f"zk_{key}" for key in expected} - {"zk_quorum_size"}
    assert shown["zk_p999_2_learner_handler_qp_time_ms"] == "0"
    assert "zk_quorum_size" not in figures(source("read-only"))


def test_mntr_of_a_follower_counts_the_observers_that_it_serves() -> None:
    member = source("follower")
    assert "zk_synced_observers" not in figures(member)
    assert member.status.ensemble is not None
    serving = dataclasses.replace(member.status.ensemble, synced_observers=0)
    member.status = dataclasses.replace(member.status, ensemble=serving)
    assert figures(member)["zk_synced_observers"] == "0"


SESSION_SETS = """\
Session Sets (1)/(2):
2 expire at Sun Nov 22 14:02:49 UTC 2026:
	0x100000f1db60001
	0x100000f1db60000
"""
GLOBAL_SESSIONS = """\
Global Sessions(2):
0x100000f1db60000	10000ms
0x100000f1db60001	10000ms
"""
LOCAL_SETS = """\
Local Session Sets (1)/(1):
1 expire at Sun Nov 22 14:02:49 UTC 2026:
	0x7
"""


class TestDump:
    def sessions(self, member: Source) -> str:
        text = answer("dump", member)
        begin, end = "SessionTracker dump:\n", "ephemeral nodes dump:\n"
        assert text.startswith(begin)
        return text[len(begin) : text.index(end)]

    def test_only_the_leader_knows_when_sessions_expire(self) -> None:
        assert FIRST < SECOND, "learners list sessions by id"
        assert self.sessions(source("leader")) == SESSION_SETS
        for role in ("follower", "observer", "read-only"):
            assert self.sessions(source(role)) == GLOBAL_SESSIONS

    def test_every_server_knows_when_its_local_sessions_expire(self) -> None:
        leader = source("leader", local=LOCAL)
        assert self.sessions(leader) == f"{LOCAL_SETS}Global {SESSION_SETS}"
        for role in ("follower", "observer", "read-only"):
            assert self.sessions(source(role, local=LOCAL)) == LOCAL_SETS + GLOBAL_SESSIONS
        assert figures(leader)["zk_local_sessions"] == "1"
