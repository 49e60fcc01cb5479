"""A connection to a server that may die at any moment, and a note of all that went over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from tests.interop.kill_model import Write
from tests.support import raw_client as raw

# No xid is used twice, so that session and xid name a request for ever.
_xids = count(1)


@dataclass(slots=True)
class Exchange:
    """A request, the `number`th of its connection, and its reply once that has come.

    `write` is None for closeSession.
    """

    number: int
    write: Write | None
    reply: raw.Reply | None = None


@dataclass(slots=True)
class Connection:
    """What one connection sent, by xid, and what it was told."""

    session: int
    exchanges: dict[int, Exchange] = field(default_factory=dict)
    last_zxid: int = 0
    # What getData returned: path, data, version, mzxid.
    reads: list[tuple[str, bytes | None, int, int]] = field(default_factory=list)
    # Nobody will come back to the session.
    abandoned: bool = False


@dataclass(slots=True)
class Turn:
    """All that one client did between a start of the server and its death."""

    connections: list[Connection] = field(default_factory=list)
    unanswered_connects: int = 0
    problems: list[str] = field(default_factory=list)


class Line:
    """One connection; ConnectionError or ClosedError when the server is gone."""

    def __init__(
        self, port: int, turn: Turn, timeout_ms: int, session: int = 0, last_zxid: int = 0
    ) -> None:
        password = raw.session_password(session) if session else bytes(16)
        request = raw.connect_request(session, password, timeout=timeout_ms, last_zxid=last_zxid)
        self.client = raw.RawClient(port)
        turn.unanswered_connects += not session
        shown = self.client.connect(request)
        turn.unanswered_connects -= not session
        # Zero when the server does not know the session.
        self.session = shown.session
        self.connection = Connection(shown.session)
        turn.connections.append(self.connection)

    def encode(self, write: Write | None) -> bytes:
        """A request, noted, for the caller to send."""
        xid = next(_xids)
        exchanges = self.connection.exchanges
        exchanges[xid] = Exchange(len(exchanges), write)
        if write is None:
            return self.client.encode("closeSession", xid=xid)
        return self.client.encode(write.op, write.body(), xid)

    def encode_read(self, path: str) -> bytes:
        return self.client.encode("getData", raw.path_and_watch(path, False))

    def send(self, requests: list[bytes]) -> None:
        self.client.send_bytes(b"".join(requests))

    def receive(self, left: int = 0, path: str = "") -> list[Exchange]:
        """Read replies until only `left` requests are unanswered; reads were of `path`."""
        answered = []
        connection = self.connection
        while self.client.outstanding > left:
            reply = self.client.receive()
            assert isinstance(reply, raw.Reply)
            connection.last_zxid = max(connection.last_zxid, reply.zxid)
            if reply.op == "getData":
                assert isinstance(reply.value, tuple), reply
                data, stat = reply.value
                connection.reads.append((path, data, stat.version, stat.mzxid))
            else:
                exchange = connection.exchanges[reply.xid]
                exchange.reply = reply
                answered.append(exchange)
        return answered

    def close(self) -> None:
        """End the connection, not the session."""
        self.client.close()
