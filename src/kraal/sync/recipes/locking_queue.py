"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from kraal import recipes as aio
from kraal.client import Acl
from kraal.recipes.queues import USUAL_PRIORITY
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Held


class LockingQueue(Facade[aio.LockingQueue]):
    """Items that are worked on by one consumer at a time, until one has said that it is done.

    See `kraal.recipes.LockingQueue`.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.LockingQueue(zk._async, path, acl=acl))

    @property
    def path(self) -> str:
        return self._async.path

    def put(self, data: bytes, priority: int = USUAL_PRIORITY, *, repeat: bool = False) -> None:
        """Add an item of a priority from 0 (first) to 999."""
        self._portal.run(self._async.put(data, priority, repeat=repeat))

    def put_all(
        self, items: Iterable[bytes], priority: int = USUAL_PRIORITY, *, repeat: bool = False
    ) -> None:
        """Add several items of one priority, all or none."""
        self._portal.run(self._async.put_all(items, priority, repeat=repeat))

    def size(self) -> int:
        """How many items there are, those that are held included."""
        return self._portal.run(self._async.size())

    def take(self) -> Item:
        """Wait for an item and hold it."""
        return Item._of(self._portal, self._portal.run(self._async.take()))

    def take_nowait(self) -> Item | None:
        """Hold the first item that nobody holds; None if there is none."""
        value = self._portal.run(self._async.take_nowait())
        return None if value is None else Item._of(self._portal, value)

    def item(self) -> AbstractContextManager[Item]:
        """Take an item for the block: released if that raises, consumed at its end otherwise."""
        return self._portal.within(self._async.item(), Item._of)


class Item(Held):
    """An item that this client holds, until `consume` or `release`, or until it is lost.

    See `kraal.recipes.Item`.
    """

    _async: aio.Item

    @property
    def data(self) -> bytes:
        return self._async.data

    @property
    def path(self) -> str:
        """The path of the znode that says that the item is held."""
        return self._async.path

    def consume(self) -> None:
        """Remove the item for good; it is done."""
        self._portal.run(self._async.consume())
