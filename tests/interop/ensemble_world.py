"""A right ensemble made up step by step, for tests of what judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.interop.data_directory_files import Record
from tests.interop.ensemble_check import (
    CLOSE_SESSION,
    CREATE_SESSION,
    ERROR,
    SESSION_EXPIRED,
    SESSION_MOVED,
    Chronicle,
)
from tests.interop.ensemble_history import CLOSE, History, Op
from tests.interop.ensemble_logs import MULTI
from tests.interop.kill_model import EPHEMERAL, INCONSISTENT, SEQUENTIAL, Moment, Write
from tests.support import raw_client as raw
from tests.support.ensembles import KRAAL

REGISTER = "/register"
LOCK = "/lock"
TIME_MS = 1_700_000_000_000


@dataclass
class World:
    """A right ensemble of three, one step at a time, and what is noted of it."""

    model: Chronicle = field(default_factory=Chronicle)
    history: History = field(default_factory=History)
    records: list[Record] = field(default_factory=list)
    # Logs that hold more or less than `records`, by the name of their member.
    odd_logs: dict[str, list[Record]] = field(default_factory=dict)
    now: float = 0.0
    epoch: int = 1
    connections: dict[int, int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)
    watches: dict[int, set[str]] = field(default_factory=dict)
    _xid: int = 0

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def logs(self) -> dict[str, list[Record]]:
        return {"one": self.records, "two": list(self.records), **self.odd_logs}

    def new_epoch(self) -> None:
        self.epoch += 1

    def log(self, session: int, xid: int, kind: int, body: bytes = b"") -> Record:
        digest = None if kind == ERROR else self.model.digest
        record = Record(session, xid, self.model.zxid, TIME_MS, kind, body, digest, "log.1")
        self.records.append(record)
        return record

    def next_zxid(self) -> int:
        return max(self.model.zxid, self.epoch << 32) + 1

    # ---- Sessions ---------------------------------------------------------------------

    def open(self, session: int, *, held: bool = True) -> int:
        self.model.open_session(session, self.next_zxid())
        self.log(session, 0, CREATE_SESSION, raw.i32(10_000))
        self.connect(session)
        self.watches[session] = set()
        (self.history.held if held else self.history.abandoned).add(session)
        return session

    def connect(self, session: int) -> None:
        self.connections[session] = 1 + max(self.connections.values(), default=0)
        self.sent[session] = 0

    def close(self, session: int) -> Op:
        op = self.op(session, CLOSE, "")
        self.sent[session] += 1
        self.end(session, op.xid)
        self.history.held.discard(session)
        return self.answer(op, raw.Reply(CLOSE, op.xid, self.model.zxid, 0, None, b""))

    def end(self, session: int, xid: int = 0) -> None:
        """Close the session, or let it expire."""
        self.model.close_session(session, self.next_zxid())
        self.log(session, xid, CLOSE_SESSION)
        self.watches[session].clear()
        self.tell()

    # ---- Requests ---------------------------------------------------------------------

    def op(self, session: int, name: str, path: str, write: Write | None = None) -> Op:
        self._xid += 1
        op = Op(
            session, self.connections[session], self.sent[session], self._xid, name, path,
            self.tick(), write, member=2, kind=KRAAL,
        )  # fmt: skip
        self.history.ops.append(op)
        return op

    def answer(self, op: Op, reply: raw.Reply) -> Op:
        op.returned, op.reply = self.tick(), reply
        self.history.received.setdefault(op.session, []).append(op)
        return op

    def write(self, session: int, write: Write, *, answered: bool = True) -> Op:
        op = self.op(session, write.op, write.path, write)
        self.sent[session] += 1
        zxid = self.next_zxid()
        err, value = self.model.apply(write, Moment(session, zxid, TIME_MS))
        self.log(
            session, op.xid, ERROR if err else raw.OPCODES[write.op], raw.i32(err) if err else b""
        )
        self.tell()
        if answered:
            self.answer(op, raw.Reply(write.op, op.xid, zxid, err, value, b""))
        return op

    def read(self, session: int, name: str, path: str, *, watch: bool = False) -> Op:
        op = self.op(session, name, path)
        op.watch = watch
        node, zxid = self.model.nodes.get(path), self.model.zxid
        value: object = None
        if node is not None:
            value = (node.data, node.stat()) if name == "getData" else node.stat()
        if watch:
            self.watches[session].add(path)
        return self.answer(op, raw.Reply(name, op.xid, zxid, 0 if node else -101, value, b""))

    def sync(self, session: int) -> Op:
        op = self.op(session, "sync", REGISTER)
        return self.answer(op, raw.Reply("sync", op.xid, self.model.zxid, 0, REGISTER, b""))

    def tell(self) -> None:
        """Fire the watches that the last transaction concerns."""
        for session, paths in self.watches.items():
            for path in sorted(paths):
                change = self.model.next_change(path, self.model.zxid - 1)
                if change is not None and change.zxid == self.model.zxid:
                    paths.discard(path)
                    event = raw.Event(change.zxid, 0, change.event, 3, path)
                    self.history.received.setdefault(session, []).append(event)

    def refuse_late(self, session: int, code: int) -> Op:
        """A request that comes from a connection that its session has left, or when it ended."""
        op = self.op(session, "setData", REGISTER, Write("setData", REGISTER, b"late"))
        self.sent[session] += 1
        self.model.zxid = self.next_zxid()
        self.log(session, op.xid, ERROR, raw.i32(code))
        return op

    def multi(
        self,
        session: int,
        parts: Sequence[Write],
        code: int = 0,
        *,
        at: int = 0,
        marked: bool = False,
    ) -> Op:
        """A multi that is done, or refused at a part, and not answered.

        What is refused because the session moved or expired is nothing to the model. `marked`:
        the parts in front are logged as errors with the bodies that they had.
        """
        write = Write("multi", parts=tuple(parts))
        op = self.op(session, "multi", "/", write)
        self.sent[session] += 1
        if code in (SESSION_MOVED, SESSION_EXPIRED):
            self.model.zxid = self.next_zxid()
        else:
            self.model.apply(write, Moment(session, self.next_zxid(), TIME_MS))
        body = raw.i32(len(parts))
        for place, part in enumerate(parts):
            kind, done = raw.OPCODES[part.op], raw.ustring(part.path)
            if code and place >= at:
                kind, done = ERROR, raw.i32(code if place == at else INCONSISTENT)
            elif code and marked:
                kind = ERROR
            body += raw.i32(kind) + raw.buffer(done)
        self.log(session, op.xid, MULTI, body)
        self.tell()
        return op


def register(value: bytes, version: int = -1) -> Write:
    return Write("setData", REGISTER, value, version=version)


def right_world(seed: int = 1) -> World:
    """Three clients at work; one session is closed and one expires; two elections."""
    world, random = World(), Random(seed)
    sessions = [world.open(number << 56) for number in (1, 2, 3)]
    world.write(sessions[0], Write("create", REGISTER, b"first"))
    world.write(sessions[0], Write("create", "/queue"))
    abandoned = world.open(4 << 56, held=False)
    world.write(abandoned, Write("create", LOCK, b"", flags=EPHEMERAL))
    for turn in range(60):
        session = random.choice(sessions)
        world.read(session, "getData", REGISTER, watch=random.random() < 0.3)
        version = world.model.nodes[REGISTER].version
        world.write(session, register(b"%d" % turn, version - random.choice((0, 0, 1))))
        world.write(session, Write("create2", "/queue/n", flags=SEQUENTIAL))
        world.write(session, Write("create", LOCK, flags=EPHEMERAL), answered=random.random() < 0.9)
        world.read(session, "exists", LOCK, watch=random.random() < 0.5)
        if random.random() < 0.3:
            world.write(session, Write("delete", LOCK))
        if random.random() < 0.3:
            world.sync(random.choice(sessions))
        if turn in (20, 40):
            world.new_epoch()
        if turn == 30:
            world.end(abandoned)
            world.refuse_late(abandoned, SESSION_EXPIRED)
        if turn == 50:
            world.close(sessions.pop())
        if random.random() < 0.1:
            world.connect(session)
    world.write(sessions[0], register(b"last"))
    return world
