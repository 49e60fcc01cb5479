"""Judges an ensemble: by the logs of its members, and by all that its clients were told.

The logs say which requests became transactions, and in which order. They are applied to a model
in that order. Every reply must be the model's; every write that was answered must be there; the
order of the zxids must be an order in which the writes can have happened, given when each was
sent and answered; every read must show the tree as it was at its zxid; no session goes back; a
read behind a sync is not older than what was answered before the sync was sent; watches fire
once, for the first change, and before the client sees anything of the time behind it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate

from tests.interop import ensemble_logs as logs_
from tests.interop.data_directory_files import Record
from tests.interop.ensemble_history import CLOSE, READS, SET_WATCHES, History, Op
from tests.interop.kill_check import BrokenPromiseError
from tests.interop.kill_model import NO_NODE, SEQUENTIAL, Model, Moment, Node
from tests.support import raw_client as raw
from tests.support.ensembles import KRAAL

CREATE_SESSION, CLOSE_SESSION = raw.OPCODES["createSession"], raw.OPCODES[CLOSE]
ERROR = raw.OPCODES["error"]
SESSION_EXPIRED, SESSION_MOVED = -112, -118
CREATED, DELETED, DATA_CHANGED = 1, 2, 3
# Events that setWatches causes, and all those of servers before 3.9, do not say for which change.
_NO_ZXID = -1
_LATE = 1 << 62


@dataclass(slots=True)
class Change:
    """What a watch of a znode's data is told about."""

    zxid: int
    event: int


@dataclass
class Chronicle(Model):
    """A model that still knows how every znode was since the last settlement."""

    changes: dict[str, list[tuple[int, Node | None]]] = field(default_factory=dict)

    def at(self, path: str, zxid: int) -> Node | None:
        """The znode as it was behind that transaction."""
        states = self.changes.get(path)
        if states is None:
            return self.nodes.get(path)
        return states[bisect_right(states, zxid, key=lambda state: state[0]) - 1][1]

    def next_change(self, path: str, zxid: int) -> Change | None:
        """The first change behind that transaction of which a watch is told."""
        states = self.changes.get(path, [])
        first = bisect_right(states, zxid, key=lambda state: state[0])
        for (_, before), (changed, now) in zip(
            states[max(0, first - 1) :], states[max(1, first) :], strict=False
        ):
            if now is None and before is not None:
                return Change(changed, DELETED)
            if now is not None and before is None:
                return Change(changed, CREATED)
            if now is not None and before is not None and now.mzxid != before.mzxid:
                return Change(changed, DATA_CHANGED)
        return None

    def forget(self) -> None:
        """Only the present counts from now on."""
        self.changes.clear()

    def _put(self, path: str, node: Node | None) -> None:
        states = self.changes.setdefault(path, [(-_LATE, self.nodes.get(path))])
        super()._put(path, node)
        if states[-1][0] == self.zxid:
            states[-1] = (self.zxid, node)
        else:
            states.append((self.zxid, node))


@dataclass(slots=True)
class Watch:
    """A watch as its client knows it: the zxid at which it was set, the change if one came."""

    zxid: int
    # Whether there was no such znode.
    absent: bool = False
    change: Change | None = None


@dataclass
class Session:
    """What a session has seen."""

    last_zxid: int = 0
    watches: dict[str, Watch] = field(default_factory=dict)


@dataclass
class Judge:
    """What the ensemble has promised so far."""

    model: Chronicle = field(default_factory=Chronicle)
    counted: Counter[str] = field(default_factory=Counter)
    # Sessions whose clients are alive may not expire; those that were abandoned must; of some
    # nobody knows whether they were closed.
    living: set[int] = field(default_factory=set)
    abandoned: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    # The tree digest behind every transaction since the settlement before the last one.
    digests: dict[int, int] = field(default_factory=dict)
    # Who led which epoch, as far as it was seen.
    leaders: dict[int, int] = field(default_factory=dict)
    _sessions: dict[int, Session] = field(default_factory=dict)
    # Unanswered requests that may still be under way.
    _doubtful: dict[tuple[int, int], Op] = field(default_factory=dict)
    # The number of the last request of each connection that has become a transaction, and the
    # last connection of each session that has made one.
    _numbers: dict[int, int] = field(default_factory=dict)
    _connections: dict[int, int] = field(default_factory=dict)

    @property
    def strays(self) -> set[int]:
        """Sessions that nobody holds, mostly because their clients never saw the handshake."""
        return self.model.sessions - self.living - self.abandoned

    def settle(self, history: History, logs: Mapping[str, Sequence[Record]]) -> None:
        """Judge what happened since the last settlement; raises BrokenPromiseError.

        `logs` are the records of each member from the last settlement up to a zxid that all
        members have applied.
        """
        if history.problems:
            raise BrokenPromiseError("; ".join(history.problems))
        sessions = {op.session for op in history.ops} | history.held
        self.abandoned |= history.abandoned
        self.doubtful |= history.doubtful
        self.living = (self.living | sessions) - self.abandoned - self.doubtful
        sent = {(op.session, op.xid): op for op in history.ops if op.is_logged} | self._doubtful

        def fits(records: Sequence[Record], following: Sequence[Record]) -> bool:
            return self._fits(records, following, sent)

        logged = [
            (sent.pop(key), record.zxid)
            for record in logs_.history(logs, self.model.zxid, fits)
            if (key := self._take(record, sent)) is not None
        ]
        self._check_unlogged(sent)
        check_real_time(logged)
        self._check_syncs(history.ops, logged)
        for op in history.ops:
            self._check_read(op)
        for session, entries in history.received.items():
            self._check_session(session, entries)
        self._check_refused(history)
        self._settle_watches()
        self.counted["unanswered connects"] += history.unanswered_connects
        self.counted["reconnects"] += history.reconnects

    # ---- The logs ---------------------------------------------------------------------

    def _fits(
        self,
        records: Sequence[Record],
        following: Sequence[Record],
        sent: Mapping[tuple[int, int], Op],
    ) -> bool:
        """Whether the next digest behind these records is the one of the tree they make."""
        trial = Judge(copy(self.model), living=set(self.living))
        trial.model.nodes = dict(self.model.nodes)
        trial.model.sessions = set(self.model.sessions)
        trial.model.ephemerals = {owner: set(own) for owner, own in self.model.ephemerals.items()}
        trial.model.changes = {}
        trial._numbers, trial._connections = dict(self._numbers), dict(self._connections)
        try:
            for record in records:
                trial._take(record, sent)
            for record in following:
                trial._take(record, sent)
                if record.digest is not None:
                    return True
        except BrokenPromiseError:
            return False
        return True

    def _take(self, record: Record, sent: Mapping[tuple[int, int], Op]) -> tuple[int, int] | None:
        """One transaction; returns the key of the request that it was made of, if any."""
        model = self.model
        key = None
        self.counted["transactions"] += 1
        if record.type == CREATE_SESSION:
            model.open_session(record.session, record.zxid)
        elif record.type == CLOSE_SESSION and record.cxid == 0:
            if record.session in self.living:
                raise BrokenPromiseError(f"session {record.session:x} of a living client expired")
            self.counted["expired sessions"] += 1
            model.close_session(record.session, record.zxid)
        else:
            key = (record.session, record.cxid)
            op = sent.get(key)
            if op is None:
                raise BrokenPromiseError(f"nobody has asked for {record}")
            self._take_request(record, op)
        self.digests[record.zxid] = model.digest
        if record.digest is not None and record.digest != model.digest:
            raise BrokenPromiseError(
                f"{record.file}: the digest at {record.zxid:x} is {record.digest}, the tree's is "
                f"{model.digest}, behind {record!r:.500}, of {sent.get(key) if key else None}"
            )
        return key

    def _take_request(self, record: Record, op: Op) -> None:
        refused = logs_.refusal(record)
        if refused is not None and refused.error in (SESSION_MOVED, SESSION_EXPIRED):
            self._check_order(record, op, late=True)
            if refused.error == SESSION_EXPIRED and record.session in self.model.sessions:
                raise BrokenPromiseError(f"{record.zxid:x}: {op} was refused while it lives")
            self.model.zxid = record.zxid
            self.counted["unacknowledged, refused as moved or expired"] += 1
            self.counted["moved or expired in the middle of a multi"] += refused.part > 0
            if op.reply is not None:
                raise BrokenPromiseError(f"{record.zxid:x}: {refused} and yet answered: {op}")
            return
        if record.session not in self.model.sessions:
            raise BrokenPromiseError(f"{record.zxid:x}: session is closed and yet was done: {op}")
        if op.write is None:
            self._check_order(record, op)
            self.model.close_session(record.session, record.zxid)
            self.living.discard(record.session)
            err, value, kind = 0, None, CLOSE_SESSION
        else:
            self._check_order(record, op)
            moment = Moment(record.session, record.zxid, record.time)
            err, value = self.model.apply(op.write, moment)
            kind = ERROR if err else raw.OPCODES[op.write.op]
            self._count(op, err, value)
        expected = _refusal(err, value)
        if (record.type, refused) != (kind, expected):
            raise BrokenPromiseError(
                f"{record.file}: {op} has become {record!r:.500}, refused: {refused}; expected was "
                f"type {kind}, refused: {expected}"
            )
        if op.reply is None:
            self.counted["unacknowledged, there"] += 1
            return
        self.counted["acknowledged"] += 1
        self.counted["acknowledged refusals"] += err != 0
        if (op.reply.zxid, op.reply.err, op.reply.value) != (record.zxid, err, value):
            raise BrokenPromiseError(
                f"wrong reply, expected were zxid {record.zxid:x}, error {err} and "
                f"{value!r:.500}: {op}"
            )

    def _check_order(self, record: Record, op: Op, *, late: bool = False) -> None:
        """Requests of a connection become transactions in order, connections one by one."""
        if op.number != self._numbers.get(op.connection, -1) + 1:
            raise BrokenPromiseError(f"{record.zxid:x}: has overtaken others: {op}")
        self._numbers[op.connection] = op.number
        if late:
            return
        if op.connection < self._connections.get(op.session, 0):
            raise BrokenPromiseError(f"{record.zxid:x}: a later connection came first: {op}")
        self._connections[op.session] = op.connection

    def _count(self, op: Op, err: int, value: object) -> None:
        assert op.write is not None
        if isinstance(value, list):
            self.counted["refused multis" if _refusal(err, value) else "multis"] += 1
        elif err:
            self.counted["refused"] += 1
        elif op.write.op.startswith("create"):
            self.counted["sequential creates"] += bool(op.write.flags & SEQUENTIAL)
            self.counted["ephemeral creates"] += op.write.flags in (1, 3)

    def _check_unlogged(self, left: Mapping[tuple[int, int], Op]) -> None:
        """What is not in the logs may not have been answered."""
        for op in left.values():
            if op.reply is not None:
                raise BrokenPromiseError(f"LOST, the logs end at {self.model.zxid:x}: {op}")
        self.counted["unacknowledged, not there"] += len(left.keys() - self._doubtful.keys())
        self._doubtful = dict(left)

    # ---- The clients ------------------------------------------------------------------

    def _check_syncs(self, ops: Iterable[Op], logged: Sequence[tuple[Op, int]]) -> None:
        """A sync brings all that was answered, to anybody, before it was sent."""
        answered = sorted((op.returned, zxid) for op, zxid in logged if op.reply is not None)
        times = [time for time, _ in answered]
        highest = list(accumulate((zxid for _, zxid in answered), max))
        for op in ops:
            if op.name != "sync" or op.reply is None:
                continue
            before = bisect_left(times, op.invoked)
            floor = highest[before - 1] if before else 0
            self.counted["syncs"] += 1
            if op.reply.zxid >= floor:
                continue
            epoch = logs_.epoch_of(op.reply.zxid)
            if epoch < logs_.epoch_of(floor):
                # A leader that does not know yet that another one was elected answers, too.
                self.counted["stale syncs of a deposed leader"] += 1
                continue
            if op.kind != KRAAL and self.leaders.get(epoch, op.member) == op.member:
                # Apache ZooKeeper's leader answers its own clients' syncs at once, though a
                # follower may have applied, and answered, what the leader is about to apply.
                self.counted["hasty syncs of Apache's leader"] += 1
                continue
            raise BrokenPromiseError(f"a sync missed {floor:x}: {op}")

    def _check_read(self, op: Op) -> None:
        """A read shows the tree exactly as it was at the zxid of its reply."""
        if op.name not in READS or op.reply is None:
            return
        self.counted["reads"] += 1
        reply, node = op.reply, self.model.at(op.path, op.reply.zxid)
        if reply.zxid > self.model.zxid and reply.zxid & logs_.COUNTER_MASK:
            raise BrokenPromiseError(f"the logs end at {self.model.zxid:x}, a read says: {op}")
        expected: object = None
        if node is not None:
            expected = (node.data, node.stat()) if op.name == "getData" else node.stat()
        if (reply.err, reply.value) != (NO_NODE if node is None else 0, expected):
            raise BrokenPromiseError(f"wrong read, expected was {expected!r:.500}: {op}")

    def _check_session(self, number: int, entries: Iterable[Op | raw.Event]) -> None:
        """What a session received, in its order."""
        session = self._sessions.setdefault(number, Session())
        for entry in entries:
            if isinstance(entry, raw.Event):
                self._check_event(number, session, entry)
                continue
            reply = entry.reply
            assert reply is not None
            if reply.zxid < session.last_zxid:
                raise BrokenPromiseError(f"went back from {session.last_zxid:x}: {entry}")
            session.last_zxid = reply.zxid
            if entry.name == CLOSE:
                # Perhaps on a connection for which nobody has restored the watches.
                session.watches.clear()
            self._check_watches(session, entry, reply.zxid)
            if entry.watch:
                session.watches.setdefault(entry.path, Watch(reply.zxid, reply.err != 0))

    def _check_watches(self, session: Session, op: Op, zxid: int) -> None:
        """Nothing may be seen of the time behind a change before its event."""
        for path, watch in session.watches.items():
            change = self._change(path, watch)
            if change is not None and change.zxid <= zxid:
                # Who was away is not told of a znode that was made and deleted meanwhile.
                if op.name == SET_WATCHES and watch.absent and self.model.at(path, zxid) is None:
                    continue
                raise BrokenPromiseError(f"no event for {path} at {change.zxid:x} before: {op}")
        if op.name == SET_WATCHES:
            for watch in session.watches.values():
                watch.zxid, watch.change = max(zxid, watch.zxid), None

    def _check_event(self, number: int, session: Session, event: raw.Event) -> None:
        self.counted["events"] += 1
        watch = session.watches.pop(event.path or "", None)
        change = self._change(event.path or "", watch) if watch is not None else None
        if change is None:
            raise BrokenPromiseError(f"session {number:x}: nothing happened for {event}")
        if event.zxid != _NO_ZXID and (event.zxid, event.type) != (change.zxid, change.event):
            raise BrokenPromiseError(f"session {number:x}: {event}, expected was {change}")

    def _change(self, path: str, watch: Watch) -> Change | None:
        return watch.change or self.model.next_change(path, watch.zxid)

    def _settle_watches(self) -> None:
        """Keep of the past what watches may still be told about."""
        for session in self._sessions.values():
            for path, watch in session.watches.items():
                watch.change = self._change(path, watch)
                if watch.change is None:
                    watch.zxid = max(watch.zxid, self.model.zxid)
        self.model.forget()

    def _check_refused(self, history: History) -> None:
        """Only sessions that have ended are unknown; those of clients are known."""
        for expired in history.expired:
            if expired.session in self.model.sessions:
                raise BrokenPromiseError(
                    f"member {expired.member} did not know session {expired.session:x}, which lives"
                )
        lost = history.held - self.model.sessions
        if lost:
            raise BrokenPromiseError(
                f"LOST: sessions {', '.join(f'{session:x}' for session in lost)}"
            )


def _refusal(err: int, value: object) -> logs_.Refusal | None:
    """What the model refuses of a request, by error and value of the reply."""
    if isinstance(value, list):
        for part, result in enumerate(value):
            if result.err and not result.done:
                return logs_.Refusal(part, result.err)
    return logs_.Refusal(0, err) if err else None


def check_real_time(logged: Iterable[tuple[Op, int]]) -> None:
    """A write that was sent after another one was answered has the higher zxid."""
    by_begin = sorted(logged, key=lambda entry: entry[0].invoked)
    by_end = sorted(
        (entry for entry in by_begin if entry[0].reply is not None),
        key=lambda entry: entry[0].returned,
    )
    highest, last, place = 0, None, 0
    for op, zxid in by_begin:
        while place < len(by_end) and by_end[place][0].returned < op.invoked:
            if by_end[place][1] > highest:
                last, highest = by_end[place]
            place += 1
        if zxid <= highest:
            raise BrokenPromiseError(
                f"was sent when {highest:x} had been answered, and is {zxid:x}: {op}; {last}"
            )
