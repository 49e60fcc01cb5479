"""Queues whose items are removed when they are taken: first in first out, by priority, by time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from kraal.client import (
    Acl,
    Client,
    ConnectionLossError,
    CreateMode,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    TransactionError,
)
from kraal.recipes._arguments import check_place
from kraal.recipes._background import executed, in_background, patiently
from kraal.recipes._conditional import ensure, read_latest
from kraal.recipes._names import child
from kraal.recipes._wakeups import Wakeups
from kraal.recipes.errors import RecipeError
from kraal.recipes.following import names_of, read

USUAL_PRIORITY = 100
"""kazoo's default; the priority of all items of a `Queue`."""
LAST_PRIORITY = 999
ENTRY = "entry-"


class ItemInDoubtError(RecipeError):
    """An item is gone, and it is unknown whether this client or another one has removed it.

    `data` is what it was. Who works on it may be the second to do so, who does not may lose it.
    """

    def __init__(self, path: str, data: bytes) -> None:
        super().__init__(f"the reply to the removal of {path} was lost: in doubt whose it is")
        self.data = data


class Entry(NamedTuple):
    """The name of an item, in the order in which items are taken."""

    rank: int
    number: int
    name: str


class Taken(NamedTuple):
    """An item that was removed."""

    path: str
    data: bytes


class EntryQueue:
    """What all queues of this module share: how items are put, and how they are removed.

    *Putting* happens at most once: if the reply is lost, ConnectionLossError with `sent` says
    that it is in doubt. With `repeat` it is put again then, so that it is there at least once.

    *Taking* happens at most once, too: the item is deleted before it is returned. If the reply to
    the deletion is lost and the item is gone, ItemInDoubtError says so and has the data. A call
    that is cancelled while the deletion is on its way puts the item back into its place; if that
    reply is lost, too, the item may be lost, and a warning is logged. What a consumer was working
    on when it died is lost: `LockingQueue` is for work that must be done.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._acl = acl
        self._is_ensured = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    async def size(self) -> int:
        """How many items there are."""
        return len(await self._entries())

    async def get(self) -> bytes:
        """Wait for an item, remove it and return its data.

        Limit the time with `asyncio.timeout`. Raises ItemInDoubtError.
        """
        if (item := await self._take_first()) is not None:
            return item.data
        try:
            async with Wakeups(self._zk, self.path) as wakeups:
                while (item := await self._take_first()) is None:
                    await self._pause(wakeups)
        except asyncio.CancelledError:
            if item is not None:  # while the watch was being removed
                in_background(self._put_back(item))
            raise
        return item.data

    async def get_nowait(self) -> bytes | None:
        """Remove the first item and return its data; None if there is none to be had now."""
        item = await self._take_first()
        return None if item is None else item.data

    async def _take_first(self) -> Taken | None:
        for entry in await self._available():
            path = child(self.path, entry.name)
            data = await self._take(path)
            if data is not None:
                return Taken(path, data)
        return None

    async def peek(self) -> bytes | None:
        """The data of the first item, which stays."""
        for entry in await self._available():
            node = await patiently(self._zk, partial(read, self._zk, child(self.path, entry.name)))
            if node is not None:
                return node.data
        return None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Items for ever, each removed as it is yielded."""
        while True:
            yield await self.get()

    async def _pause(self, wakeups: Wakeups) -> None:
        """Wait until there may be an item."""
        await wakeups.next()

    async def _entries(self) -> list[Entry]:
        """All items, first to be taken first."""
        names = await patiently(self._zk, partial(names_of, self._zk, self.path))
        return sorted(filter(None, map(read_entry, names or [])))

    async def _available(self) -> list[Entry]:
        """The items that may be taken now."""
        return await self._entries()

    async def _ensure(self) -> None:
        if not self._is_ensured:
            await ensure(self._zk, self.path)
            self._is_ensured = True

    async def _put(self, prefix: str, items: Sequence[bytes], *, repeat: bool) -> None:
        """Create items in one transaction, all or none."""

        async def commit() -> None:
            transaction = self._zk.transaction()
            for data in items:
                transaction.create(
                    child(self.path, prefix), data,
                    mode=CreateMode.PERSISTENT_SEQUENTIAL, acl=self._acl,
                )  # fmt: skip
            await transaction.commit()

        while True:
            try:
                await executed(self._zk, commit)
                return
            except SessionExpiredError:
                await self._zk.wait_connected()  # not executed
            except ConnectionLossError as error:
                if error.sent and not repeat:
                    raise
                await self._zk.wait_connected()
            except TransactionError as error:
                if isinstance(error.error, NodeExistsError):
                    raise RecipeError(
                        f"the numbers of {self.path} are used up: delete that znode"
                    ) from None
                if not isinstance(error.error, NoNodeError):
                    raise error.error from None
                self._is_ensured = False
                await self._ensure()

    async def _take(self, path: str) -> bytes | None:
        """Remove an item; None if somebody else has it. Raises ItemInDoubtError."""
        node = await patiently(self._zk, partial(read, self._zk, path))
        if node is None:
            return None
        removal = asyncio.get_running_loop().create_task(self._remove(path, node.data))
        try:
            return node.data if await asyncio.shield(removal) else None
        except asyncio.CancelledError:
            in_background(self._undo(removal, Taken(path, node.data)))
            raise

    async def _remove(self, path: str, data: bytes) -> bool:
        """Delete an item; whether it was this client who did it."""
        while True:
            try:
                await executed(self._zk, partial(self._zk.delete, path))
            except NoNodeError:
                return False
            except SessionExpiredError:
                await self._zk.wait_connected()
            except ConnectionLossError as error:
                await self._zk.wait_connected()
                if error.sent and await read_latest(self._zk, path) is None:
                    raise ItemInDoubtError(path, data) from None
            else:
                return True

    async def _undo(self, removal: asyncio.Task[bool], item: Taken) -> None:
        """Undo a removal that nobody waits for any more."""
        if await removal:
            await self._put_back(item)

    async def _put_back(self, item: Taken) -> None:
        """Put an item that was removed into its place again.

        Nothing that is in doubt is repeated: the item may be another consumer's by then.
        """
        create = partial(self._zk.create, item.path, item.data, acl=self._acl)
        while True:
            try:
                with suppress(NodeExistsError):
                    await executed(self._zk, create)
                return
            except SessionExpiredError:
                await self._zk.wait_connected()
            except ConnectionLossError as error:
                if error.sent:
                    raise
                await self._zk.wait_connected()


class Queue(EntryQueue):
    """First in, first out::

        queue = Queue(zk, "/queues/mails")
        await queue.put(b"...")
        data = await queue.get()

    See `EntryQueue` for what is promised when replies are lost. Items come out in the order in
    which the servers have got them. The znodes are those of kazoo's `Queue`, whose clients can
    put and take as well.
    """

    async def put(self, data: bytes, *, repeat: bool = False) -> None:
        """Add an item at the end; with `repeat` at least once, else at most once."""
        await self.put_all([data], repeat=repeat)

    async def put_all(self, items: Iterable[bytes], *, repeat: bool = False) -> None:
        """Add several items, all or none, next to each other."""
        await self._put(entry_prefix(USUAL_PRIORITY), list(items), repeat=repeat)


class PriorityQueue(EntryQueue):
    """Lower priorities first, and first in, first out among equals; otherwise as `Queue`."""

    async def put(
        self, data: bytes, priority: int = USUAL_PRIORITY, *, repeat: bool = False
    ) -> None:
        """Add an item of a priority from 0 (first) to 999.

        Raises ValueError for others, and TypeError for what is no int.
        """
        await self.put_all([data], priority, repeat=repeat)

    async def put_all(
        self, items: Iterable[bytes], priority: int = USUAL_PRIORITY, *, repeat: bool = False
    ) -> None:
        """Add several items of one priority, all or none."""
        await self._put(entry_prefix(priority), list(items), repeat=repeat)


def entry_prefix(priority: int) -> str:
    """What the names of items of this priority begin with."""
    if not isinstance(priority, int):
        raise TypeError(f"priority must be an int, not {priority!r}")
    if not 0 <= priority <= LAST_PRIORITY:
        raise ValueError(f"priority must be from 0 to {LAST_PRIORITY}, not {priority}")
    return f"{ENTRY}{priority:03d}-"


def read_entry(name: str) -> Entry | None:
    """The item that a znode of this name is, or None."""
    mark, _, rest = name.partition("-")
    rank, _, number = rest.partition("-")
    if mark + "-" != ENTRY or not (rank.isdecimal() and number.isdecimal()):
        return None
    return Entry(int(rank), int(number), name)
