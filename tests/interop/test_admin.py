"""The HTTP commands of each role beside Apache ZooKeeper: same members, same types, same codes."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.interop.operating_surface import shape_of
from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape, quiet_ports
from tests.support.servers import HOST, apache, kraal, require_reference

COMMANDS = (
    "configuration", "connection_stat_reset", "connections", "dirs", "dump", "environment",
    "get_trace_mask", "set_trace_mask", "set_trace_mask?traceMask=7",
    "set_trace_mask?traceMask=abc", "hash", "initial_configuration", "is_read_only",
    "last_snapshot", "leader", "monitor", "observers", "observer_connection_stat_reset", "ruok",
    "server_stats", "stats", "stat_reset", "voting_view", "watches", "watches_by_path",
    "watch_summary", "zabstate", "nosuch", "snapshot", "restore", "conf", "cons", "srvr", "mntr",
    "wchp", "icfg", "lsnp",
)  # fmt: skip
OPEN = {"Authorization": "digest somebody:anything"}
STREAMS: Mapping[str, tuple[str, dict[str, str]]] = {
    "an unknown scheme": ("snapshot", {"Authorization": "nosuch x"}),
    "three words": ("snapshot", {"Authorization": "digest a b"}),
    "no stream": ("snapshot?streaming=false", OPEN),
    "a stream": ("snapshot", OPEN),
}
OF_A_LEARNER = ("learner_handler", "per_namespace")
ROLES = ("standalone", "leader", "follower", "observer")


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Captured:
    """The answers of one kind of server: by role, then by command."""

    answers: dict[str, dict[str, Answer]] = field(default_factory=dict)


def get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(headers or {})), timeout=10
        ) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read())


def ask_everything(port: int) -> dict[str, Answer]:
    url = f"http://{HOST}:{port}/commands"
    return {"": get(url)} | {name: get(f"{url}/{name}") for name in COMMANDS}


def ask_for_streams(port: int) -> dict[str, Answer]:
    """The rate limit lets one through every 300 ms."""
    answers = {}
    for what, (command, headers) in STREAMS.items():
        time.sleep(0.35)
        answers[what] = get(f"http://{HOST}:{port}/commands/{command}", headers)
    return answers


def work(port: int, number: int) -> raw.RawClient:
    """A client with an ephemeral and a watch on it."""
    client = raw.RawClient(port)
    client.connect(raw.connect_request(timeout=10_000))
    body = raw.create_body(f"/e{number}", b"12", raw.OPEN_ACL, 1)
    assert client.call("create", body).err == 0
    assert client.call("getData", raw.path_and_watch(f"/e{number}", True)).err == 0
    return client


def capture(kind: str, directory: Path) -> Captured:
    """Three participants and an observer, and one that stands alone; each has a client."""
    found = Captured()
    ports = dict(enumerate(quiet_ports(5)))
    own = {
        number: {"admin.enableServer": "true", "admin.serverPort": ports[number]}
        for number in ports
    }
    shape = Shape(participants=(kind,) * 3, observers=(kind,), own_settings=own)
    with Ensemble(directory, shape) as ensemble, ExitStack() as clients:
        ensemble.start()
        for member in ensemble.members.values():
            clients.enter_context(work(member.client_port, member.id))
        ensemble.wait_in_step()
        for member in ensemble.members.values():
            found.answers[member.mode()] = ask_everything(ports[member.id])
    start = kraal if kind == KRAAL else apache
    with start(directory / "alone", settings=own[0]) as server, work(server.port, 0):
        found.answers["standalone"] = ask_everything(ports[0]) | ask_for_streams(ports[0])
    return found


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Captured]]:
    require_reference()
    directory = tmp_path_factory.mktemp("admin")
    yield {kind: capture(kind, directory / kind) for kind in (APACHE, KRAAL)}


pytestmark = [pytest.mark.apache, pytest.mark.timeout(240)]


def shape_of_answer(answer: Answer) -> dict[str, str]:
    return {
        name: kind
        for name, kind in shape_of(answer.json).items()
        if not any(part in name for part in OF_A_LEARNER) and ".kraal_" not in name
    }


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("role", ROLES)
def test_answers_have_the_reference_s_members_and_types(
    captured: Mapping[str, Captured], role: str, command: str
) -> None:
    ours, theirs = (captured[kind].answers[role][command] for kind in (KRAAL, APACHE))
    assert ours.status == theirs.status
    assert ours.headers["content-type"] == theirs.headers["Content-Type"]
    assert shape_of_answer(ours) == shape_of_answer(theirs)


# Their members come in another order with each start of the original.
UNORDERED = ("monitor", "mntr", "server_stats", "srvr", "stats")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in UNORDERED])
def test_members_come_in_the_reference_s_order(
    captured: Mapping[str, Captured], command: str
) -> None:
    ours, theirs = (captured[kind].answers["standalone"][command] for kind in (KRAAL, APACHE))
    assert list(shape_of(ours.json)) == list(shape_of(theirs.json))


@pytest.mark.parametrize(
    "command",
    [
        "leader", "is_read_only", "ruok", "get_trace_mask", "set_trace_mask",
        "set_trace_mask?traceMask=7", "set_trace_mask?traceMask=abc", "nosuch", "snapshot",
        "restore", "watch_summary", "hash",
    ],
)  # fmt: skip
@pytest.mark.parametrize("role", ROLES)
def test_what_says_no_time_and_place_is_the_same_text(
    captured: Mapping[str, Captured], role: str, command: str
) -> None:
    ours, theirs = (captured[kind].answers[role][command] for kind in (KRAAL, APACHE))
    assert ours.body == theirs.body


@pytest.mark.parametrize("what", STREAMS)
def test_snapshots_are_given_to_the_same_callers(
    captured: Mapping[str, Captured], what: str
) -> None:
    ours, theirs = (captured[kind].answers["standalone"][what] for kind in (KRAAL, APACHE))
    assert ours.status == theirs.status
    if ours.headers["content-type"] == "application/json":
        assert ours.body == theirs.body
    else:
        assert ours.headers["content-type"] == theirs.headers["Content-Type"]
        assert ours.body[:4] == theirs.body[:4] == b"ZKSN"
        assert len(ours.body) == int(ours.headers["snapshot_size"])
    for header in ("last_zxid", "snapshot_size"):
        assert (header in ours.headers) == (header in theirs.headers)


def test_the_index_links_the_reference_s_commands(captured: Mapping[str, Captured]) -> None:
    ours, theirs = (
        captured[kind].answers["standalone"][""].body.decode().splitlines()
        for kind in (KRAAL, APACHE)
    )
    assert set(theirs) <= set(ours)


@pytest.mark.parametrize("role", ROLES)
def test_all_commands_that_the_reference_answers_are_answered(
    captured: Mapping[str, Captured], role: str
) -> None:
    for kind in (KRAAL, APACHE):
        for command, answer in captured[kind].answers[role].items():
            assert command == "nosuch" or b"Unknown command" not in answer.body
