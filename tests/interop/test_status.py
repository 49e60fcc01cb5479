"""What the members of an ensemble say of themselves in each role, beside Apache ZooKeeper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Member, Shape
from tests.support.servers import apache, four_letter_word, kraal, require_reference

WORDS = ("ruok", "isro", "srvr", "stat", "conf", "dump", "mntr")
NOT_SERVING = "This ZooKeeper instance is not currently serving requests"
# Names that vary with who leads and which connection read or wrote what.
VARYING = re.compile(r"zk_.*(_learner_handler_|_per_namespace)")
OF_A_LEARNER = re.compile(r"zk_(?P<figure>[a-z0-9]+)_\d+_(?P<name>learner_handler_.*)")
EQUAL = (
    "peer_state", "server_state", "quorum_size", "learners",
    "synced_followers", "synced_non_voting_followers", "synced_observers", "pending_syncs",
    "last_proposal_size", "min_proposal_size", "max_proposal_size", "znode_count",
    "ephemerals_count", "watch_count", "approximate_data_size", "global_sessions",
    "local_sessions", "num_alive_connections", "outstanding_requests", "proposal_count",
    "commit_count", "learner_proposal_received_count", "learner_commit_received_count",
    "cnt_updatelatency", "cnt_readlatency",
)  # fmt: skip
# An election may take several attempts: these are zero at both, or at neither.
AS_OFTEN = (
    "looking_count", "cnt_election_time", "cnt_unavailable_time", "cnt_leader_unavailable_time",
    "cnt_follower_sync_time", "cnt_observer_sync_time",
)  # fmt: skip


@dataclass
class Captured:
    """The answers of one kind of server: by role, then by word."""

    leader_id: int = 0
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    """Of a member without a leader."""
    alone: str = ""
    """`mntr` of a server that stands alone."""

    def figures(self, role: str) -> dict[str, str]:
        return {name: value for name, value in self.all(role).items() if not VARYING.match(name)}

    def all(self, role: str) -> dict[str, str]:
        text = self.alone if role == "standalone" else self.answers[role]["mntr"]
        return dict(line.split("\t") for line in text.splitlines())


def ask(member: Member) -> dict[str, str]:
    return {word: member.word(word) for word in WORDS}


def answers_without_leader(ensemble: Ensemble, member: Member) -> dict[str, str]:
    """What a member says between losing its leader and serving reads only."""

    def silent() -> dict[str, str] | None:
        before, answers, after = member.word("srvr"), ask(member), member.word("hash")
        return answers if before == f"{NOT_SERVING}\n" and after == NOT_SERVING else None

    return ensemble.wait("a member without leader", silent)


def capture(kind: str, directory: Path) -> Captured:
    """Start three participants and an observer; each has a client with an ephemeral."""
    found = Captured()
    shape = Shape(
        participants=(kind,) * 3,
        observers=(kind,),
        settings={"readonlymode.enabled": "true"} if kind == KRAAL else {},
    )
    ensemble = Ensemble(directory, shape)
    if kind != KRAAL:
        for member in ensemble.members.values():
            member.environment = {"JAVA_TOOL_OPTIONS": "-Dreadonlymode.enabled=true"}
    with ensemble, ExitStack() as clients:
        ensemble.start()
        for member in ensemble.members.values():
            client = clients.enter_context(raw.RawClient(member.client_port))
            client.connect(raw.connect_request(timeout=10_000))
            body = raw.create_body(f"/e{member.id}", b"12", raw.OPEN_ACL, 1)
            assert client.call("create", body).err == 0
            assert client.call("getData", raw.path_and_watch(f"/e{member.id}", True)).err == 0
        ensemble.wait_in_step()
        roles = {member.mode(): member for member in ensemble.members.values()}
        found.leader_id = roles["leader"].id
        for role, member in roles.items():
            found.answers[role] = ask(member)
        roles["leader"].kill()
        leader = ensemble.wait_leader()
        (left,) = (member for member in ensemble.living if member.id <= 3 and member is not leader)
        ensemble.wait_mode(left, "follower")
        leader.kill()
        found.silent = answers_without_leader(ensemble, left)
        ensemble.wait_mode(left, "read-only")
        found.answers["read-only"] = ask(left)
    start = kraal if kind == KRAAL else apache
    with start(directory / "alone") as server:
        found.alone = four_letter_word(server.port, "mntr")
    return found


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Captured]]:
    require_reference()
    directory = tmp_path_factory.mktemp("status")
    yield {kind: capture(kind, directory / kind) for kind in (APACHE, KRAAL)}


pytestmark = [pytest.mark.apache, pytest.mark.timeout(240)]
ROLES = ("standalone", "leader", "follower", "observer", "read-only")
each_role = pytest.mark.parametrize("role", ["leader", "follower", "observer", "read-only"])


def without_chance(word: str, text: str) -> str:
    """A text whose ports, paths, ids, times and sizes on disk are the same in every run."""
    text = re.sub(r"/\S+/version-2", "DIRECTORY", text)
    text = re.sub(r"(Size|Port|serverId)=\d+", r"\1=N", text)
    text = re.sub(r"127\.0\.0\.1:\d+(:\d+)?", "ADDRESS", text)
    # A session: the server that made it, a clock that begins with the machine, a counter.
    text = re.sub(r"0x([1-4])[0-9a-f]{10}\d{4}\b", r"SESSION\1", text)
    text = re.sub(r"0x([1-4])0000[0-9a-f]+\b", r"SESSION\1", text)
    if word in ("srvr", "stat"):
        text = re.sub(r"(avg/max|Received|Sent): \S+", r"\1: N", text)
        text = re.sub(r"queued=\d+,recved=\d+,sent=\d+", "queued", text)
        text = re.sub(r"Zxid: 0x\d(\d{8})", r"Zxid: \1", text)
    if word == "stat":
        return "\n".join(sorted(text.splitlines()))  # connections are in no order
    if word == "dump":
        # Connections do not expire at kraal; sessions may fall into one bucket or two.
        sessions, _, _ = text.partition("Connections dump:")
        sessions = re.sub(r"Sets \(\d+\)", "Sets (N)", sessions)
        return "\n".join(sorted(re.sub(r"\d+ expire at .*\n", "", sessions).splitlines()))
    return text


@each_role
@pytest.mark.parametrize("word", ["ruok", "isro", "srvr", "stat", "conf", "dump"])
def test_words_say_the_same(captured: Mapping[str, Captured], role: str, word: str) -> None:
    ours, theirs = (
        without_chance(word, captured[kind].answers[role][word]) for kind in (KRAAL, APACHE)
    )
    assert ours == theirs


@pytest.mark.parametrize("word", WORDS)
def test_words_without_a_leader_say_the_same(captured: Mapping[str, Captured], word: str) -> None:
    assert captured[KRAAL].silent[word] == captured[APACHE].silent[word]


@pytest.mark.parametrize("role", ROLES)
def test_mntr_has_the_reference_s_names(captured: Mapping[str, Captured], role: str) -> None:
    ours, theirs = (captured[kind].figures(role).keys() for kind in (KRAAL, APACHE))
    assert {name for name in ours if not name.startswith("zk_kraal_")} == theirs


@pytest.mark.parametrize("role", ROLES)
def test_mntr_has_the_reference_s_types(captured: Mapping[str, Captured], role: str) -> None:
    """A whole number is one at both, and what has a point has one at both."""
    ours, theirs = (captured[kind].figures(role) for kind in (KRAAL, APACHE))
    assert {name for name, value in ours.items() if "." in value} == {
        name for name, value in theirs.items() if "." in value
    }


def test_a_leader_has_the_reference_s_figures_of_learners(
    captured: Mapping[str, Captured],
) -> None:
    ours, theirs = (
        {(found["figure"], found["name"]) for found in map(OF_A_LEARNER.match, names) if found}
        for names in (captured[kind].all("leader") for kind in (KRAAL, APACHE))
    )
    assert ours
    assert ours == theirs


@pytest.mark.parametrize("role", ["leader", "follower", "observer"])
def test_reads_and_writes_are_counted_by_namespace(
    captured: Mapping[str, Captured], role: str
) -> None:
    """Each client read its own znode, and every server applied all four writes."""
    for kind in (KRAAL, APACHE):
        figures = captured[kind].all(role)
        read = [name for name in figures if re.match(r"zk_cnt_e\d_read_per_namespace", name)]
        assert [figures[name] for name in read] == ["1"]
        assert figures[read[0].replace("cnt", "sum")] == "73"
        written = [figures.get(f"zk_sum_e{n}_write_per_namespace") for n in range(1, 5)]
        assert written == ["5"] * 4, kind


@pytest.mark.parametrize("kind", [KRAAL, APACHE])
def test_an_observer_says_whom_it_observes(captured: Mapping[str, Captured], kind: str) -> None:
    found = captured[kind]
    assert found.figures("observer")["zk_observer_master_id"] == str(found.leader_id)


@each_role
def test_metrics_have_the_reference_s_values(captured: Mapping[str, Captured], role: str) -> None:
    ours, theirs = (captured[kind].figures(role) for kind in (KRAAL, APACHE))
    names = [f"zk_{name}" for name in EQUAL]
    assert {name: ours.get(name) for name in names} == {name: theirs.get(name) for name in names}
    names = [f"zk_{name}" for name in AS_OFTEN]
    assert {name: ours[name] == "0" for name in names} == {
        name: theirs[name] == "0" for name in names
    }
