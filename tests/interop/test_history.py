"""`kraal history` tells of a znode what its clients saw, over logs, snapshots and restarts.

So also where logs are missing or were replaced: by a restore, a SNAP of the leader, force-new.

Clients note what each answer says: zxid, version, data, and whose session it was. A random run of
requests goes over several starts of one server, in its own logs and snapshots; afterwards the
history of every znode must be that, in this order, and nothing else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from kraal.cli.main import main
from tests.interop.backup_check import admin, tool
from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Member, Shape
from tests.support.servers import HOST, Server, apache, free_port, kraal, require_reference

PATHS = [f"/{name}" for name in "abcdefgh"] + ["/a/one", "/a/two", "/b/one"]
EPHEMERAL = 1
OK = 0
SETTINGS = {"snapCount": 60, "preAllocSize": 64, "autopurge.purgeInterval": 0}
ACLS = (raw.OPEN_ACL, [(15, "world", "anyone")])
CREATE, DELETE, SET_DATA, CHECK = 1, 2, 5, 13


@dataclass(frozen=True)
class Seen:
    """One change as the client that made it saw it."""

    zxid: int
    kind: str
    session: int
    version: int | None = None
    data: bytes | None = None
    cause: str = ""


@dataclass
class Observer:
    """What the clients of a run were told."""

    random: Random
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    there: dict[str, bytes] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    zxids: dict[int, dict[str, bytes]] = field(default_factory=dict)
    """The data of all znodes right behind some transactions."""
    refused: int = 0

    def note(self, path: str, change: Seen) -> None:
        self.seen.setdefault(path, []).append(change)
        if change.kind == "delete":
            self.there.pop(path, None)
            self.owners.pop(path, None)
        elif change.data is not None:
            self.there[path] = change.data

    def step(self, client: raw.RawClient) -> None:
        """One request, with arguments that may be refused."""
        random, path = self.random, self.random.choice(PATHS)
        handshake = client.handshake
        assert handshake is not None
        session = handshake.session
        data = random.randbytes(random.randrange(40))
        kind = random.choice(
            ["create", "create", "setData", "setData", "setACL", "delete", "multi"]
        )
        if kind == "multi":
            self._multi(client, session)
        elif kind == "create":
            flags = random.choice([0, 0, EPHEMERAL])
            reply = client.call("create", raw.create_body(path, data, raw.OPEN_ACL, flags))
            if self._done(reply):
                self.note(path, Seen(reply.zxid, "create", session, 0, data))
                if flags & EPHEMERAL:
                    self.owners[path] = session
        elif kind == "setData":
            version = random.choice([-1, -1, 0, 1])
            reply = client.call("setData", raw.set_data_body(path, data, version))
            if self._done(reply):
                assert isinstance(reply.value, raw.Stat)
                stat = reply.value
                assert stat.mzxid == reply.zxid
                self.note(path, Seen(reply.zxid, "setData", session, stat.version, data))
        elif kind == "setACL":
            reply = client.call("setACL", raw.set_acl_body(path, random.choice(ACLS), -1))
            if self._done(reply):
                assert isinstance(reply.value, raw.Stat)
                self.note(path, Seen(reply.zxid, "setACL", session, reply.value.aversion))
        else:
            reply = client.call("delete", raw.path_and_int(path, -1))
            if self._done(reply):
                self.note(path, Seen(reply.zxid, "delete", session))
        if random.random() < 0.1:
            self.zxids[reply.zxid if kind != "multi" else self._zxid(client)] = dict(self.there)

    def _zxid(self, client: raw.RawClient) -> int:
        return client.call("exists", raw.path_and_watch("/", False)).zxid

    def _done(self, reply: raw.Reply) -> bool:
        self.refused += reply.err != OK
        return reply.err == OK

    def _multi(self, client: raw.RawClient, session: int) -> None:
        """Some parts; all of them happen, or none."""
        random = self.random
        parts: list[tuple[int, bytes]] = []
        asked: list[tuple[str, str, bytes | None]] = []
        for path in random.sample(PATHS, random.randint(1, 3)):
            data = random.randbytes(8)
            if path not in self.there:
                parts.append((CREATE, raw.create_body(path, data, raw.OPEN_ACL, 0)))
                asked.append((path, "create", data))
            elif random.random() < 0.6:
                parts.append((SET_DATA, raw.set_data_body(path, data, -1)))
                asked.append((path, "setData", data))
            else:
                parts.append((DELETE, raw.path_and_int(path, -1)))
                asked.append((path, "delete", None))
        if random.random() < 0.2:
            parts.append((CHECK, raw.path_and_int("/nowhere", -1)))  # and so none happens
        reply = client.call("multi", raw.multi_body(parts))
        results = reply.value
        assert isinstance(results, list)
        if reply.err != OK or any(part.err != OK for part in results[:-1]):
            self.refused += 1
            return
        for (path, kind, written), part in zip(asked, results, strict=False):
            version = {"create": 0, "delete": None}.get(kind, getattr(part.value, "version", None))
            self.note(path, Seen(reply.zxid, kind, session, version, written, "multi"))

    def closed(self, session: int, zxid: int) -> None:
        """The session's ephemerals went with it."""
        for path in sorted(path for path, owner in self.owners.items() if owner == session):
            self.note(path, Seen(zxid, "delete", session, cause="closeSession"))


def history(directory: Path, *arguments: object) -> Iterator[dict[str, object]]:
    words = ["history", *map(str, arguments), "--data-dir", str(directory), "-o", "json", "--data"]
    result = CliRunner().invoke(main, words, prog_name="kraal")
    assert result.exit_code in (0, 1), result.output
    assert "Warning" not in result.stderr, result.stderr
    return map(json.loads, result.stdout.splitlines())


def told(directory: Path, path: str) -> list[Seen]:
    """The same as the tool tells it."""
    return as_seen(history(directory, path))


def as_seen(events: Iterable[dict[str, object]]) -> list[Seen]:
    found = []
    for event in events:
        data = event.get("data")
        if "data_base64" in event:
            data = base64.b64decode(str(event["data_base64"]))
        elif isinstance(data, str):
            data = data.encode()
        kind = {"create2": "create"}.get(str(event["type"]), str(event["type"]))
        version = event["version"]
        found.append(
            Seen(
                int(str(event["zxid"]), 16), kind, int(str(event["session"]), 16),
                version if isinstance(version, int) else None,
                data if isinstance(data, bytes) else None, str(event.get("cause", "")),
            )
        )  # fmt: skip
    return found


def run(server: Server, seed: int, steps: int, starts: int) -> Observer:
    observer = Observer(Random(seed))
    for _ in range(starts):
        with server, ExitStack() as stack:
            clients = [stack.enter_context(raw.RawClient(server.port)) for _ in range(3)]
            for client in clients:
                client.connect(raw.connect_request(timeout=40_000))
            for _ in range(steps):
                observer.step(observer.random.choice(clients))
            for client in clients:
                reply = client.call("closeSession")
                assert client.handshake is not None
                observer.closed(client.handshake.session, reply.zxid)
    return observer


def compare(observer: Observer, directory: Path, seed: int) -> None:
    version_2 = directory / "version-2"
    assert len(list(version_2.glob("log.*"))) > 2
    assert len(list(version_2.glob("snapshot.*"))) > 2
    for path in PATHS:
        assert told(directory, path) == observer.seen.get(path, []), (seed, path)
    for zxid, there in Random(seed).sample(sorted(observer.zxids.items()), 10):
        for path in PATHS:
            (found,) = history(directory, path, "--at", zxid)
            assert found["exists"] == (path in there), (seed, path, hex(zxid))
            if path in there:
                assert found["size"] == len(there[path])


@pytest.mark.parametrize("seed", [1, 2])
def test_history_is_what_clients_saw(tmp_path: Path, seed: int) -> None:
    observer = run(kraal(tmp_path, settings=SETTINGS), seed, steps=150, starts=3)
    assert sum(map(len, observer.seen.values())) > 150
    assert observer.refused > 20
    compare(observer, tmp_path / "data", seed)


@pytest.mark.apache
def test_history_is_what_clients_of_apache_saw(tmp_path: Path) -> None:
    require_reference()
    observer = run(apache(tmp_path, settings=SETTINGS), 3, steps=150, starts=3)
    compare(observer, tmp_path / "data", 3)


def without_middle_logs(directory: Path) -> int:
    """Lose all logs between the first and one that a snapshot leads to; returns its zxid."""
    version_2 = directory / "version-2"
    logs = {int(path.suffix[1:], 16): path for path in version_2.glob("log.*")}
    snapshots = [int(path.suffix[1:], 16) for path in version_2.glob("snapshot.*")]
    reached = max(zxid for zxid in snapshots if zxid + 1 in logs)
    lost = [path for zxid, path in sorted(logs.items()) if zxid <= reached][1:]
    assert lost
    for log in lost:
        log.unlink()
    return reached


@pytest.mark.parametrize(
    "make",
    [pytest.param(kraal, id="kraal"), pytest.param(apache, id="apache", marks=pytest.mark.apache)],
)
def test_history_goes_on_where_logs_are_missing(
    tmp_path: Path, make: Callable[..., Server]
) -> None:
    if make is apache:
        require_reference()
    directory = tmp_path / "data"
    observer = run(make(tmp_path, settings=SETTINGS), 4, steps=100, starts=3)
    reached = without_middle_logs(directory)
    # Where the snapshot was written while the tree changed, its states are later than its name.
    exact = int(
        str([one["zxid"] for one in history(directory, "/") if one["type"] == "snapshot"][-1]), 16
    )
    found = 0
    for path in PATHS:
        events = list(history(directory, path))
        gaps = [event for event in events if event["type"] == "gap"]
        assert int(str(gaps[-1]["zxid"]), 16) == reached
        behind = events[events.index(gaps[-1]) + 1 :]
        seen = observer.seen.get(path, [])
        assert as_seen(one for one in behind if one["type"] != "snapshot") == [
            change for change in seen if change.zxid > reached
        ]
        before = [change for change in seen if change.zxid <= exact]
        is_there = bool(before) and before[-1].kind != "delete"
        (at,) = history(directory, path, "--at", exact)
        assert at["exists"] == is_there
        states = [one for one in behind if one["type"] == "snapshot"]
        if is_there:
            (state,) = states
            assert as_seen(states)[0].data == data_of(before)
            assert (state["version"], state["zxid"]) == (at["version"], hex(exact))
            found += 1
        else:
            assert [one["state"] for one in states] in ([], ["gone"])
    assert found


def data_of(changes: list[Seen]) -> bytes | None:
    return [change.data for change in changes if change.data is not None][-1]


def kinds(directory: Path, path: str) -> list[tuple[object, ...]]:
    return [
        (one["type"], one.get("state", ""), one["version"], one.get("data"))
        for one in history(directory, path)
    ]


def at_end(directory: Path, path: str) -> dict[str, object]:
    """The znode right behind the last event, which the history tells, too."""
    last = list(history(directory, path))[-1]
    (at,) = history(directory, path, "--at", last["zxid"])
    assert (at["exists"], at.get("version")) == (True, last["version"])
    return at


def wrote(client: raw.RawClient, operation: str, path: str, data: bytes) -> int:
    body = raw.create_body(path, data, raw.OPEN_ACL, 0)
    if operation == "setData":
        body = raw.set_data_body(path, data, -1)
    reply = client.call(operation, body)
    assert reply.err == OK
    return reply.zxid


def connected(port: int) -> raw.RawClient:
    client = raw.RawClient(port)
    client.connect(raw.connect_request(timeout=40_000))
    return client


def test_a_restore_and_force_new_show_in_the_history(tmp_path: Path) -> None:
    port, backup, directory = free_port(), tmp_path / "backup", tmp_path / "server" / "data"
    server = kraal(tmp_path / "server", settings={**SETTINGS, **admin(port)})
    with server:
        with connected(server.port) as client:
            wrote(client, "create", "/app", b"hello")
            made = tool("backup", f"{HOST}:{port}", "--to", backup)
            assert made.returncode == 0, made.stderr
            wrote(client, "setData", "/app", b"good evening")
            wrote(client, "create", "/later", b"")
        done = tool("restore", backup, "--into", f"{HOST}:{port}", "-y")
        assert done.returncode == 0, done.stderr
        gap = ("gap", "", None, None)
        # The snapshot of the backup is there, and that of the restore.
        restored = [
            gap,
            ("snapshot", "here", 0, "hello"),
            gap,
            ("snapshot", "unchanged", 0, "hello"),
        ]
        assert kinds(directory, "/app") == restored
        assert kinds(directory, "/later") == [gap, gap]
        with connected(server.port) as client:
            wrote(client, "setData", "/app", b"again")
    written = [*restored, ("setData", "", 1, "again")]
    assert kinds(directory, "/app") == written
    assert at_end(directory, "/app")["data"] == "again"
    text = tool("history", "/app", "--data-dir", directory)
    assert "0x1 to 0x" in text.stdout
    assert " are in no log (missing, or replaced); snapshot." in text.stdout
    assert "Nothing on the disk tells of /later." in (
        tool("history", "/later", "--data-dir", directory).stdout
    )
    begun = tool("ensemble", "force-new", "--data-dir", directory, "-y")
    assert begun.returncode == 0, begun.stderr
    with server, connected(server.port) as client:
        wrote(client, "setData", "/app", b"alone")
    # The logs behind the restore gave way, too; its snapshot is still there.
    assert kinds(directory, "/app") == [
        *restored, gap, ("snapshot", "changed", 1, "again"),
        ("setData", "", 2, "alone"),
    ]  # fmt: skip
    assert at_end(directory, "/app")["data"] == "alone"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [KRAAL, pytest.param(APACHE, marks=pytest.mark.apache)])
def test_what_a_leader_sent_as_a_snapshot_is_in_the_history(tmp_path: Path, kind: str) -> None:
    if kind == APACHE:
        require_reference()
    shape = Shape(participants=(kind,) * 3, settings={"forceSnapshotSync": "true"})
    with Ensemble(tmp_path, shape) as ensemble:
        ensemble.start()
        leader = ensemble.wait_leader()
        member = next(one for one in ensemble.members.values() if one is not leader)
        with connected(leader.client_port) as client:
            wrote(client, "create", "/app", b"first")
            wrote(client, "create", "/gone", b"")
            ensemble.wait_in_step()
            member.stop()
            wrote(client, "setData", "/app", b"while it was away")
            assert client.call("delete", raw.path_and_int("/gone", -1)).err == OK
            wrote(client, "create", "/new", b"")
            member.launch()
            ensemble.wait_serving()
            ensemble.wait_in_step()
            last = wrote(client, "setData", "/app", b"behind it")
            ensemble.wait_in_step()
        check_member(ensemble, member, last)


def check_member(ensemble: Ensemble, member: Member, last: int) -> None:
    for one in ensemble.members.values():
        one.stop()
    directory = member.data.parent
    found = kinds(directory, "/app")
    assert found[-3:-1] == [
        ("gap", "", None, None),
        ("snapshot", found[-2][1], 1, "while it was away"),
    ]
    assert found[-1] == ("setData", "", 2, "behind it")
    assert list(history(directory, "/app"))[-1]["zxid"] == hex(last)
    assert at_end(directory, "/app")["data"] == "behind it"
    assert kinds(directory, "/new")[-1][:2] == ("snapshot", "here")
    assert kinds(directory, "/gone")[-1][1] in ("gone", "")


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("make", [kraal, apache], ids=["kraal", "apache"])
def test_histories_of_many_runs(tmp_path: Path, make: Callable[..., Server]) -> None:
    require_reference()
    for seed in range(10, 20):
        home = tmp_path / str(seed)
        compare(run(make(home, settings=SETTINGS), seed, 300, 4), home / "data", seed)
