"""What the clients of an ensemble did and saw, noted so that it can be judged later."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from tests.interop.kill_model import Write
from tests.support import raw_client as raw

CLOSE = "closeSession"
READS = ("getData", "exists")
SET_WATCHES = "setWatches"

# No xid and no number of a connection is used twice, so that session and xid name a request for
# ever, and of two connections of a session the one with the higher number is the later one.
xids = count(1)
connections = count(1)


@dataclass(slots=True)
class Op:
    """One request, and its reply once that has come; times are monotonic seconds.

    `number` counts what becomes a transaction, on its connection; `write` is None for reads,
    syncs, setWatches and closeSession. What was sent on a connection that broke before the reply
    may have been done or not.
    """

    session: int
    connection: int
    number: int
    xid: int
    name: str
    path: str
    invoked: float
    write: Write | None = None
    watch: bool = False
    # Who was asked, by id and kind of server.
    member: int = 0
    kind: str = ""
    returned: float = 0.0
    reply: raw.Reply | None = None

    @property
    def is_logged(self) -> bool:
        """Whether a server makes a transaction of it."""
        return self.write is not None or self.name == CLOSE

    def __str__(self) -> str:
        what = repr(self.write) if self.write is not None else f"{self.name} {self.path}"
        answer = "no reply" if self.reply is None else repr(self.reply)
        where = f"session {self.session:x} connection {self.connection} to {self.member}"
        text = f"{where}: {what}: {answer}"
        return text if len(text) <= 1500 else f"{text[:1500]}…"


@dataclass(slots=True)
class Expired:
    """A server said that it does not know a session (any more)."""

    session: int
    member: int
    time: float


@dataclass(slots=True)
class History:
    """Everything between two settlements."""

    ops: list[Op] = field(default_factory=list)
    # By session, in the order in which its client received them.
    received: dict[int, list[Op | raw.Event]] = field(default_factory=dict)
    expired: list[Expired] = field(default_factory=list)
    # Sessions that a client still holds: they may not expire.
    held: set[int] = field(default_factory=set)
    # Sessions whose clients never said good-bye.
    abandoned: set[int] = field(default_factory=set)
    # Sessions whose clients were not told whether their good-bye was heard.
    doubtful: set[int] = field(default_factory=set)
    unanswered_connects: int = 0
    reconnects: int = 0
    problems: list[str] = field(default_factory=list)

    def merge(self, other: History) -> None:
        """Add what another client noted."""
        self.ops += other.ops
        for session, entries in other.received.items():
            self.received.setdefault(session, []).extend(entries)
        self.expired += other.expired
        self.held |= other.held
        self.abandoned |= other.abandoned
        self.doubtful |= other.doubtful
        self.unanswered_connects += other.unanswered_connects
        self.reconnects += other.reconnects
        self.problems += other.problems
