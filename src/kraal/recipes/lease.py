"""A lease: held for a time, whether or not its holder is connected, or lives."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TypeVar

from kraal.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    Stat,
    Transaction,
    TransactionError,
)
from kraal.recipes._arguments import check_count, check_place, check_seconds
from kraal.recipes._background import NOT_EXECUTED, Pauses, patiently
from kraal.recipes._names import child
from kraal.recipes.errors import LostError, RecipeError
from kraal.recipes.following import names_of
from kraal.recipes.held import Held, Holding
from kraal.recipes.lock import Lock

HOLDER = "lease_holder"
READS_AT_ONCE = 200
LONGEST_SECONDS = 1e9
FORMAT_VERSION = 1
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Term:
    """Who holds a lease until when."""

    holder: str
    end: float
    """Seconds since 1970, by the clock of the ensemble's leader."""

    def encode(self) -> bytes:
        """As kazoo reads it; its dates have whole seconds, so the exact end is a field more."""
        date = datetime.fromtimestamp(math.ceil(self.end), UTC).strftime(DATE_FORMAT)
        text = {"version": FORMAT_VERSION, "holder": self.holder, "end": date,
                "end_ms": round(self.end * 1000)}  # fmt: skip
        return json.dumps(text).encode()

    @classmethod
    def decode(cls, data: bytes) -> Term:
        """Raises RecipeError for what is not a lease of this version."""
        try:
            fields = json.loads(data)
            if fields["version"] != FORMAT_VERSION:
                raise RecipeError(f"a lease of version {fields['version']!r}")
            if "end_ms" in fields:
                end = float(fields["end_ms"]) / 1000
            else:
                date = datetime.strptime(fields["end"], DATE_FORMAT)
                end = date.replace(tzinfo=UTC).timestamp()
            return cls(str(fields["holder"]), end)
        except (ValueError, TypeError, KeyError) as error:
            raise RecipeError(f"not a lease: {error}") from error


class LeaseHeld(Holding):
    """A lease until its end: `lost` is set when that has come, as the local clock counts.

    The time is counted from before the request that took the lease, so that it ends here no
    later than for others if the monotonic clock here is not slower than the leader's. The end of
    the session has no effect. `token` is a fencing token: it grows with every renewal and holder.
    """

    def __init__(self, lease: Lease, token: int, end: float) -> None:
        super().__init__()
        self._lease = lease
        self._loop = asyncio.get_running_loop()
        self.token = token
        self.end = end
        """When it ends, on the clock of the event loop (`loop.time()`)."""
        self._timer = self._loop.call_at(end, self._lose, "its time is over")

    def __str__(self) -> str:
        return self._lease.path

    @property
    def remaining(self) -> float:
        """Seconds until its end, not below 0."""
        return max(0.0, self.end - self._loop.time())

    @property
    def is_sure(self) -> bool:
        return not self._is_released and not self.lost.is_set() and self.remaining > 0

    async def renew(self) -> None:
        """Hold it for the whole duration from now on. Raises LostError if it has ended."""
        self.check()
        again = await self._lease.obtain()
        if again is None:
            self._lose("somebody else has it")
            self.check()
        else:
            again._timer.cancel()
            self.token, self.end = again.token, again.end
            self._timer.cancel()
            self._timer = self._loop.call_at(self.end, self._lose, "its time is over")

    async def _give_up(self) -> None:
        """Unlike a lock, a lease survives its session: this waits until it is deleted."""
        self._timer.cancel()
        await self._lease._release(self.token)


class Lease:
    """At most one holder at a time, for `duration` seconds, without any waiting.

        lease = Lease(zk, "/leases/cleanup", duration=3600.0)
        if held := await lease.obtain():
            ...

    For work that one of several hosts is to do, and that is to stay there for a while: the lease
    outlives the process, and whoever comes with the same `identifier` (by default the name of the
    host) obtains it again, which renews it. `release` ends it before its time.

    Promised: `obtain` gives the lease only if nobody else's has an end that is still to come by
    the clock of the ensemble's leader. Clients' clocks have no part in that; a new leader's that
    is ahead of the old one's makes leases end early, by so much. A term is written in one
    transaction with a check that a lock of the directory is still held, so that neither a client
    that was stopped in the middle nor one that lost its session overwrites another one's term.

    Format and lock are those of kazoo's `NonBlockingLease`, whose holders are excluded as well;
    they use the clocks of their own hosts.
    """

    def __init__(
        self, zk: Client, path: str, duration: float, identifier: str | None = None
    ) -> None:
        check_seconds("duration", duration, LONGEST_SECONDS)
        if duration <= 0:
            raise ValueError(f"duration must be above 0 s, not {duration}")
        check_place(zk, path)
        self.path = path
        self.duration = duration
        self.identifier = socket.gethostname() if identifier is None else identifier
        self._zk = zk
        self._holder = child(path, HOLDER)
        self._lock = Lock(zk, path, self.identifier, layout="kazoo")

    def __repr__(self) -> str:
        return f"Lease({self.path!r}, {self.duration}, {self.identifier!r})"

    async def obtain(self) -> LeaseHeld | None:
        """Take or renew the lease; None if it is somebody else's.

        Waits for the others that try at the same moment. Raises RecipeError if the znode holds
        something else.
        """
        return await self._locked(self._obtain)

    async def holder(self) -> Term | None:
        """Who obtained the lease last, and until when; that may be over. None: nobody."""
        read = await self._read()
        return None if read is None else read[0]

    async def _release(self, token: int) -> None:
        await self._locked(lambda lock: self._end(lock, token))

    async def _locked(self, work: Callable[[Held], Awaitable[T]]) -> T:
        """Do something under the lock, again if it was lost before that has taken effect."""
        pauses = Pauses(self._zk)
        while True:
            try:
                async with self._lock as lock:
                    return await work(lock)
            except (LostError, SessionExpiredError):
                pass
            except NOT_EXECUTED as error:
                await pauses.next(error)

    async def _read(self) -> tuple[Term, Stat] | None:
        try:
            node = await patiently(self._zk, partial(self._zk.get, self._holder))
        except NoNodeError:
            return None
        return Term.decode(node.data), node.stat

    async def _obtain(self, lock: Held) -> LeaseHeld | None:
        began, now = await self._leader_time(lock)
        found = await self._read()
        if found is not None and found[0].holder != self.identifier and now < found[0].end:
            return None
        term = Term(self.identifier, now + self.duration)
        transaction = self._transaction(lock)
        if found is None:
            transaction.create(self._holder, term.encode())
        else:
            transaction.set(self._holder, term.encode(), version=found[1].version)
        await self._commit(transaction)
        written = await self._read()
        if written is None or written[0].encode() != term.encode():
            raise LostError(f"{self.path} was not taken")
        return LeaseHeld(self, written[1].mzxid, began + self.duration)

    async def _end(self, lock: Held, token: int) -> None:
        """Delete the term that this token stands for, unless it is over."""
        found = await self._read()
        if found is not None and found[1].mzxid == token:
            transaction = self._transaction(lock)
            transaction.delete(self._holder, version=found[1].version)
            await self._commit(transaction)

    async def _leader_time(self, lock: Held) -> tuple[float, float]:
        """The leader's clock, from the time that it gives to a write of ours.

        The loop's clock from before the write is the first of the two.
        """
        began = 0.0

        async def write() -> Stat:
            nonlocal began
            began = asyncio.get_running_loop().time()
            return await self._zk.set(lock.path, self.identifier.encode())

        try:
            stat = await patiently(self._zk, write)
        except NoNodeError as error:
            raise LostError(f"{lock} is gone") from error
        return began, stat.mtime / 1000

    def _transaction(self, lock: Held) -> Transaction:
        """A transaction that is refused once the lock is somebody else's."""
        transaction = self._zk.transaction()
        transaction.check(lock.path, -1)
        return transaction

    async def _commit(self, transaction: Transaction) -> None:
        """Commit; a lost reply is no error, because the caller looks at the outcome."""
        try:
            await transaction.commit()
        except TransactionError as error:
            if not isinstance(error.error, NoNodeError | NodeExistsError | BadVersionError):
                raise error.error from None
            raise LostError(f"{self.path} changed in the meantime") from error
        except ConnectionLossError as error:
            if not error.sent:
                raise LostError(f"{self.path} could not be written") from error


class MultiLease:
    """One lease of `count`, for work that up to so many hosts are to do.

    The leases are those at ``path/0``, ``path/1``, …, as of kazoo's `MultiNonBlockingLease`. Who
    has one already renews that one.
    """

    def __init__(
        self, zk: Client, path: str, count: int, duration: float, identifier: str | None = None
    ) -> None:
        check_count("count", count)
        check_place(zk, path)
        self.path = path
        self._zk = zk
        self._count = count
        self._duration = duration
        self._identifier = identifier
        self._identifier = self._lease(0).identifier

    def _lease(self, number: int) -> Lease:
        """Made when it is needed: there may be many, and few that are held."""
        return Lease(self._zk, child(self.path, str(number)), self._duration, self._identifier)

    async def obtain(self) -> LeaseHeld | None:
        """Take or renew one of the leases; None if all are others'. See `Lease.obtain`."""
        ours = await self._ours()
        others = (number for number in range(self._count) if number not in ours)
        for number in chain(sorted(ours), others):
            held = await self._lease(number).obtain()
            if held is not None:
                return held
        return None

    async def _ours(self) -> set[int]:
        """The leases that we had last."""
        names = await patiently(self._zk, partial(names_of, self._zk, self.path)) or []
        numbers = [int(name) for name in names if name.isdecimal() and int(name) < self._count]
        ours: set[int] = set()
        for start in range(0, len(numbers), READS_AT_ONCE):
            some = numbers[start : start + READS_AT_ONCE]
            terms = await asyncio.gather(*(self._lease(number).holder() for number in some))
            pairs = zip(some, terms, strict=True)
            ours.update(n for n, term in pairs if term and term.holder == self._identifier)
        return ours
