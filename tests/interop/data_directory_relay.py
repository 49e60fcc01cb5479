"""Hands one data directory from server to server, and compares what each finds in it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop import data_directory_dump as state
from tests.interop.data_directory_files import (
    VERSION_DIR,
    Record,
    digest_term,
    log_records,
    named,
    signed,
)
from tests.interop.data_directory_script import SETTINGS, Script
from tests.interop.data_directory_tools import print_log, print_snapshot
from tests.support import servers

# The compiler's best code comes too late for a server that lives for seconds.
_JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1",)


class LostError(Exception):
    """A server does not find what another has written; the text says what."""


@dataclass(frozen=True)
class Leg:
    """One server's turn: `churn` is how many small writes it gets."""

    kind: str
    settings: dict[str, object] = field(default_factory=dict)
    churn: int = 100


@dataclass
class Seen:
    """What a server showed before it was killed."""

    zxid: int
    znodes: state.Dump
    sessions: set[int]
    digests: dict[int, int]


class Relay:
    """The directory, and what must be in it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.counted: Counter[str] = Counter()
        self._directory = directory
        self._snapshots = self._logs = directory / "data" / VERSION_DIR
        self._script = Script(seed)
        self._files: dict[Path, int] = {}
        self._seen: Seen | None = None
        self._rounds = 0

    def run(self, *legs: Leg) -> str:
        """Run the legs; returns what was done. Raises LostError."""
        for leg in legs:
            began = time.monotonic()
            self._run(leg)
            self.counted[f"{leg.kind} legs"] += 1
            print(f"{leg}: {time.monotonic() - began:.1f} s", flush=True)
        return ", ".join(f"{value} {name}" for name, value in self.counted.items())

    def _run(self, leg: Leg) -> None:
        settings = {**SETTINGS, **state.SUPER_SETTINGS, **leg.settings}
        place = self._directory / leg.kind
        settings["dataDir"] = self._snapshots.parent
        if "dataLogDir" in settings:
            self._logs = self._directory / str(settings["dataLogDir"]) / VERSION_DIR
            settings["dataLogDir"] = self._logs.parent
        if leg.kind == "apache":
            server = servers.apache(place, settings=settings, java_options=_JAVA_OPTIONS)
        else:
            server = servers.kraal(place, settings=settings)
        server.log_path.write_bytes(b"")
        with server:
            if self._seen is not None:
                self._compare(server.port, self._seen)
            self._rounds += 1
            self._script.round(server.port, self._rounds, leg.churn)
            self._seen = self._look(server.port)
            self._check_figures(server.port)
            server.kill()
        self._check_server_log(server.log_path)
        self._check_last_digest(self._seen)
        if leg.kind == "kraal":
            self._print_files()
        self._files = self._times_of_files()

    # ---- What a server shows ----------------------------------------------------------

    def _look(self, port: int) -> Seen:
        client = state.connect_super(port)
        with client:
            znodes = state.dump(client)
            self._script.do(client, "closeSession")
        return Seen(
            state.last_zxid(port), znodes, state.session_ids(port), state.digest_history(port)
        )

    def _compare(self, port: int, seen: Seen) -> None:
        """All that was there before is there now, and goes on."""
        zxid = state.last_zxid(port)
        sessions = state.session_ids(port)
        held = self._script.held[0]
        client = state.resumes(port, held.session, held.password, seen.zxid)
        if client is None:
            raise LostError(f"session {held.session:x} cannot be taken up")
        with client:
            reply = self._script.do(client, "setData", held.paths[0], b"e", -1)
        znodes = self._look(port).znodes
        problems = self._differences(seen, znodes, held.paths[0])
        if (zxid, reply.zxid) != (seen.zxid, seen.zxid + 1):
            problems.append(f"zxid {seen.zxid:x} before, {zxid:x} now, next {reply.zxid:x}")
        if sessions != seen.sessions:
            problems.append(f"sessions {sorted(seen.sessions)} before, {sorted(sessions)} now")
        history = state.digest_history(port)
        common = history.keys() & seen.digests.keys()
        self.counted["digests compared"] += len(common)
        problems += [
            f"digest at {zxid:x}: {seen.digests[zxid]} before, {history[zxid]} now"
            for zxid in sorted(common)
            if history[zxid] != seen.digests[zxid]
        ]
        problems += self._session_problems(port, seen)
        if problems:
            raise LostError("before / now:\n" + "\n".join(problems))
        self.counted["znodes compared"] += len(znodes)

    @staticmethod
    def _differences(seen: Seen, znodes: state.Dump, written: str) -> list[str]:
        """Where the trees differ; one znode has been written to with the data that it had."""
        before, now = seen.znodes[written], znodes.get(written)
        if now is not None and now.stat.version == before.stat.version + 1:
            znodes = {**znodes, written: before}
        return state.differences(seen.znodes, znodes)

    def _session_problems(self, port: int, seen: Seen) -> list[str]:
        """Every session that lives is known with its password, and no other."""
        problems = []
        for held in self._script.held:
            client = state.resumes(port, held.session, held.password, seen.zxid)
            if client is None:
                problems.append(f"session {held.session:x} cannot be taken up")
                continue
            with client:
                owned = self._script.do(client, "getEphemerals", "/").value
            if not isinstance(owned, list) or sorted(owned) != sorted(held.paths):
                problems.append(f"session {held.session:x} owns {owned}, not {held.paths}")
        for ended in self._script.ended:
            client = state.resumes(port, ended.session, ended.password)
            if client is not None:
                problems.append(f"session {ended.session:x} has come back to life")
        wrong = bytes(reversed(self._script.held[0].password))
        if state.resumes(port, self._script.held[0].session, wrong) is not None:
            problems.append("a wrong password was accepted")
        self.counted["sessions taken up"] += len(self._script.held)
        return problems

    @staticmethod
    def _check_figures(port: int) -> None:
        mismatches = state.figures(port)["zk_digest_mismatches_count"]
        if mismatches != "0":
            raise LostError(f"{mismatches} digest mismatches")

    # ---- What a server leaves ---------------------------------------------------------

    @staticmethod
    def _check_server_log(path: Path) -> None:
        complaints = state.complaints(path.read_text(errors="replace"))
        if complaints:
            raise LostError("the server complains:\n" + "\n".join(complaints))

    def _check_last_digest(self, seen: Seen) -> None:
        """The digest of the last transaction is that of the tree that clients saw."""
        last: Record | None = None
        for record in log_records(self._logs):
            if last is not None and record.zxid != last.zxid + 1:
                raise LostError(f"{record.file}: zxid {record.zxid:x} follows {last.zxid:x}")
            last = record
        assert last is not None
        expected = signed(
            sum(
                digest_term(
                    path, entry.data,
                    zxids=(entry.stat.czxid, entry.stat.mzxid, entry.stat.pzxid),
                    times=(entry.stat.ctime, entry.stat.mtime),
                    versions=(
                        entry.stat.version,
                        (entry.stat.cversion + entry.stat.children) // 2,
                        entry.stat.aversion,
                    ),
                    owner=self._script.owners.get(path, entry.stat.owner),
                )
                for path, entry in seen.znodes.items()
            )
        )  # fmt: skip
        if (last.zxid, last.digest) != (seen.zxid, expected):
            raise LostError(
                f"the log ends with zxid {last.zxid:x} and digest {last.digest}, the tree has "
                f"{seen.zxid:x} and {expected}"
            )

    def _times_of_files(self) -> dict[Path, int]:
        paths = {*self._snapshots.iterdir(), *self._logs.iterdir()}
        return {path: path.stat().st_mtime_ns for path in paths}

    def _print_files(self) -> None:
        """Every log and snapshot written in this leg can be printed by Apache's own tools."""
        now = self._times_of_files()
        written = {path for path, time_ns in now.items() if self._files.get(path) != time_ns}
        for _, path in named(self._logs, "log"):
            if path in written:
                self.counted["transactions printed"] += print_log(path)
                self.counted["logs printed"] += 1
        for zxid, path in named(self._snapshots, "snapshot"):
            if path in written:
                self.counted["znodes printed"] += print_snapshot(path, zxid)
                self.counted["snapshots printed"] += 1
