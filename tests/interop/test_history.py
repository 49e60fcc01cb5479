"""`kraal history` tells of a znode what its clients saw, over logs, snapshots and restarts.

Clients note what each answer says: zxid, version, data, and whose session it was. A random run of
requests goes over several starts of one server, in its own logs and snapshots; afterwards the
history of every znode must be that, in this order, and nothing else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from kraal.cli.main import main
from tests.support import raw_client as raw
from tests.support.servers import Server, apache, kraal, require_reference

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
    found = []
    for event in history(directory, path):
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


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("make", [kraal, apache], ids=["kraal", "apache"])
def test_histories_of_many_runs(tmp_path: Path, make: Callable[..., Server]) -> None:
    require_reference()
    for seed in range(10, 20):
        home = tmp_path / str(seed)
        compare(run(make(home, settings=SETTINGS), seed, 300, 4), home / "data", seed)
