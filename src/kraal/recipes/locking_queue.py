"""A queue whose items are held while somebody works on them, and come back when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

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
from kraal.recipes._background import (
    NOT_EXECUTED,
    Pauses,
    executed,
    in_background,
    lasting,
    patiently,
)
from kraal.recipes._claim import Claim, new_prefix
from kraal.recipes._conditional import ensure, read_latest
from kraal.recipes._names import child
from kraal.recipes._wakeups import Wakeups
from kraal.recipes.following import names_of, read
from kraal.recipes.held import Held
from kraal.recipes.queues import USUAL_PRIORITY, Entry, PriorityQueue, read_entry


class _ItemClaim(Claim):
    """The znode that says that an item is held; the next holder's has the same name.

    So it is deleted only after a look: an earlier deletion whose reply was lost may have made
    room for another holder. `mark` is what is only in ours.
    """

    def __init__(self, zk: Client, taken: str, name: str, mark: bytes) -> None:
        super().__init__(zk, taken, ())
        self.names = (name,)
        self._mark = mark

    async def _delete_one(self, path: str) -> None:
        found = await read_latest(self.zk, path)
        if found is not None and found.data == self._mark:
            await super()._delete_one(path)


class Item(Held):
    """An item that this client holds, until `consume` or `release`, or until it is lost.

    It is lost as a lock is (see `Held`), and then another consumer gets it. `token` is higher for
    every later holder of it.
    """

    def __init__(self, claim: Claim, entry: str, data: bytes) -> None:
        self._entry = entry
        self.data = data
        self._lock = claim.paths[0]
        self._consuming: asyncio.Task[None] | None = None
        super().__init__(claim)

    def __str__(self) -> str:
        return self._entry

    @property
    def path(self) -> str:
        """The path of the znode that says that the item is held."""
        return self._lock

    async def consume(self) -> None:
        """Remove the item for good; it is done.

        Raises LostError if it is lost: it is then another consumer's, or will be. If the reply
        was lost and the session ends before it is known what has happened, that is LostError as
        well: the item is gone or will be consumed again. A call that is cancelled goes on in the
        background. Consuming twice is no error.
        """
        if self._consuming is None:
            self.check()
            self._consuming = lasting(self._consume())
        await asyncio.shield(self._consuming)

    async def _consume(self) -> None:
        self._claim.on_change = None  # it is our own deletion that the watch will tell of
        pauses = Pauses(self._zk)
        while True:
            if self._zk.session_id != self._claim.session_id:
                self._lose("the session is over")
            self.check()
            try:
                async with self._zk.transaction() as transaction:
                    transaction.delete(self._entry)
                    transaction.delete(self.path)
            except ConnectionLossError:
                await self._zk.wait_connected()
                continue
            except NOT_EXECUTED as error:
                await pauses.next(error)
                continue
            except SessionExpiredError:
                continue
            except TransactionError as error:
                if not isinstance(error.error, NoNodeError):
                    self._claim.on_change = self._on_claim
                    self._consuming = None
                    raise error.error from None
                if error.index == 1:
                    self._lose("its znode is gone")
                    self.check()
                # The item is gone: an earlier attempt, whose reply was lost, has succeeded.
            break
        self._claim.names = ()  # nothing is left to be deleted
        await self.release()


class LockingQueue:
    """Items that are worked on by one consumer at a time, until one has said that it is done::

        queue = LockingQueue(zk, "/queues/orders")
        await queue.put(b"...")
        async with queue.item() as item:     # waits for one
            await work_on(item.data)         # consumed at the end, released if this raises

    Promised: an item stays in the queue until a consumer that holds it has consumed it. It is
    held by at most one consumer whose session the servers know; when a consumer dies or gives it
    back, another one gets it. So the work on an item is done *at least once*, and more than once
    only if a consumer fails or loses its session in the middle of it.

    Items are taken by priority (lower first) and in the order in which they were put; one that
    comes back is the first of its priority again. The znodes are those of kazoo's `LockingQueue`.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._acl = acl
        self._entries = PriorityQueue(zk, child(path, "entries"), acl=acl)
        self._taken = child(path, "taken")

    def __repr__(self) -> str:
        return f"LockingQueue({self.path!r})"

    async def put(
        self, data: bytes, priority: int = USUAL_PRIORITY, *, repeat: bool = False
    ) -> None:
        """Add an item of a priority from 0 (first) to 999.

        With `repeat` at least once, else at most once: if the reply is lost, ConnectionLossError
        says that it is in doubt.
        """
        await self._entries.put(data, priority, repeat=repeat)

    async def put_all(
        self, items: Iterable[bytes], priority: int = USUAL_PRIORITY, *, repeat: bool = False
    ) -> None:
        """Add several items of one priority, all or none."""
        await self._entries.put_all(items, priority, repeat=repeat)

    async def size(self) -> int:
        """How many items there are, those that are held included."""
        return await self._entries.size()

    async def take(self) -> Item:
        """Wait for an item and hold it.

        Limit the time with `asyncio.timeout`: if this is cancelled, nothing is held.
        """
        if (item := await self.take_nowait()) is not None:
            return item
        try:
            async with Wakeups(self._zk, self._entries.path, self._taken) as wakeups:
                while (item := await self.take_nowait()) is None:
                    await wakeups.next()
        except asyncio.CancelledError:
            if item is not None:  # while the watches were being removed
                in_background(item.release())
            raise
        return item

    async def take_nowait(self) -> Item | None:
        """Hold the first item that nobody holds; None if there is none."""
        for entry in await self._available():
            if (item := await self._take(entry.name)) is not None:
                return item
        return None

    @asynccontextmanager
    async def item(self) -> AsyncGenerator[Item, None]:
        """Take an item for the block: released if that raises, consumed at its end otherwise.

        The block may consume or release the item itself.
        """
        item = await self.take()
        try:
            yield item
        except BaseException:
            await item.release()
            raise
        if not item.is_released:
            await item.consume()

    async def _available(self) -> list[Entry]:
        look = partial(names_of, self._zk)
        names, taken = await asyncio.gather(
            patiently(self._zk, partial(look, self._entries.path)),
            patiently(self._zk, partial(look, self._taken)),
        )
        free = set(names or ()) - set(taken or ())
        return sorted(filter(None, map(read_entry, free)))

    async def _take(self, name: str) -> Item | None:
        """Hold this item; None if somebody else does, or it is gone."""
        mark = (await new_prefix(self._zk)).encode()
        claim = _ItemClaim(self._zk, self._taken, name, mark)
        try:
            if not await self._lock(name, mark):
                return None
            claim.session_id = self._zk.session_id
            entry = child(self._entries.path, name)
            await claim.look()
            node = await patiently(self._zk, partial(read, self._zk, entry))
            if node is None or claim.is_gone:
                await claim.delete()
                return None
            return Item(claim, entry, node.data)
        except BaseException:
            claim.session_id = claim.session_id or self._zk.session_id
            claim.abandon()
            raise

    async def _lock(self, name: str, mark: bytes) -> bool:
        """Create the znode that says that the item is held; whether it is ours."""
        path = child(self._taken, name)

        async def commit() -> None:
            transaction = self._zk.transaction()
            transaction.check(child(self._entries.path, name), -1)
            transaction.create(path, mark, mode=CreateMode.EPHEMERAL, acl=self._acl)
            await transaction.commit()

        while True:
            try:
                await executed(self._zk, commit)
                return True
            except SessionExpiredError:
                await self._zk.wait_connected()
            except ConnectionLossError as error:
                await self._zk.wait_connected()
                if error.sent:
                    found = await read_latest(self._zk, path)
                    if found is not None:
                        is_ours = found.stat.ephemeral_owner == self._zk.session_id
                        return is_ours and found.data == mark
            except TransactionError as error:
                if isinstance(error.error, NodeExistsError):
                    return False
                if not isinstance(error.error, NoNodeError):
                    raise error.error from None
                if error.index == 0:
                    return False
                await ensure(self._zk, self._taken)
