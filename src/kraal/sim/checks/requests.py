"""Writes: each happens once, as it was asked for, in its client's order, and stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.errors import ErrorCode
from kraal.model.zxid import show
from kraal.sim.checks.history import History
from kraal.sim.checks.outcome import difference, refuses_session
from kraal.sim.checks.watcher import Watcher
from kraal.sim.client import UNJUDGED, WRITES
from kraal.sim.protocol import STAT_BYTES, read_buffer, read_results
from kraal.sim.violation import violated
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateContainerTxn, CreateTxn, ErrorTxn, MultiTxn, Txn

if TYPE_CHECKING:
    from kraal.sim.client import Connection, Request, SimClient
    from kraal.sim.protocol import Reply

Key = tuple[int, int]


class RequestCheck(Watcher):
    """Requests, their transactions and their replies belong together."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.knows_all = True
        """Whether every client tells what it asks for; applications do not."""
        self._asked: dict[Key, Request] = {}
        """Writes by session and xid."""
        self._done: dict[Key, int] = {}
        """Their zxids, of those that are committed."""
        self._connections: dict[int, list[Connection]] = {}
        """By session, in the order of time."""
        history.before.append(self._committing)

    # Before a transaction is applied

    def _committing(self, txn: Txn) -> None:
        if txn.cxid <= 0:
            return
        key = txn.client_id, txn.cxid
        if key in self._done:
            violated(
                "a request happens once", "0x%x #%d is %s and %s",
                *key, show(self._done[key]), show(txn.zxid),
            )  # fmt: skip
        self._done[key] = txn.zxid
        request = self._asked.get(key)
        if request is None:
            if not self.knows_all:
                return
            violated("a request happens once", "0x%x #%d was never asked for", *key)
        if txn.zxid <= request.tip:
            violated(
                "writes are in the order of time", "%s is %s, but %s was committed when it left",
                request, show(txn.zxid), show(request.tip),
            )  # fmt: skip
        if request.op not in UNJUDGED:
            found = difference(self._history.tree, request, txn)
            if found is not None:
                violated("valid transactions", "%s at %s: %s", request, show(txn.zxid), found)

    # Clients

    def established(self, client: SimClient, connection: Connection) -> None:
        self._connections.setdefault(client.session.id, []).append(connection)

    def sent(self, client: SimClient, connection: Connection, request: Request) -> None:
        history = self._history
        if request.op != OpCode.SET_WATCHES2:
            request.tip = history.tip
        if request.op in WRITES or request.op in UNJUDGED:
            self._asked[client.session.id, request.xid] = request
            connection.writes.append(request.xid)

    def replied(
        self, client: SimClient, connection: Connection, request: Request, reply: Reply
    ) -> None:
        if request.op not in WRITES:
            return
        if connection.is_read_only:
            if reply.err != ErrorCode.NOT_READ_ONLY:
                violated("nobody writes without a leader", "%s is answered %s", request, reply)
            return
        zxid = self._done.get((client.session.id, request.xid))
        if zxid != reply.zxid:
            violated(
                "no acknowledged write is lost", "%s has a reply of %s, but its transaction is %s",
                request, show(reply.zxid), show(zxid or 0),
            )  # fmt: skip
        txn = self._history.txns[reply.zxid]
        found = self._compare(request, reply, txn)
        if found is not None:
            violated("replies tell what happened", "%s at %s: %s", request, show(zxid), found)

    def _compare(self, request: Request, reply: Reply, txn: Txn) -> str | None:
        body = txn.body
        if reply.err == ErrorCode.SESSION_MOVED:
            return "it tells of a session that has moved; the connection should be closed"
        if isinstance(body, ErrorTxn):
            return None if reply.err == body.code else f"error {reply.err}, not {body.code}"
        if reply.err:
            return f"error {reply.err}, but it was done"
        if isinstance(body, MultiTxn):
            return _compare_multi(body, reply.body)
        path, at = None, 0
        if isinstance(body, CreateTxn | CreateContainerTxn):
            path, at = read_buffer(reply.body)
            if path != body.path:
                return f"the path {path!r} instead of {body.path!r}"
        if request.op in (OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.SET_DATA):
            version = self._history.at(txn.zxid, path or request.path)
            stat = reply.body[at:]
            return None if version and version.stat == stat else "another stat"
        return "something behind the reply" if reply.body[at:] else None

    # At the end

    def finish(self) -> None:
        """Each client's writes happened in their order, without holes."""
        for session_id, connections in self._connections.items():
            last = 0
            for connection in connections:
                last = self._check_order(session_id, connection, last)

    def _check_order(self, session_id: int, connection: Connection, last: int) -> int:
        """The last zxid of this connection's writes that were done."""
        promise = "a client's writes keep their order"
        missing: int | None = None
        refused: int | None = None
        at = 0
        for xid in connection.writes:
            zxid = self._done.get((session_id, xid))
            if zxid is None:
                missing = missing or xid
                continue
            if missing is not None:
                violated(promise, "0x%x #%d happened without #%d", session_id, xid, missing)
            if zxid < at:
                violated(promise, "0x%x #%d happened before an earlier one", session_id, xid)
            at = zxid
            if refuses_session(self._history.txns[zxid].body):
                refused = refused or xid
                continue
            if refused is not None and self._asked[session_id, xid].op != OpCode.CLOSE_SESSION:
                # A session ends whoever asks for it, as in the reference.
                violated(promise, "0x%x #%d happened, #%d was refused", session_id, xid, refused)
            if zxid < last:
                violated(
                    promise, "0x%x #%d happened before one of an earlier connection",
                    session_id, xid,
                )  # fmt: skip
        done = [
            zxid
            for xid in connection.writes
            if (zxid := self._done.get((session_id, xid))) is not None
            and not refuses_session(self._history.txns[zxid].body)
        ]
        return max([last, *done])


def _compare_multi(body: MultiTxn, data: bytes) -> str | None:
    results = read_results(data)
    if len(results) != len(body.ops):
        return f"{len(results)} results for {len(body.ops)} operations"
    for result, (kind, part) in zip(results, body.ops, strict=True):
        if body.failed:
            code = part.code if isinstance(part, ErrorTxn) else ErrorCode.OK
            if result.op != OpCode.ERROR or result.err != code:
                return f"{result} where {code} is due"
        elif result.op != kind:
            return f"{result} for an operation {kind}"
        elif isinstance(part, CreateTxn) and result.path != part.path:
            return f"{result} for {part.path!r}"
        elif result.stat and len(result.stat) != STAT_BYTES:
            return f"{result} is cut off"
    return None
