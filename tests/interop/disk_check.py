"""Disks that fill up under servers that are written to: a small file system of their own.

Run `python -m tests.interop.disk_check --who follower`, `leader` or `standalone`, as a user who may
mount. A file takes away the room of one server's disk, step by step: it is warned, then refuses
writes, then leaves the ensemble, and all of it ends when the file goes. At last the file takes all
room at once, so that a write of the log fails. A client of every member writes meanwhile, and
everything that was acknowledged must be on all members in the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kraal.storage.recovery import recover
from tests.interop.backup_check import FS, data_config
from tests.support import raw_client as raw
from tests.support.ensembles import KRAAL, Ensemble, Member, Shape
from tests.support.servers import Server, kraal

MIB = 1 << 20
SIZE = 96 * MIB
WARN, REFUSE = 32 * MIB, 16 * MIB
SETTINGS = {
    "disk.warnFreeBytes": WARN, "disk.refuseFreeBytes": REFUSE, "preAllocSize": 256,
    "autopurge.purgeInterval": 1, "snapCount": 5000,
}  # fmt: skip
OK, THROTTLED = 0, -127
WHO = ("follower", "leader", "standalone")
PATIENCE_S = 30.0
_PAUSE_S = 0.01
_LOST = (raw.ClosedError, OSError)


class MountMissingError(Exception):
    """No file system can be mounted here."""


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """An ext4 of its own in a file, or a tmpfs, mounted. Raises MountMissingError."""
    place, image = directory / "disk", directory / "disk.img"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    ways = (
        (["mkfs.ext4", "-q", "-F", "-m", "0", str(image)],
         ["mount", "-o", "loop", str(image), str(place)]),
        (["true"], ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]),
    )  # fmt: skip
    said = ""
    for way in ways:
        try:
            for command in way:
                subprocess.run(command, check=True, capture_output=True)
            break
        except (OSError, subprocess.CalledProcessError) as error:
            said = str(error)
    else:
        raise MountMissingError(said)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Ballast:
    """A file that takes room away."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._path = place / "ballast"

    def leave(self, free_bytes: int) -> None:
        """So much is free afterwards; 0: nothing at all."""
        there = self._path.stat().st_size if self._path.exists() else 0
        size = there + self.free - free_bytes
        with self._path.open("ab") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(size, 0))
            while not free_bytes:  # what is left between the blocks of the last call
                file.write(b"x" * 4096)
                file.flush()

    def remove(self) -> None:
        self._path.unlink()

    @property
    def free(self) -> int:
        found = os.statvfs(self._place)
        return found.f_bavail * found.f_frsize


class Writer(threading.Thread):
    """Creates znodes at one server, or at others when that serves nobody; counts the answers."""

    def __init__(self, number: int, ports: list[int]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.refused = 0
        self.reads = 0
        self.sessions = 0
        self.problem = ""
        self.stopping = threading.Event()
        self._number, self._ports = number, ports

    def run(self) -> None:
        turn = 0
        while not self.stopping.is_set():
            with suppress(*_LOST):
                self._connected(self._ports[turn % len(self._ports)])
            turn += 1
            self.stopping.wait(0.05)

    def _connected(self, port: int) -> None:
        with raw.RawClient(port, timeout=5) as client:
            if not client.connect(raw.connect_request(timeout=10_000)).session:
                return
            self.sessions += 1
            for number in range(200):  # then another session, which must be had at any time
                path = f"/w{self._number}-{len(self.acknowledged)}-{self.sessions}-{number}"
                body = raw.create_body(path, b"x" * 1000, raw.OPEN_ACL, 0)
                reply = client.call("create", body)
                if reply.err == OK:
                    self.acknowledged.append(path)
                elif reply.err == THROTTLED:
                    self.refused += 1
                else:
                    self.problem = f"{path}: {reply}"
                if client.call("exists", raw.path_and_watch("/", False)).err == OK:
                    self.reads += 1
                if self.stopping.wait(_PAUSE_S):
                    break
            client.call("closeSession")


@dataclass
class Run:
    """One server with a small disk, and clients."""

    ballast: Ballast
    writers: list[Writer]
    log: Callable[[], str]
    said: list[str] = field(default_factory=list)

    def step(self, what: str, free_bytes: int, is_so: Callable[[], bool]) -> None:
        """Take or give room, and wait for what follows."""
        began = time.monotonic()
        before = [(w.refused, len(w.acknowledged), w.reads, w.sessions) for w in self.writers]
        if free_bytes >= SIZE:
            self.ballast.remove()
        else:
            self.ballast.leave(free_bytes)
        self.wait(what, is_so)
        took = time.monotonic() - began
        self.work(1.0)
        after = [(w.refused, len(w.acknowledged), w.reads, w.sessions) for w in self.writers]
        names = ("refused", "written", "reads", "sessions")
        sums = [sum(b[at] - a[at] for a, b in zip(before, after, strict=True)) for at in range(4)]
        counts = ", ".join(f"{count} {name}" for name, count in zip(names, sums, strict=True))
        print(f"{what}: after {took:.1f} s; meanwhile {counts}", flush=True)

    def wait(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, f"never: {what}\n{self.log()[-3000:]}"
            assert not any(writer.problem for writer in self.writers), self.writers
            time.sleep(0.05)

    def said_again(self, text: str) -> Callable[[], bool]:
        """Whether the log says it since now."""
        count = self.log().count(text)
        return lambda: self.log().count(text) > count

    def work(self, seconds: float) -> None:
        time.sleep(seconds)

    def progress(self, kind: str, writer: Writer | None = None) -> Callable[[], bool]:
        """Whether more writes were acknowledged, or refused, since now."""
        writers = self.writers if writer is None else [writer]

        def count() -> int:
            return sum(
                len(one.acknowledged) if kind == "written" else one.refused for one in writers
            )

        before = count()
        return lambda: count() > before + 5


def check_ensemble(who: str, directory: Path) -> None:
    """A follower's disk, or the leader's."""
    shape = Shape(participants=(KRAAL,) * 3, settings=SETTINGS)
    with ExitStack() as stack:
        ensemble = stack.enter_context(Ensemble(directory, shape))
        # The member with the largest id leads after a common start.
        member = ensemble.members[1 if who == "follower" else 3]
        place = stack.enter_context(small_disk(directory))
        (place / "myid").write_text(f"{member.id}\n")
        shutil.rmtree(member.directory / "data")
        (member.directory / "data").symlink_to(place)
        ensemble.start()
        assert member.mode() == who
        members = list(ensemble.members.values())
        others = [one for one in members if one is not member]
        ports = [one.client_port for one in members]
        writers = [Writer(n, ports[n:] + ports[:n]) for n in range(3)]
        run = Run(Ballast(place), writers, member.log_text)
        for writer in writers:
            writer.start()
        _fill(run, who, ensemble, member, others)
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(20)
        ensemble.wait_serving()
        ensemble.wait_in_step()
        for one in members:
            one.stop()
        _compare([one.data.parent for one in members], writers)


def _fill(run: Run, who: str, ensemble: Ensemble, member: Member, others: list[Member]) -> None:
    own = next(w for w in run.writers if w._ports[0] == member.client_port)
    run.wait("writes", run.progress("written"))
    run.step("warned", WARN - 4 * MIB, run.said_again("less than disk.warnFreeBytes"))
    run.step("writes are refused", REFUSE - 4 * MIB, run.said_again("writes are refused with"))
    if who == "follower":
        run.wait("its own clients are refused", run.progress("refused", own))
        run.wait("the others write", run.progress("written"))
    else:
        run.wait("all are refused", run.progress("refused"))
    assert member.mode() == who
    run.step("room again", SIZE, run.said_again("writes are taken again"))
    run.wait("writes", run.progress("written", own))
    for what, free in (("nearly full", MIB), ("full at once", 0)):
        run.step(f"{what}: it leaves", free, lambda: member.mode() == "")
        assert member.alive
        ensemble.wait_serving(members=others)
        run.wait("the others write", run.progress("written"))
        run.step(f"{what}: it is back", SIZE, lambda: member.mode() in ("follower", "leader"))
        run.wait("writes", run.progress("written"))


def check_standalone(directory: Path) -> None:
    with ExitStack() as stack:
        (directory / "server").mkdir()
        place = stack.enter_context(small_disk(directory))
        (directory / "server/data").symlink_to(place)
        server: Server = stack.enter_context(kraal(directory / "server", settings=SETTINGS))
        run = Run(
            Ballast(place), [Writer(n, [server.port]) for n in range(2)], server.log_path.read_text
        )
        for writer in run.writers:
            writer.start()
        run.wait("writes", run.progress("written"))
        run.step("warned", WARN - 4 * MIB, run.said_again("less than disk.warnFreeBytes"))
        run.step("writes are refused", REFUSE - 4 * MIB, run.said_again("writes are refused with"))
        run.wait("refused", run.progress("refused"))
        run.step("room again", SIZE, run.said_again("writes are taken again"))
        run.wait("writes", run.progress("written"))
        run.step("full at once: it pauses", 0, run.said_again("nobody is served until"))
        _check_start(directory, server)
        run.step("room again: it serves", SIZE, run.progress("written"))
        for writer in run.writers:
            writer.stopping.set()
        for writer in run.writers:
            writer.join(20)
        server.stop()
        _compare([place], run.writers)


def _check_start(directory: Path, server: Server) -> None:
    """On a full disk a server that is started again does not end either."""
    server.kill()
    server.launch()
    time.sleep(3)
    assert server.process is not None
    assert server.process.poll() is None, server.log_path.read_text()[-2000:]


def _compare(directories: list[Path], writers: list[Writer]) -> None:
    acknowledged = {path.encode() for writer in writers for path in writer.acknowledged}
    trees = [recover(FS, data_config(one), extended_types=True).tree for one in directories]
    for directory, tree in zip(directories, trees, strict=True):
        lost = acknowledged - set(tree.nodes)
        assert not lost, f"{directory} lacks {sorted(lost)[:3]}"
    assert len({(tree.last_zxid, tree.digest) for tree in trees}) == 1
    print(f"{len(acknowledged)} acknowledged writes are on {len(trees)} disks, digests are equal")


def check(who: str, directory: Path) -> None:
    if who == "standalone":
        check_standalone(directory)
    else:
        check_ensemble(who, directory)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.disk_check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--who", choices=WHO, action="append")
    for who in parser.parse_args().who or WHO:
        print(f"--- {who}")
        directory = Path(tempfile.mkdtemp(prefix="disk-check-"))
        try:
            check(who, directory)
        except MountMissingError as error:
            print(f"nothing can be mounted here: {error}")
            return 2
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
