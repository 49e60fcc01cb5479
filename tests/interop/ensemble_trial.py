"""An ensemble under load that is brought to rest and judged from time to time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.interop import data_directory_dump as state
from tests.interop import ensemble_complaints as complaints
from tests.interop.data_directory_files import Record, file_records, log_records
from tests.interop.ensemble_check import Judge
from tests.interop.ensemble_history import CLOSE, History, Op, connections, xids
from tests.interop.ensemble_load import SESSION_TIMEOUT_MS, Load, Pace, exchange
from tests.interop.ensemble_logs import epoch_of
from tests.interop.kill_check import BrokenPromiseError
from tests.interop.kill_load import COUNTER
from tests.interop.kill_model import Write
from tests.support import raw_client as raw
from tests.support.ensembles import Ensemble, Member, Shape

SETTINGS: dict[str, object] = {
    **state.SUPER_SETTINGS,
    "maxSessionTimeout": 60_000,
    # Snapshots, and so log files, come often.
    "snapCount": 2000,
    "preAllocSize": 1024,
    # The judge reads them all.
    "autopurge.purgeInterval": 0,
}
# Members initialise this each on its own.
_CONFIG = "/zookeeper/config"
_SERVICE_S = 40.0
_ATTEMPTS = 30
# Every so many transactions a server remembers the digest of the tree.
_DIGEST_INTERVAL = 128


@dataclass
class Figures:
    """What a trial has seen."""

    counted: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    # How often a member of each kind was seen leading.
    led: Counter[str] = field(default_factory=Counter)
    mismatches: Counter[str] = field(default_factory=Counter)
    # What is wrong and yet breaks no promise: complaints in the logs, digests.
    findings: list[str] = field(default_factory=list)
    # The longest time without an answered write, by what was done meanwhile.
    pauses_s: dict[str, float] = field(default_factory=dict)
    settlements: int = 0
    znodes: int = 0
    zxid: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        found = "\n".join(["", "FOUND:", *self.findings]) if self.findings else ""
        counts = ", ".join(f"{value} {name}" for name, value in sorted(self.counted.items()))
        faults = ", ".join(f"{value} {name}" for name, value in sorted(self.faults.items()))
        led = ", ".join(f"{kind} {value} times" for kind, value in sorted(self.led.items()))
        pauses = ", ".join(f"{name} {value:.2f}" for name, value in sorted(self.pauses_s.items()))
        wrong = ", ".join(
            f"{value} at {kind}" for kind, value in sorted(self.mismatches.items()) if value
        )
        rate = self.counted["acknowledged"] / self.seconds if self.seconds else 0
        return "\n".join((
            f"requests: {counts}",
            f"faults: {self.faults.total()} ({faults})",
            f"seen leading: {led}",
            f"longest pause of writes, seconds: {pauses}",
            f"digest mismatches: {wrong or 'none'}",
            f"settlements: {self.settlements}; at the end: zxid {self.zxid:x}, {self.znodes} "
            f"znodes; {self.seconds:.0f} s, {rate:.0f} answered writes a second{found}",
        ))  # fmt: skip


class Probe:
    """A session that reads everything of one member, and is closed without a word."""

    def __init__(self, member: Member) -> None:
        self.client = raw.RawClient(member.client_port, timeout=30.0)
        shown = self.client.connect(raw.connect_request(timeout=SESSION_TIMEOUT_MS))
        self.session = shown.session
        state.authenticate(self.client)

    def close(self) -> History:
        """Close the session; what that was, for the next settlement."""
        op = Op(self.session, next(connections), 0, next(xids), CLOSE, "", time.monotonic())
        history = History([op])
        try:
            op.reply = self.client.call(CLOSE, xid=op.xid)
            op.returned = time.monotonic()
        except (raw.ClosedError, OSError):
            history.doubtful.add(self.session)
        finally:
            self.client.close()
        return history


class Trial:
    """One ensemble from its first start to its end; `say` gets progress, line by line."""

    def __init__(
        self,
        directory: Path,
        shape: Shape,
        seed: int,
        pace: Pace | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.ensemble = Ensemble(directory, shape)
        self.judge = Judge()
        self.figures = Figures(counted=self.judge.counted)
        self.say = say
        self.load = Load(list(self.ensemble.members.values()), seed, pace or Pace())
        self._began = time.monotonic()
        # When each fault began, for the pauses that it caused.
        self._marks: list[tuple[float, str]] = []
        self._later = History()
        self._logs_read: dict[Path, int] = {}
        # The last zxid of each log that a member has put aside.
        self._put_aside: dict[Path, int] = {}
        # What each member had counted at the end of the last settlement.
        self._mismatches: dict[int, int] = {}

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.load.close()
        self.ensemble.close()

    def begin(self) -> None:
        """Start everything and let the clients work."""
        seconds = self.ensemble.start()
        self.say(f"all serve after {seconds:.1f} s, {self.ensemble.leader()} leads")
        self._later.merge(self.load.furnish())
        self.load.start()
        self.settle()

    def mark(self, what: str) -> None:
        """A fault begins; pauses from now on are put down to it."""
        self.figures.faults[what] += 1
        self._marks.append((time.monotonic(), what))

    def see_leader(self) -> Member | None:
        """Who leads now, noted."""
        leader = self.ensemble.leader()
        if leader is not None and (zxid := leader.zxid()) >= 0:
            if self.judge.leaders.setdefault(epoch_of(zxid), leader.id) != leader.id:
                raise BrokenPromiseError(f"two leaders of epoch {epoch_of(zxid)}: {leader}")
            self.figures.led[leader.kind] += 1
        return leader

    # ---- Settling ---------------------------------------------------------------------

    def recover(self) -> None:
        """Undo every fault and wait until all members serve."""
        if self.ensemble.links is not None:
            self.ensemble.links.heal()
        for member in self.ensemble.members.values():
            member.resume()
            if not member.alive:
                member.launch()
        self.ensemble.wait_serving(_SERVICE_S)

    def settle(self) -> None:
        """Bring everything to rest, judge it, and let the clients work again."""
        self.recover()
        self.load.pause()
        probes = [Probe(member) for member in self.ensemble.members.values()]
        try:
            self._settle(probes)
        finally:
            for probe in probes:
                probe.client.close()
        self.figures.settlements += 1
        self.figures.zxid = self.judge.model.zxid
        self.figures.znodes = len(self.judge.model.nodes)
        self.figures.seconds = time.monotonic() - self._began
        self._marks = [(time.monotonic(), "no fault")]
        self.load.resume()

    def _settle(self, probes: Sequence[Probe]) -> None:
        leader = self.see_leader() or self.ensemble.wait_leader()
        history = self.load.take()
        self._note_pauses(history)
        self._later.merge(history)
        self._later.merge(exchange(leader.client_port, [Write("setData", COUNTER, b"rest"), None]))
        self._judge()
        for stray in self.judge.strays - {probe.session for probe in probes}:
            self._later.merge(exchange(leader.client_port, [None], stray))
        self.ensemble.wait("end of abandoned sessions", self._no_session_is_due, _SERVICE_S)
        self._compare(probes)
        for probe in probes:
            self._later.merge(probe.close())
        self._check_digests(leader)
        for complaint in complaints.new_complaints(self.ensemble, self._logs_read):
            self._find(f"complaint: {complaint}")

    def _judge(self) -> int:
        """Judge all that was noted, up to a zxid that all members have applied."""
        history, self._later = self._later, History()
        zxid = self.ensemble.wait_in_step()
        self.judge.settle(history, self._records(zxid))
        return zxid

    def _no_session_is_due(self) -> bool:
        """Whether what nobody said good-bye to has expired."""
        self._judge()
        return not self.judge.abandoned & self.judge.model.sessions

    def _records(self, zxid: int) -> dict[str, list[Record]]:
        """What each member has logged since the last settlement, up to a zxid."""
        first = self.judge.model.zxid + 1
        return {
            f"member {member.id}": [
                record for record in self._logged(member, first) if record.zxid <= zxid
            ]
            for member in self.ensemble.members.values()
        }

    def _logged(self, member: Member, first_zxid: int) -> Iterator[Record]:
        """Also what kraal has put aside for a leader's tree: others may need it."""
        yield from log_records(member.data, first_zxid)
        for path in sorted(member.data.glob("replaced-log.*")):
            if path not in self._put_aside:
                records = list(file_records(path))
                self._put_aside[path] = max((record.zxid for record in records), default=0)
            if self._put_aside[path] >= first_zxid:
                yield from (r for r in file_records(path) if r.zxid >= first_zxid)

    def _compare(self, probes: Sequence[Probe]) -> None:
        """Every member shows the model's tree."""
        for _ in range(_ATTEMPTS):
            zxid = self._judge()
            dumps = {probe.client: state.dump(probe.client) for probe in probes}
            if self.ensemble.wait_in_step() == zxid:
                break  # else a session has expired meanwhile
        else:
            raise BrokenPromiseError("the ensemble does not come to rest")
        expected = {
            path: state.Entry(node.data, node.stat(), tuple(node.acl))  # type: ignore[arg-type]
            for path, node in self.judge.model.nodes.items()
            if path != _CONFIG
        }
        for member, found in zip(self.ensemble.members.values(), dumps.values(), strict=True):
            found.pop(_CONFIG)
            different = state.differences(expected, found)
            if different:
                raise BrokenPromiseError(f"at {member}, expected / found:\n" + "\n".join(different))

    def _check_digests(self, leader: Member) -> None:
        """Members know the right digests of what happens while there are no faults.

        A tree that came from a snapshot that was written while transactions were applied has
        other digests until all these have been applied again.
        """
        before = {member: _mismatches(member) for member in self.ensemble.members.values()}
        first = self.judge.model.zxid
        calm: list[Write | None] = [Write("setData", COUNTER, b"calm")] * (2 * _DIGEST_INTERVAL)
        self._later.merge(exchange(leader.client_port, [*calm, None]))
        self._judge()
        for member, count in before.items():
            last = self._mismatches.get(member.id, 0)
            # A process that was started meanwhile has counted from zero.
            self.figures.mismatches[member.kind] += count - last if count >= last else count
            self._mismatches[member.id] = _mismatches(member)
            if self._mismatches[member.id] != count:
                self._find(f"digest mismatches while all is calm at {member}")
            known = {zxid: d for zxid, d in member.digests().items() if zxid > first}
            if not known:
                self._find(f"no digest is known at {member}")
            for zxid, digest in known.items():
                if digest != self.judge.digests[zxid]:
                    self._find(f"digest {digest} of {zxid:x} at {member}, not "
                               f"{self.judge.digests[zxid]}")  # fmt: skip
        self.judge.digests.clear()

    def _find(self, text: str) -> None:
        """Something is wrong, and no reason to end the trial."""
        self.figures.findings.append(text)
        self.say(f"FOUND {text}")

    def _note_pauses(self, history: History) -> None:
        """The longest time without an answered write, for each fault since the last time."""
        if not self._marks:
            return
        answered = sorted(
            op.returned for op in history.ops if op.is_logged and op.reply is not None
        )
        answered = [moment for moment in answered if moment >= self._marks[0][0]]
        for before, after in pairwise(answered):
            what = [name for began, name in self._marks if began <= after][-1]
            longest = max(self.figures.pauses_s.get(what, 0.0), after - before)
            self.figures.pauses_s[what] = longest


def _mismatches(member: Member) -> int:
    """How often the process found another digest than the one that the leader sent."""
    return int(member.figures().get("zk_digest_mismatches_count", 0))
