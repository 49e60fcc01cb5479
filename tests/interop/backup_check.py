"""Backups of servers that are written to, restored into fresh ensembles; nothing may be lost.

Run `python -m tests.interop.backup_check --source kraal-3 --way http --writes 1000 --seconds 20`.
Clients write at a steady pace, each its own znodes, and note the zxid of every answer. Meanwhile
backups are made. Each is restored into the empty directories of a new ensemble, or into one of
them. A backup says up to which zxid it goes: what was acknowledged up to there must be in it,
with its data, and nothing else, on every member; the digest must be that of the source.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.recovery import recover, recover_until
from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape
from tests.support.servers import HOST, KRAAL_PATH, apache, free_port, kraal

FS = OsFileSystem()
ROOT = "/written"
BATCH = 10
WRITERS = 4
OK, NO_NODE = 0, -101
SOURCES = ("kraal", "kraal-3", "apache", "apache-3")
WAYS = ("http", "directory")
_SIZE = 100
_READ_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does."""

    source: str = "kraal-3"
    way: str = "http"
    writes_per_second: int = 1000
    seconds: float = 10.0
    backups: int = 3
    znodes: int = 2000
    """Of the tree before the writes begin: they make a snapshot take its time."""
    target: str = KRAAL


@dataclass
class Result:
    """What one backup came to."""

    zxid: int
    seconds: float
    refused: str = ""
    lost: list[str] = field(default_factory=list)
    acknowledged: int = 0
    """Writes up to its zxid."""
    later: int = 0
    """Writes behind it, none of which may be there."""

    def __str__(self) -> str:
        if self.refused:
            return f"refused after {self.seconds:.1f} s: {self.refused}"
        verdict = f"{len(self.lost)} WRONG: {self.lost[:3]}" if self.lost else "all there, no more"
        return (
            f"{show(self.zxid)} in {self.seconds:.2f} s: {self.acknowledged} acknowledged writes "
            f"up to it, {self.later} behind it: {verdict}"
        )


class Writer(threading.Thread):
    """Creates, changes and deletes its own znodes; notes (zxid, path, data or None: deleted)."""

    def __init__(self, number: int, port: int, per_second: float) -> None:
        super().__init__(daemon=True)
        self.noted: list[tuple[int, str, bytes | None]] = []
        self.problem = ""
        self.stopping = threading.Event()
        self._client = raw.RawClient(port, timeout=60)
        self._client.connect(raw.connect_request(timeout=40_000))
        self._name = f"{ROOT}/{number}-"
        self._per_second = per_second
        self._count = 0

    def run(self) -> None:
        began = time.monotonic()
        try:
            while not self.stopping.is_set():
                due = began + self._count / self._per_second
                if (early := due - time.monotonic()) > 0:
                    self.stopping.wait(early)
                self._batch()
            self._client.call("closeSession")
        except Exception as error:  # must be heard of
            self.problem = repr(error)
        finally:
            self._client.close()

    def _batch(self) -> None:
        batch = [self._next(self._count + at) for at in range(BATCH)]
        for op, body, _, _ in batch:
            self._client.send(op, body)
        for _, _, path, data in batch:
            reply = self._client.receive()
            assert isinstance(reply, raw.Reply), reply
            assert reply.err == OK, (path, reply)
            self.noted.append((reply.zxid, path, data))
        self._count += BATCH

    def _next(self, number: int) -> tuple[str, bytes, str, bytes | None]:
        data = f"{number}".encode().ljust(_SIZE)
        if number % 5 == 3:
            path = f"{self._name}{number - 3}"
            return "setData", raw.set_data_body(path, data, -1), path, data
        if number % 5 == 4:
            path = f"{self._name}{number - 3}"
            return "delete", raw.path_and_int(path, -1), path, None
        path = f"{self._name}{number}"
        return "create", raw.create_body(path, data, raw.OPEN_ACL, 0), path, data


@dataclass(frozen=True)
class Source:
    """Servers that are written to."""

    ports: list[int]
    admin_ports: list[int]
    directories: list[Path]


def admin(port: int) -> dict[str, object]:
    return {
        "admin.enableServer": "true", "admin.serverPort": port, "admin.serverAddress": HOST,
        "snapCount": 20_000,
    }  # fmt: skip


@contextmanager
def running(plan: Plan, directory: Path) -> Iterator[Source]:
    kind = KRAAL if plan.source.startswith("kraal") else APACHE
    admin_ports = [free_port() for _ in range(3)]
    if not plan.source.endswith("-3"):
        make = kraal if kind == KRAAL else apache
        with make(directory, settings=admin(admin_ports[0])) as server:
            yield Source([server.port], admin_ports[:1], [server.directory / "data"])
        return
    own = {number: admin(port) for number, port in enumerate(admin_ports, start=1)}
    shape = Shape(participants=(kind,) * 3, own_settings=own)
    with Ensemble(directory, shape) as ensemble:
        ensemble.start()
        members = list(ensemble.members.values())
        yield Source(
            [member.client_port for member in members],
            admin_ports,
            [member.directory / "data" for member in members],
        )


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`kraal …` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kraal", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=KRAAL_PATH,
    )  # fmt: skip


def prepare(port: int, znodes: int) -> None:
    """The tree that is there before the writes."""
    with raw.RawClient(port, timeout=60) as client:
        client.connect(raw.connect_request(timeout=40_000))
        for path in (ROOT, "/before"):
            reply = client.call("create", raw.create_body(path, b"", raw.OPEN_ACL, 0))
            assert reply.err == OK, reply
        for begin in range(0, znodes, 1000):
            count = min(1000, znodes - begin)
            for number in range(begin, begin + count):
                body = raw.create_body(f"/before/{number}", b"x" * _SIZE, raw.OPEN_ACL, 0)
                client.send("create", body)
            for _ in range(count):
                client.receive()
        client.call("closeSession")


def back_up(plan: Plan, source: Source, number: int, target: Path) -> Result:
    """From another member each time."""
    at = number % len(source.ports)
    where: object = source.directories[at]
    if plan.way == "http":
        where = f"{HOST}:{source.admin_ports[at]}"
    began = time.monotonic()
    made = tool("backup", where, "--to", target, "-o", "json")
    seconds = time.monotonic() - began
    if made.returncode:
        return Result(-1, seconds, refused=made.stderr.strip())
    return Result(int(json.loads(made.stdout)["last_zxid"], 16), seconds)


def expected(noted: Sequence[tuple[int, str, bytes | None]], zxid: int) -> dict[str, bytes | None]:
    """Each path that was ever written, with its data at a zxid; None: it is not there."""
    found: dict[str, bytes | None] = {path: None for _, path, _ in noted}
    for at, path, data in noted:
        if at <= zxid:
            found[path] = data
    return found


def differences(port: int, wanted: dict[str, bytes | None]) -> list[str]:
    """What a server has otherwise."""
    wrong: list[str] = []
    paths = list(wanted)
    with raw.RawClient(port, timeout=60) as client:
        client.connect(raw.connect_request(timeout=40_000))
        for begin in range(0, len(paths), _READ_AT_ONCE):
            some = paths[begin : begin + _READ_AT_ONCE]
            for path in some:
                client.send("getData", raw.path_and_watch(path, False))
            for path in some:
                reply = client.receive()
                assert isinstance(reply, raw.Reply), reply
                has = reply.value[0] if isinstance(reply.value, tuple) else None
                if has != wanted[path]:
                    wrong.append(f"{path} has {has!r}, not {wanted[path]!r}")
        listed = client.call("getChildren", raw.path_and_watch(ROOT, False)).value
        assert isinstance(listed, list)
        known = {path for path, data in wanted.items() if data is not None}
        wrong += [f"{name} is too many" for name in listed if f"{ROOT}/{name}" not in known]
        client.call("closeSession")
    return wrong


def restored(
    backup: Path,
    directory: Path,
    wanted: dict[str, bytes | None],
    digest: int,
    kind: str,
    *,
    into_all: bool,
) -> list[str]:
    """Restore into a fresh ensemble, into all members or the first, and look at each."""
    wrong: list[str] = []
    with Ensemble(directory, Shape(participants=(kind,) * 3)) as ensemble:
        members = list(ensemble.members.values())
        for member in members if into_all else members[:1]:
            done = tool("restore", backup, "--data-dir", member.directory / "data")
            assert done.returncode == 0, done.stderr
        if into_all:
            ensemble.start()
        else:
            for member in members[:2]:  # the first and an empty one are a majority
                member.launch()
            ensemble.wait_serving(members=members[:2])
            members[2].launch()
            ensemble.wait_serving()
        for member in members:
            wrong += [f"{member.id}: {text}" for text in differences(member.client_port, wanted)]
        ensemble.wait_in_step()
        for member in members:
            member.stop()
        # Sessions came and went since, which is in no digest.
        trees = [
            recover(FS, data_config(one.data.parent), extended_types=True).tree for one in members
        ]
        if len({tree.last_zxid for tree in trees}) > 1:
            wrong.append(f"the members end at {[show(tree.last_zxid) for tree in trees]}")
        wrong += [
            f"{member.id}: another digest than the source had"
            for member, tree in zip(members, trees, strict=True)
            if tree.digest != digest
        ]
    return wrong


def data_config(directory: Path) -> StorageConfig:
    return StorageConfig(data_dir=PurePath(directory), data_log_dir=PurePath(directory))


def run(plan: Plan, directory: Path, say: object = print) -> list[Result]:
    """Write, back up, stop, restore, compare."""
    assert callable(say)
    with ExitStack() as stack:
        source = stack.enter_context(running(plan, directory / "source"))
        prepare(source.ports[0], plan.znodes)
        pace = plan.writes_per_second / WRITERS
        writers = [
            Writer(number, source.ports[number % len(source.ports)], pace)
            for number in range(WRITERS)
        ]
        began = time.monotonic()
        for writer in writers:
            writer.start()
        results = []
        for number in range(plan.backups):
            due = began + (number + 0.5) * plan.seconds / plan.backups
            time.sleep(max(0.0, due - time.monotonic()))
            results.append(back_up(plan, source, number, directory / f"backup-{number}"))
        time.sleep(max(0.0, began + plan.seconds - time.monotonic()))
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(60)
            assert not writer.problem, writer.problem
        lasted = time.monotonic() - began
    noted = sorted(note for writer in writers for note in writer.noted)
    say(f"{plan.source}: {len(noted)} writes, {len(noted) / lasted:.0f} a second")
    for number, result in enumerate(results):
        if not result.refused:
            backup = directory / f"backup-{number}"
            _judge(plan, result, noted, source.directories, backup, directory / f"new-{number}",
                   into_all=number % 2 == 0)  # fmt: skip
        say(f"backup {number} by {plan.way}: {result}")
    return results


def _judge(
    plan: Plan,
    result: Result,
    noted: list[tuple[int, str, bytes | None]],
    directories: Sequence[Path],
    backup: Path,
    new: Path,
    *,
    into_all: bool,
) -> None:
    result.acknowledged = sum(note[0] <= result.zxid for note in noted)
    result.later = len(noted) - result.acknowledged
    digest = recover(FS, data_config(backup), extended_types=True).tree.digest
    for directory in directories:
        there = recover_until(
            FS, data_config(directory), result.zxid, extended_types=True, recent_max=1
        )
        if there.tree.digest != digest:
            result.lost.append(f"the digest at {show(result.zxid)} is not that of {directory}")
    wanted = expected(noted, result.zxid)
    result.lost += restored(backup, new, wanted, digest, plan.target, into_all=into_all)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.backup_check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--source", choices=SOURCES, default="kraal-3")
    parser.add_argument("--way", choices=WAYS, default="http")
    parser.add_argument("--target", choices=(KRAAL, "apache"), default=KRAAL)
    parser.add_argument("--writes", type=int, default=1000, help="a second, of all clients (1000)")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--backups", type=int, default=4)
    parser.add_argument("--znodes", type=int, default=50_000, help="there before (50 000)")
    options = parser.parse_args()
    plan = Plan(
        source=options.source, way=options.way, writes_per_second=options.writes,
        seconds=options.seconds, backups=options.backups, znodes=options.znodes,
        target=KRAAL if options.target == KRAAL else APACHE,
    )  # fmt: skip
    directory = Path(tempfile.mkdtemp(prefix="backup-check-"))
    results = run(plan, directory)
    wrong = sum(bool(result.lost) for result in results)
    if wrong:
        print(f"{wrong} of {len(results)} backups are wrong; everything is in {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
