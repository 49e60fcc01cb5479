"""Load for an ensemble: clients that move between its members and note all they do and see.

A client keeps its session over the deaths of members: it reconnects to any of them, restores its
watches, and goes on. Each does what the load of the kill runner does, and besides changes
registers by their versions, contends for a lock, reads, syncs and watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.interop.ensemble_history import (
    CLOSE,
    SET_WATCHES,
    Expired,
    History,
    Op,
    connections,
    xids,
)
from tests.interop.kill_load import ABANDONED, COUNTER, LOCKED, READ_ONLY, ROOT, SHARED, STATIC
from tests.interop.kill_load import Maker as KillMaker
from tests.interop.kill_model import EPHEMERAL, Write
from tests.support import raw_client as raw
from tests.support.ensembles import Member

REGISTERS = tuple(f"{ROOT}/register{number}" for number in range(6))
LOCK = f"{ROOT}/lock"
SESSION_TIMEOUT_MS = 40_000
ABANDONED_TIMEOUT_MS = 2_000
STATIC_NODES = 100

_BATCH_MAX = 8
_PAUSE_MAX_S = 0.02
_RETRY_PAUSE_S = 0.05
_PATIENCE_S = (1.0, 2.5, 5.0)
_IDLE_S = 0.5
_JOIN_S = 30.0
# What ends a connection, as a client sees it.
_BROKEN = (raw.ClosedError, OSError)


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the clients work."""

    clients: int = 6
    pause_max_s: float = _PAUSE_MAX_S
    batch_max: int = _BATCH_MAX


class Client(threading.Thread):
    """One client with one session at a time."""

    def __init__(self, number: int, seed: int, members: Sequence[Member], pace: Pace) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self.session = 0
        self.history = History()
        self.is_idle = threading.Event()
        self.may_work = threading.Event()
        self.stopping = threading.Event()
        self._noting = threading.Lock()
        self._number = number
        self._members = members
        self._asked = members[0]
        self._pace = pace
        self._random = Random(f"{seed} client {number}")
        self._maker = KillMaker(number, seed, STATIC_NODES, takes_rights=False)
        self._connection: raw.RawClient | None = None
        self._connection_number = 0
        self._sent = 0
        self._last_zxid = 0
        self._waiting: dict[int, Op] = {}
        # Paths under watch: of znodes that were there, of znodes that were not.
        self._watched: set[str] = set()
        self._awaited: set[str] = set()
        # Versions of registers as last seen.
        self._versions: dict[str, int] = {}
        self._holds_lock = False
        self._made = 0

    def run(self) -> None:
        """Work while it may; note whatever ends the thread otherwise."""
        while not self.stopping.is_set():
            try:
                with self._noting:
                    self._turn()
                if self.may_work.is_set():
                    self.stopping.wait(self._random.uniform(0, self._pace.pause_max_s))
                else:
                    self.may_work.wait(_IDLE_S)
            except _BROKEN:
                self._drop()
                self.stopping.wait(_RETRY_PAUSE_S)
            except Exception as error:  # must be heard of
                self.history.problems.append(f"{self.name}: {error!r}")
                break
        self._drop()
        self.is_idle.set()

    def take(self) -> History:
        """What was noted since the last time; while the client is idle."""
        with self._noting:
            taken, self.history = self.history, History()
        if self.session:
            taken.held.add(self.session)
        return taken

    def _turn(self) -> None:
        if self._connection is None:
            self._connect()
        elif self.may_work.is_set():
            self.is_idle.clear()
            self._step()
        else:
            self._rest()

    # ---- Connections ------------------------------------------------------------------

    def _connect(self) -> None:
        """Try one member; take up the session, or make one."""
        session = self.session
        self._connection = self._open(session, SESSION_TIMEOUT_MS)
        shown = self._connection.handshake
        assert shown is not None
        if shown.session != session:
            if session:
                self.history.expired.append(Expired(session, self._asked.id, time.monotonic()))
            self._forget_session()
            self.session = shown.session
            if not shown.session:
                self._drop()
            return
        self.history.reconnects += 1
        if self._watched or self._awaited:
            paths = (tuple(self._watched), tuple(self._awaited), ())
            body = raw.set_watches_body(self._last_zxid, *paths)
            self._send([self._encode(SET_WATCHES, "", body, xid=raw.SET_WATCHES_XID)])
            self._receive()

    def _open(self, session: int, timeout_ms: int) -> raw.RawClient:
        member = self._asked = self._random.choice(self._members)
        client = raw.RawClient(member.client_port, timeout=self._random.choice(_PATIENCE_S))
        self._connection_number, self._sent = next(connections), 0
        password = raw.session_password(session) if session else bytes(16)
        zxid = self._last_zxid if session else 0
        request = raw.connect_request(session, password, timeout=timeout_ms, last_zxid=zxid)
        self.history.unanswered_connects += not session
        try:
            client.connect(request)
        except _BROKEN:
            client.close()
            raise
        self.history.unanswered_connects -= not session
        return client

    def _drop(self) -> None:
        """End the connection, not the session; what was not answered stays in doubt."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._waiting.clear()

    def _forget_session(self) -> None:
        self.session = self._last_zxid = 0
        self._watched.clear()
        self._awaited.clear()
        self._holds_lock = False

    # ---- Requests ---------------------------------------------------------------------

    def _encode(
        self,
        name: str,
        path: str,
        body: bytes,
        *,
        write: Write | None = None,
        watch: bool = False,
        xid: int | None = None,
    ) -> bytes:
        """A request, noted, for the caller to send."""
        assert self._connection is not None
        xid = next(xids) if xid is None else xid
        op = Op(
            self.session, self._connection_number, self._sent, xid, name, path,
            time.monotonic(), write, watch, self._asked.id, self._asked.kind,
        )  # fmt: skip
        self._sent += op.is_logged
        self.history.ops.append(op)
        self._waiting[xid] = op
        return self._connection.encode(name, body, xid)

    def _write(self, write: Write) -> bytes:
        return self._encode(write.op, write.path, write.body(), write=write)

    def _read(self, name: str, path: str, *, watch: bool = False) -> bytes:
        return self._encode(name, path, raw.path_and_watch(path, watch), watch=watch)

    def _send(self, requests: Sequence[bytes]) -> None:
        assert self._connection is not None
        self._connection.send_bytes(b"".join(requests))

    def _receive(self, left: int = 0) -> list[Op]:
        """Read until only `left` requests are unanswered; returns what was answered."""
        assert self._connection is not None
        answered = []
        received = self.history.received.setdefault(self.session, [])
        try:
            while self._connection.outstanding > left:
                frame = self._connection.receive()
                if isinstance(frame, raw.Event):
                    received.append(frame)
                    self._watched.discard(frame.path or "")
                    self._awaited.discard(frame.path or "")
                elif isinstance(frame, raw.Reply) and frame.op != "ping":
                    op = self._waiting.pop(frame.xid)
                    op.returned, op.reply = time.monotonic(), frame
                    received.append(op)
                    answered.append(op)
                    self._learn(op, frame)
        finally:
            # What came before the connection was lost counts, too.
            self._last_zxid = max(self._last_zxid, self._connection.last_zxid)
        return answered

    def _learn(self, op: Op, reply: raw.Reply) -> None:
        if op.write is not None and not reply.err:
            self._maker.learn(op.write, reply.value)
        if op.watch:
            (self._awaited if reply.err else self._watched).add(op.path)
        stat = reply.value[1] if isinstance(reply.value, tuple) else reply.value
        if isinstance(stat, raw.Stat):
            self._versions[op.path] = stat.version

    # ---- What a client does -----------------------------------------------------------

    def _step(self) -> None:
        chance = self._random.random()
        if chance < 0.5:
            requests = [
                self._write(self._maker.make())
                for _ in range(self._random.randint(1, self._pace.batch_max))
            ]
            if self._random.random() < 0.3:
                requests.append(self._read("getData", COUNTER))
            self._send(requests)
            self._receive(self._random.randrange(self._pace.batch_max))
        elif chance < 0.7:
            self._change_register()
        elif chance < 0.8:
            self._sync_and_read()
        elif chance < 0.9:
            self._watch()
        elif chance < 0.97:
            self._contend()
        elif chance < 0.985:
            self._move()
        elif chance < 0.99:
            self._change_session()
        else:
            self._abandon_session()

    def _change_register(self) -> None:
        """Read a register and change it, if nobody else did; sometimes what was read is old."""
        path = self._random.choice(REGISTERS)
        if path not in self._versions or self._random.random() < 0.8:
            self._send([self._read("getData", path)])
            self._receive()
        self._made += 1
        value = f"{self._number} {self._made}".encode()
        version = self._versions.get(path, -1)
        writes = [Write("setData", path, value, version=version)]
        if self._random.random() < 0.2:
            # The second is right only when the first was.
            writes.append(Write("setData", path, value + b" again", version=version + 1))
        if self._random.random() < 0.2:
            other = self._random.choice(REGISTERS)
            check = Write("check", path, version=version + len(writes))
            writes.append(Write("multi", parts=(check, Write("setData", other, value))))
        self._send([self._write(write) for write in writes])
        self._receive()

    def _sync_and_read(self) -> None:
        path = self._random.choice(REGISTERS)
        self._send([
            self._encode("sync", path, raw.ustring(path)),
            self._read("getData", path),
            self._read("exists", SHARED),
        ])  # fmt: skip
        self._receive()

    def _watch(self) -> None:
        path = self._random.choice((*REGISTERS, COUNTER, LOCK))
        name = "exists" if path == LOCK else self._random.choice(("exists", "getData"))
        self._send([self._read(name, path, watch=True)])
        self._receive()

    def _contend(self) -> None:
        """Take the lock, or give it back."""
        if self._holds_lock:
            self._send([self._write(Write("delete", LOCK))])
            self._receive()
            self._holds_lock = False
            return
        value = f"{self._number} {self.session:x}".encode()
        self._send([self._write(Write("create", LOCK, value, flags=EPHEMERAL))])
        answered = self._receive()
        reply = answered[-1].reply
        assert reply is not None
        self._holds_lock = reply.err == 0
        if not self._holds_lock:
            self._send([self._read("exists", LOCK, watch=True)])
            self._receive()

    def _move(self) -> None:
        """Drop the connection, perhaps with requests under way, and come back elsewhere."""
        if self._random.random() < 0.5:
            self._send([self._write(self._maker.make()) for _ in range(3)])
        self._drop()

    def _change_session(self) -> None:
        """Close the session and open another."""
        self._receive()
        session = self.session
        self._send([self._encode(CLOSE, "", b"")])
        try:
            self._receive()
        except _BROKEN:
            self.history.doubtful.add(session)
            raise
        finally:
            self._drop()
            self._forget_session()

    def _abandon_session(self) -> None:
        """A session that makes ephemerals, then nobody hears of it again."""
        self._receive()
        own = (self.session, self._last_zxid, self._connection, self._asked)
        number, sent = self._connection_number, self._sent
        self.session = self._last_zxid = 0
        self._connection = None
        try:
            self._connection = self._open(0, ABANDONED_TIMEOUT_MS)
            assert self._connection.handshake is not None
            self.session = self._connection.handshake.session
            self.history.abandoned.add(self.session)
            self._send([self._write(self._maker.ephemeral(ABANDONED)) for _ in range(3)])
            if self._random.random() < 0.5:
                self._receive()
        except _BROKEN:
            pass
        finally:
            self._drop()
            self.session, self._last_zxid, self._connection, self._asked = own
            self._connection_number, self._sent = number, sent

    def _rest(self) -> None:
        """Take all replies and keep the session alive; `run` waits a little behind it."""
        self._receive()
        assert self._connection is not None
        self._connection.send("ping")
        self._receive()
        self.is_idle.set()


class Load:
    """All the clients."""

    def __init__(self, members: Sequence[Member], seed: int, pace: Pace) -> None:
        self._members = members
        self._clients = [Client(n, seed, members, pace) for n in range(pace.clients)]

    def furnish(self) -> History:
        """Create the places that the load is about; once, while all members serve."""
        writers = len(self._clients)
        homes = (f"{ROOT}/w{number}" for number in range(writers))
        paths = (ROOT, SHARED, COUNTER, STATIC, ABANDONED, *homes, *REGISTERS)
        writes = [Write("create", path) for path in paths]
        writes.append(Write("create", LOCKED, acl=READ_ONLY))
        writes += [Write("create", f"{STATIC}/{n}", b"static") for n in range(STATIC_NODES)]
        return exchange(self._members[0].client_port, [*writes, None])

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def resume(self) -> None:
        for client in self._clients:
            client.may_work.set()

    def pause(self, timeout_s: float = _JOIN_S) -> None:
        """Stop sending and wait until every client is connected, answered and idle."""
        for client in self._clients:
            client.may_work.clear()
            client.is_idle.clear()
        deadline = time.monotonic() + timeout_s
        for client in self._clients:
            if not client.is_idle.wait(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"{client.name} is not idle after {timeout_s} s")

    def take(self) -> History:
        """What all clients noted since the last time; while they are paused."""
        taken = History()
        for client in self._clients:
            taken.merge(client.take())
        return taken

    def close(self) -> None:
        for client in self._clients:
            client.stopping.set()
            client.may_work.set()
        for client in self._clients:
            if client.is_alive():
                client.join(_JOIN_S)


def exchange(port: int, writes: Sequence[Write | None], session: int = 0) -> History:
    """One connection, all requests at once, all replies; None closes the session."""
    history = History()
    password = raw.session_password(session) if session else bytes(16)
    with raw.RawClient(port, timeout=_JOIN_S) as client:
        shown = client.connect(raw.connect_request(session, password, timeout=SESSION_TIMEOUT_MS))
        if not shown.session:
            return history
        received: list[Op | raw.Event] = []
        history.received[shown.session] = received
        number = next(connections)
        requests = []
        for place, write in enumerate(writes):
            name, body = (write.op, write.body()) if write is not None else (CLOSE, b"")
            path = write.path if write is not None else ""
            op = Op(
                shown.session, number, place, next(xids), name, path, time.monotonic(), write
            )  # fmt: skip
            history.ops.append(op)
            requests.append(client.encode(name, body, op.xid))
        client.send_bytes(b"".join(requests))
        by_xid = {op.xid: op for op in history.ops}
        with suppress(raw.ClosedError):
            while client.outstanding:
                reply = client.receive()
                assert isinstance(reply, raw.Reply), reply
                op = by_xid[reply.xid]
                op.returned, op.reply = time.monotonic(), reply
                received.append(op)
    return history
