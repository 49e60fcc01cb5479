"""Judges a server that was killed: by its log, by its clients' replies, by what it then shows.

The log says which requests became transactions, and in which order. They are applied to a
model in that order; every reply that a client got must be the model's, every request that was
answered must be in the log, and the restarted server must show the model's tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.interop.data_directory_files import Record
from tests.interop.kill_line import Connection, Exchange, Turn
from tests.interop.kill_load import COUNTER
from tests.interop.kill_model import SEQUENTIAL, Model, Moment, Write
from tests.support import raw_client as raw

CREATE_SESSION, CLOSE_SESSION = raw.OPCODES["createSession"], raw.OPCODES["closeSession"]
ERROR = raw.OPCODES["error"]
_SHOWN_CHARACTERS = 1000

# Connection and exchange of a request that has become a transaction.
_Sent = tuple[Connection, Exchange]


class BrokenPromiseError(Exception):
    """The server has lost or invented something; the text says what."""


@dataclass
class Ledger:
    """What the server has promised so far."""

    model: Model = field(default_factory=Model)
    # Sessions whose clients are alive: they may not expire.
    living: set[int] = field(default_factory=set)
    # Sessions whose clients never said good-bye.
    abandoned: set[int] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    # Since the last settlement: sessions that there were, and data, version and mzxid that the
    # counter had.
    _opened: set[int] = field(default_factory=set)
    _counter_states: set[tuple[bytes | None, int, int]] = field(default_factory=set)

    @property
    def strays(self) -> set[int]:
        """Sessions that nobody holds: their clients never saw the handshake."""
        return self.model.sessions - self.living - self.abandoned

    def settle(self, records: Iterable[Record], turns: Iterable[Turn]) -> None:
        """Judge what happened since the last settlement; raises BrokenPromiseError."""
        turns = list(turns)
        problems = [problem for turn in turns for problem in turn.problems]
        if problems:
            raise BrokenPromiseError("; ".join(problems))
        connections = [connection for turn in turns for connection in turn.connections]
        for connection in connections:
            (self.abandoned if connection.abandoned else self.living).add(connection.session)
        sent = {
            (connection.session, xid): (connection, exchange)
            for connection in connections
            for xid, exchange in connection.exchanges.items()
        }
        self._counter_states = {self._counter_state()}
        self._opened = set(self.model.sessions)
        last: dict[int, _Sent] = {}
        for record in records:
            self._take(record, sent, last)
        self._check_unlogged(sent.values())
        for connection in connections:
            self._check_connection(connection)
        self.counted["unanswered connects"] += sum(turn.unanswered_connects for turn in turns)

    # ---- The log ----------------------------------------------------------------------

    def _take(
        self,
        record: Record,
        sent: dict[tuple[int, int], _Sent],
        last: dict[int, _Sent],
    ) -> None:
        """One transaction; it leaves `sent`."""
        model = self.model
        if record.zxid != model.zxid + 1:
            raise BrokenPromiseError(f"{record.file}: zxid {record.zxid:x} follows {model.zxid:x}")
        self.counted["transactions"] += 1
        if record.type == CREATE_SESSION:
            model.open_session(record.session, record.zxid)
            self._opened.add(record.session)
        elif record.type == CLOSE_SESSION and record.cxid == 0:
            if record.session in self.living:
                raise BrokenPromiseError(f"session {record.session:x} of a living client expired")
            self.counted["expired sessions"] += 1
            model.close_session(record.session, record.zxid)
        else:
            found = sent.pop((record.session, record.cxid), None)
            if found is None:
                raise BrokenPromiseError(f"nobody has asked for {record}")
            connection, exchange = found
            before = last.get(record.session)
            behind = before[1].number if before and before[0] is connection else -1
            if exchange.number != behind + 1:
                raise BrokenPromiseError(
                    f"session {record.session:x}: {_shown(exchange.write)} has overtaken others"
                )
            last[record.session] = found
            self._take_request(record, exchange)
        if record.digest is not None and record.digest != model.digest:
            raise BrokenPromiseError(
                f"{record.file}: the digest at {record.zxid:x} is {record.digest}, the tree's is "
                f"{model.digest}"
            )

    def _take_request(self, record: Record, exchange: Exchange) -> None:
        """A client's request, and the reply that it got or would have got."""
        write, reply = exchange.write, exchange.reply
        if write is None:
            self.model.close_session(record.session, record.zxid)
            self.living.discard(record.session)
            err, value, kind = 0, None, CLOSE_SESSION
        else:
            moment = Moment(record.session, record.zxid, record.time)
            err, value = self.model.apply(write, moment)
            kind = ERROR if err else raw.OPCODES[write.op]
            self._count(write, err, value)
        if record.type != kind or (err and record.body != raw.i32(err)):
            raise BrokenPromiseError(
                f"{record.file}: {_shown(write)} has become {_shown(record)}, expected was type "
                f"{kind} and error {err}"
            )
        self._counter_states.add(self._counter_state())
        if reply is None:
            self.counted["unacknowledged, there"] += 1
            return
        self.counted["acknowledged"] += 1
        self.counted["acknowledged refusals"] += err != 0
        if (reply.zxid, reply.err, reply.value) != (record.zxid, err, value) or reply.rest:
            raise BrokenPromiseError(
                f"the reply to {_shown(write)} was {_shown(reply)}, expected were zxid "
                f"{record.zxid:x}, error {err} and {_shown(value)}"
            )

    def _counter_state(self) -> tuple[bytes | None, int, int]:
        node = self.model.nodes.get(COUNTER)
        return (node.data, node.version, node.mzxid) if node else (None, -1, -1)

    def _count(self, write: Write, err: int, value: object) -> None:
        if isinstance(value, list):
            failed = any(part.err and not part.done for part in value)
            self.counted["refused multis" if failed else "multis"] += 1
        elif err:
            self.counted["refused"] += 1
        elif write.op.startswith("create"):
            self.counted["sequential creates"] += bool(write.flags & SEQUENTIAL)
            self.counted["ephemeral creates"] += write.flags in (1, 3)

    # ---- The clients ------------------------------------------------------------------

    def _check_unlogged(self, left: Iterable[_Sent]) -> None:
        """What is not in the log may not have been answered."""
        for connection, exchange in left:
            if exchange.reply is not None:
                raise BrokenPromiseError(
                    f"LOST: session {connection.session:x} got {_shown(exchange.reply)} for "
                    f"{_shown(exchange.write)}, the log ends at {self.model.zxid:x}"
                )
            self.counted["unacknowledged, not there"] += 1

    def _check_connection(self, connection: Connection) -> None:
        if connection.last_zxid > self.model.zxid:
            raise BrokenPromiseError(
                f"a reply had zxid {connection.last_zxid:x}, the log ends at {self.model.zxid:x}"
            )
        if connection.session and connection.session not in self._opened:
            raise BrokenPromiseError(f"LOST: session {connection.session:x} is not in the log")
        for path, *state in connection.reads:
            if tuple(state) not in self._counter_states:
                raise BrokenPromiseError(
                    f"{path} was read as data, version and mzxid {state}, which is not in the log"
                )
        self.counted["reads"] += len(connection.reads)


def _shown(value: object) -> str:
    text = "closeSession" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
