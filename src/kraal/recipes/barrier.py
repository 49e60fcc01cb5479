"""Barriers: waiting until somebody opens the way, or until enough have come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from kraal.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    Created,
    NoNodeError,
    SessionExpiredError,
    TransactionError,
)
from kraal.recipes._arguments import check_count, check_place, checked_identifier
from kraal.recipes._background import executed, in_background, patiently, while_session_lives
from kraal.recipes._names import child
from kraal.recipes._wakeups import Wakeups
from kraal.recipes.errors import LimitMismatchError, LostError, NotHeldError, RecipeError


class Barrier:
    """A barrier is closed while its znode is there::

        barrier = Barrier(zk, "/barriers/import")
        await barrier.create()
        ...                          # others: await barrier.wait()
        await barrier.remove()

    The znode is persistent: the barrier stays when its maker dies. kazoo's `Barrier` is the same.
    """

    def __init__(self, zk: Client, path: str) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path

    def __repr__(self) -> str:
        return f"Barrier({self.path!r})"

    async def create(self) -> None:
        """Close the way, unless it is closed."""
        await patiently(self._zk, partial(self._zk.ensure_path, self.path))

    async def remove(self) -> bool:
        """Open it. Returns whether it was closed; True as well if the answer to that was lost."""
        in_doubt = False
        while True:
            try:
                await executed(self._zk, partial(self._zk.delete, self.path))
            except NoNodeError:
                return in_doubt
            except ConnectionLossError as error:
                in_doubt |= error.sent
                await self._zk.wait_connected()
            except SessionExpiredError:
                await self._zk.wait_connected()
            else:
                return True

    async def is_closed(self) -> bool:
        return await self._zk.exists(self.path) is not None

    async def wait(self) -> None:
        """Wait until the barrier is removed; at once if there is none.

        A barrier that is removed and created again meanwhile lets those pass who waited for the
        first one. Limit the time with `asyncio.timeout`.
        """
        look = partial(self._zk.exists, self.path)
        async with Wakeups(self._zk, self.path) as wakeups:
            first = stat = await patiently(self._zk, look)
            while stat is not None and first is not None and stat.czxid == first.czxid:
                await wakeups.next()
                stat = await patiently(self._zk, look)


@dataclass(frozen=True, slots=True)
class Round:
    """Who has come together; the data of a double barrier's znode."""

    number: int = 0
    members: tuple[str, ...] = ()
    is_open: bool = False
    version: int = -1
    """Of the znode."""

    def encode(self) -> bytes:
        fields = {"round": self.number, "open": self.is_open, "members": self.members}
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, data: bytes, version: int) -> Round:
        """Raises RecipeError for what is no round; empty data is a barrier that nobody used."""
        if not data:
            return cls(version=version)
        try:
            fields = json.loads(data)
            members = tuple(str(name) for name in fields["members"])
            return cls(int(fields["round"]), members, bool(fields["open"]), version)
        except (ValueError, TypeError, KeyError) as error:
            raise RecipeError(f"not the data of a double barrier: {error}") from error


class DoubleBarrier:
    """`count` members begin together and end together, again and again::

        async with DoubleBarrier(zk, "/barriers/step", count=3):
            ...     # three are in here; the block is left when the last one has finished

    Promised, for members that use the same `path` and `count`:

    - `enter` returns when `count` members exist at the same moment, in one transaction that
      names them as the members of a *round*. A member that has died, or has given up waiting, is
      not counted.
    - `leave` returns when every member of the round has left, or has died with its session: it
      does not hang because of one.
    - Who comes too late, while a round is under way, is not let in and not waited for. It enters
      with a later round. (So one member in excess does not disturb; it waits for company.)
    - Who finds itself in a round of another `count` is not let in, and raises LimitMismatchError:
      the members disagree. (Who began that round is in it, and its `leave` waits for no such one.)
    - A member whose session ends while it is in, is out for the others. It learns of it by
      LostError from `leave`, and from `enter` if a round may have begun with it meanwhile.

    The znode at `path` holds the round, and its children are members; kazoo's and Curator's
    double barriers keep no rounds and are not compatible. One object is one member at a time.
    """

    def __init__(self, zk: Client, path: str, count: int, identifier: str | bytes = "") -> None:
        check_count("count", count)
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self.count = count
        self._data = checked_identifier(identifier)
        self._member: str | None = None
        self._session_id = 0
        self._round = Round()

    def __repr__(self) -> str:
        return f"DoubleBarrier({self.path!r}, {self.count})"

    async def __aenter__(self) -> Self:
        await self.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave; a block that was cancelled or failed does not wait for the others."""
        if kind is None:
            await self.leave()
        else:
            self._forget()

    async def enter(self) -> int:
        """Wait until enough members are there; returns the number of the round, from 1.

        If this raises or is cancelled the member's znode goes. Raises LostError if the session
        ended and a round has begun since, RecipeError if the member is in already,
        LimitMismatchError if another member has begun the round with another count.
        """
        if self._member is not None:
            raise RecipeError(f"this member of {self.path} has entered, or is about to")
        self._member = ""
        try:
            async with Wakeups(self._zk, self.path) as wakeups:
                await self._join()
                self._round = await self._read()
                while not await self._try_to_enter():
                    await wakeups.next()
        except BaseException:
            self._forget()
            raise
        return self._round.number

    async def leave(self) -> None:
        """Leave, and wait until all members of the round have left or are dead.

        A cancelled call has left all the same. Raises NotHeldError without `enter` before, and
        LostError if the session has ended since then: the others took this member for dead.
        """
        if not self._member:
            raise NotHeldError(f"this member of {self.path} has not entered")
        is_lost = self._session_id != self._zk.session_id
        try:
            async with Wakeups(self._zk, self.path) as wakeups:
                # Watched first, deleted then: the last one to leave is seen in any case.
                self._forget()
                while not await self._is_over():
                    await wakeups.next()
        finally:
            self._forget()
        if is_lost:
            raise LostError(f"the session ended while this member was in {self.path}")

    async def _join(self) -> None:
        """Create this member's znode, and the barrier's if it is missing."""
        while True:
            try:
                created = await self._create()
            except NoNodeError:
                await patiently(self._zk, partial(self._zk.ensure_path, self.path))
                continue
            self._member = created.path.rpartition("/")[2]
            self._session_id = created.stat.ephemeral_owner
            return

    async def _create(self) -> Created:
        path = child(self.path, "member-")
        create = partial(self._zk.create_protected, path, self._data)
        return await patiently(self._zk, create)

    async def _try_to_enter(self) -> bool:
        """Look at the barrier once; True when a round with this member is open."""
        current, children = await self._read(), await self._members()
        if self._member not in children:
            if self._member in current.members or current.number != self._round.number:
                raise LostError(f"the session ended while waiting at {self.path}")
            await self._join()
            return False  # its own creation wakes it
        self._round = current
        if current.is_open and self._member in current.members:
            if len(current.members) != self.count:
                raise LimitMismatchError(
                    f"the round at {self.path} has {len(current.members)} members, not {self.count}"
                )
            return True
        if current.is_open:
            if not set(current.members) & set(children):
                await self._write(Round(current.number, current.members), current, ())
            return False
        if len(children) >= self.count:
            chosen = tuple(sorted(children, key=_number)[: self.count])
            await self._write(Round(current.number + 1, chosen, True), current, chosen)
        return False

    async def _is_over(self) -> bool:
        """Whether the round that was entered is over; ends it if only that is missing."""
        current = await self._read()
        if current.number != self._round.number or not current.is_open:
            return True
        if set(current.members) & set(await self._members()):
            return False
        await self._write(Round(current.number, current.members), current, ())
        return True

    async def _read(self) -> Round:
        async def read() -> Round:
            node = await self._zk.get(self.path)
            return Round.decode(node.data, node.stat.version)

        return await patiently(self._zk, read)

    async def _members(self) -> list[str]:
        names = await patiently(self._zk, partial(self._zk.get_children, self.path))
        return [name for name in names if "member-" in name]

    async def _write(self, new: Round, old: Round, alive: Sequence[str]) -> None:
        """Replace the round if it is still `old` and these members live; else do nothing.

        Whether it was done the next look shows: the write itself wakes everyone.
        """

        async def commit() -> None:
            transaction = self._zk.transaction()
            for name in alive:
                transaction.check(child(self.path, name), -1)
            transaction.set(self.path, new.encode(), version=old.version)
            await transaction.commit()

        try:
            await executed(self._zk, commit)
        except (ConnectionLossError, SessionExpiredError):
            await self._zk.wait_connected()
        except TransactionError as error:
            if not isinstance(error.error, NoNodeError | BadVersionError):
                raise error.error from None

    def _forget(self) -> None:
        """Delete the member's znode, for certain and without waiting for it."""
        member, self._member = self._member, None
        if member:
            delete = partial(self._delete, child(self.path, member))
            in_background(while_session_lives(self._zk, self._session_id, delete))

    async def _delete(self, path: str) -> None:
        with suppress(NoNodeError):
            await self._zk.delete(path)


def _number(name: str) -> int:
    return int(name[-10:])
