"""Kill a server again and again under load; nothing that it acknowledged may be lost.

Run `python -m tests.interop.kill_runner --kills 200 --seed 1`. Each time the server is started on
the same directory, with other settings; the tree, the sessions and the log are compared with
what the clients were told; then several clients work until SIGKILL comes: at a random moment,
when a file appears in the directory, or before the server is ready.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from threading import Thread

from tests.interop import data_directory_dump as state
from tests.interop import kill_load as load
from tests.interop.data_directory_files import VERSION_DIR, Record, is_torn, log_records, named
from tests.interop.kill_check import BrokenPromiseError, Ledger
from tests.interop.kill_line import Line, Turn
from tests.interop.kill_model import EPHEMERAL, Write
from tests.support import servers

_WAIT_MAX_S = 1.2
_FILE_WAIT_MAX_S = 2.0
_JOIN_S = 30.0
_ATTEMPTS = 20
_REPORT_EVERY = 10
_JAVA_TERMINATED = 128 + signal.SIGTERM
# The compiler's best code comes too late for a server that lives for seconds.
_JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1",)
# What kraal says of the files of Apache ZooKeeper: a snapshot cut off, because it was written in
# place, or with the digest of a moment at which the next transaction was half applied; a log
# without its header.
_APACHE_FILES = re.compile(
    r"is (?:damaged|incomplete) and passed over|removed .*, no record|"
    r"tree digest differs from the one recorded by the snapshot"
)


@dataclass(frozen=True)
class Plan:
    """What a run does; the seed decides the load, the settings and the moments."""

    kills: int
    seed: int
    writers: int = 4
    static: int = 1000
    servers: tuple[str, ...] = ("kraal",)


@dataclass
class Figures:
    """What a run has seen."""

    counted: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    snapshots: Counter[str] = field(default_factory=Counter)
    logs: set[str] = field(default_factory=set)
    purged: int = 0
    # Kills in the middle of a record.
    torn: int = 0
    starts: list[float] = field(default_factory=list)
    resumed: int = 0
    znodes: int = 0
    zxid: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{value} {name}" for name, value in sorted(self.counted.items()))
        kinds = ", ".join(f"{value} {name}" for name, value in sorted(self.killed.items()))
        codecs = ", ".join(f"{value} {name}" for name, value in sorted(self.snapshots.items()))
        return "\n".join((
            f"kills: {self.killed.total()} ({kinds})",
            f"requests: {counts}",
            f"sessions taken up after a kill: {self.resumed}",
            f"snapshots: {self.snapshots.total()} ({codecs}); log files: {len(self.logs)}, "
            f"torn by a kill: {self.torn}; files purged: {self.purged}",
            f"starts: {len(self.starts)}, {min(self.starts):.2f} s at least, "
            f"{median(self.starts):.2f} s in the middle, {max(self.starts):.2f} s at most",
            f"at the end: zxid {self.zxid:x}, {self.znodes} znodes; {self.seconds:.0f} s in all",
        ))  # fmt: skip


class Run:
    """One directory, and what its servers have promised."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.figures = Figures()
        self._plan = plan
        self._directory = directory
        self._version_dir = directory / "data" / VERSION_DIR
        self._port = servers.free_port()
        self._random = Random(plan.seed)
        self._ledger = Ledger(counted=self.figures.counted)
        self._with_apache = "apache" in plan.servers
        self._writers = [
            load.Writer(n, plan.seed, plan.static, takes_rights=not self._with_apache)
            for n in range(plan.writers)
        ]
        self._idle = 0
        self._kind = plan.servers[0]
        # How long the last start of each kind of server took.
        self._started: dict[str, float] = {}
        self._log_read = 0

    def execute(self, *, progress: bool = False) -> Figures:
        """Kill as often as planned; raises BrokenPromiseError."""
        began = time.monotonic()
        self._version_dir.mkdir(parents=True)
        for kill in range(self._plan.kills):
            server = self._server()
            try:
                how = self._live_and_die(server, first=kill == 0)
            finally:
                if server.process is not None and server.process.poll() is None:
                    server.kill()
            self.figures.killed[how] += 1
            self._count_logs()
            self._read_log()
            if progress and (kill + 1) % _REPORT_EVERY == 0:
                self._report(kill + 1, time.monotonic() - began)
        with self._server() as server:
            self._verify()
        code = server.stop()
        if code != (0 if self._kind == "kraal" else _JAVA_TERMINATED):
            raise BrokenPromiseError(f"exit code {code} at the end")
        self._settle([])
        self._read_log()
        self.figures.zxid = self._ledger.model.zxid
        self.figures.znodes = len(self._ledger.model.nodes)
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def _report(self, kills: int, seconds: float) -> None:
        figures = self.figures
        print(
            f"{kills} kills, {seconds:.0f} s: zxid {self._ledger.model.zxid:x}, "
            f"{figures.counted['acknowledged']} acknowledged writes, "
            f"{figures.snapshots.total()} snapshots, last start {figures.starts[-1]:.2f} s",
            flush=True,
        )

    # ---- One life of the server -------------------------------------------------------

    def _server(self) -> servers.Server:
        """The next server on the directory; its settings are drawn anew each time."""
        choice = self._random.choice
        settings: dict[str, object] = {
            **state.SUPER_SETTINGS,
            "tickTime": 100,
            "maxSessionTimeout": load.SESSION_TIMEOUT_MS,
            "snapCount": choice((100, 300, 300, 600)),
            "snapshot.compression.method": choice(("", "", "gz", "snappy")),
            # Padding by so little that records pass it makes Apache overwrite its own log.
            "preAllocSize": choice((65536, 0) if self._with_apache else (65536, 65536, 64, 4, 0)),
            "txnLogSizeLimitInKb": choice((-1, -1, 100)),
            "forceSync": choice(("yes", "yes", "yes", "no")),
            "autopurge.purgeInterval": choice((0, 0, 0, 1)),
        }
        self._kind = choice(self._plan.servers)
        if self._kind == "apache":
            return servers.apache(
                self._directory, port=self._port, settings=settings, java_options=_JAVA_OPTIONS
            )
        return servers.kraal(self._directory, port=self._port, settings=settings)

    def _live_and_die(self, server: servers.Server, *, first: bool) -> str:
        """Start, check, load, kill; says at what moment."""
        if self._kind in self._started and self._random.random() < 0.2:
            return self._die_at_start(server)
        try:
            self._started[self._kind] = server.start()
        except RuntimeError as error:
            raise BrokenPromiseError(f"the server does not start: {error}") from error
        self.figures.starts.append(self._started[self._kind])
        self._verify()
        if first:
            self._settle([load.furnish(self._port, self._plan.writers, self._plan.static)])
        for stray in sorted(self._ledger.strays):
            self._settle([load.end_session(self._port, stray)])
        turn = Turn()
        idle = self._take_up_idle(turn)
        for writer in self._writers:
            self._begin(writer)
        threads = [Thread(target=writer.run, args=(self._port,)) for writer in self._writers]
        for thread in threads:
            thread.start()
        how = self._await_moment(server)
        server.kill()
        for thread in threads:
            thread.join(_JOIN_S)
            if thread.is_alive():
                raise BrokenPromiseError("a client still waits for a server that was killed")
        idle.close()
        self._settle([turn, *(writer.turn for writer in self._writers)])
        return how

    def _die_at_start(self, server: servers.Server) -> str:
        """Kill the server while it reads its directory, or soon after."""
        process = server.launch()
        time.sleep(self._random.uniform(0.1, 1.1) * self._started[self._kind])
        if process.poll() is not None:
            raise BrokenPromiseError(f"the server ended at start: {server.log_path}")
        server.kill()
        self._settle([])
        return "at start"

    def _await_moment(self, server: servers.Server) -> str:
        """Wait for the moment to kill."""
        assert server.process is not None
        if self._random.random() < 0.6:
            time.sleep(self._random.uniform(0.05, _WAIT_MAX_S))
            how = "at a random moment"
        else:
            time.sleep(self._random.uniform(0.05, _WAIT_MAX_S / 2))
            known = set(os.listdir(self._version_dir))  # noqa: PTH208 - only names, and soon
            deadline = time.monotonic() + _FILE_WAIT_MAX_S
            while known.issuperset(os.listdir(self._version_dir)):  # noqa: PTH208
                if time.monotonic() > deadline:
                    break
                time.sleep(0.0002)
            time.sleep(self._random.choice((0, 0.001, 0.003)))
            how = "when a file appeared"
        if server.process.poll() is not None:
            raise BrokenPromiseError(f"the server ended by itself: {server.log_path}")
        return how

    # ---- Clients ----------------------------------------------------------------------

    def _begin(self, writer: load.Writer) -> None:
        model = self._ledger.model
        if writer.session not in model.sessions:
            writer.session = 0  # its closeSession was never acknowledged
        self.figures.resumed += writer.session != 0
        if not writer.begin(self._port, model.nodes):
            raise BrokenPromiseError(f"LOST: session {writer.session:x} cannot be taken up")

    def _take_up_idle(self, turn: Turn) -> Line:
        """A session that owns ephemerals and does nothing but live."""
        line = Line(self._port, turn, load.SESSION_TIMEOUT_MS, self._idle)
        if self._idle and line.session != self._idle:
            raise BrokenPromiseError(f"LOST: session {self._idle:x} cannot be taken up")
        if not self._idle:
            self._idle = line.session
            for name in ("one", "two"):
                path = f"{load.ROOT}/idle-{name}"
                line.send([line.encode(Write("create", path, b"idle", flags=EPHEMERAL))])
            line.receive()
        return line

    # ---- Judging ----------------------------------------------------------------------

    def _settle(self, turns: list[Turn]) -> None:
        self._ledger.settle(self._records(), turns)

    def _records(self) -> list[Record]:
        """What the log has beyond the last settlement."""
        for _ in range(_ATTEMPTS):
            try:
                return list(log_records(self._version_dir, self._ledger.model.zxid + 1))
            except FileNotFoundError:
                continue  # purged meanwhile
        raise BrokenPromiseError("log files vanish all the time")

    def _verify(self) -> None:
        """The server shows the sessions and the tree that were promised, and is content."""
        model = self._ledger.model
        zxid = state.last_zxid(self._port)
        if zxid < model.zxid:
            raise BrokenPromiseError(f"the zxid went back from {model.zxid:x} to {zxid:x}")
        turn = Turn()
        with closing(Line(self._port, turn, load.SESSION_TIMEOUT_MS)) as line:
            self._compare(line, turn)
            line.send([line.encode(None)])
            line.receive()
        self._settle([turn])

    def _compare(self, line: Line, turn: Turn) -> None:
        model = self._ledger.model
        state.authenticate(line.client)
        for _ in range(_ATTEMPTS):
            self._settle([turn])
            found = state.dump(line.client)
            sessions = state.session_ids(self._port)
            if state.last_zxid(self._port) == model.zxid:
                break  # else a session has expired meanwhile
        expected = {
            path: state.Entry(node.data, node.stat(), tuple(node.acl))  # type: ignore[arg-type]
            for path, node in model.nodes.items()
        }
        different = state.differences(expected, found)
        if sessions != model.sessions:
            different.append(f"sessions {sessions ^ model.sessions}")
        mismatches = state.figures(self._port)["zk_digest_mismatches_count"]
        if mismatches != "0" and not self._with_apache:
            different.append(f"{mismatches} digest mismatches")
        if different:
            raise BrokenPromiseError("expected / found:\n" + "\n".join(different))

    def _count_logs(self) -> None:
        logs = named(self._version_dir, "log")
        self.figures.logs.update(path.name for _, path in logs)
        self.figures.torn += bool(logs) and is_torn(logs[-1][1])

    def _read_log(self) -> None:
        """Count snapshots and find complaints in what the server has printed since."""
        with (self._directory / "server.log").open("rb") as log:
            log.seek(self._log_read)
            text = log.read().decode(errors="replace")
            self._log_read = log.tell()
        complaints = state.complaints(text)
        if self._with_apache:
            complaints = [
                line for line in complaints if " kraal" in line and not _APACHE_FILES.search(line)
            ]
        if complaints:
            raise BrokenPromiseError("the server complains:\n" + "\n".join(complaints))
        for codec in re.findall(r"Snapshot snapshot\.[0-9a-f]+(\.\w+)?: ", text):
            self.figures.snapshots[codec or "plain"] += 1
        self.figures.purged += len(re.findall(r" Purged /", text))


def run(plan: Plan, *, progress: bool = False) -> Figures:
    """A run in a directory of its own, which stays where a failure says."""
    directory = Path(tempfile.mkdtemp(prefix="kill-"))
    try:
        figures = Run(plan, directory).execute(progress=progress)
    except BrokenPromiseError as error:
        raise BrokenPromiseError(f"{error}\nseed {plan.seed}; directory: {directory}") from error
    shutil.rmtree(directory)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.kill_runner")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writers", type=int, default=Plan.writers)
    parser.add_argument(
        "--servers", type=lambda text: tuple(text.split(",")), default=Plan.servers,
        help="kraal (the default), apache, or kraal,apache to draw one each time",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        plan = Plan(options.kills, options.seed, options.writers, servers=options.servers)
        figures = run(plan, progress=True)
    except BrokenPromiseError as error:
        print(error)
        return 1
    print(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
