"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kraal import recipes as aio
from kraal.client import Acl
from kraal.recipes.queues import USUAL_PRIORITY
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class PriorityQueue(Facade[aio.PriorityQueue]):
    """Lower priorities first, and first in, first out among equals; otherwise as `Queue`.

    See `kraal.recipes.PriorityQueue`.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.PriorityQueue(zk._async, path, acl=acl))

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
        """How many items there are."""
        return self._portal.run(self._async.size())

    def get(self) -> bytes:
        """Wait for an item, remove it and return its data."""
        return self._portal.run(self._async.get())

    def get_nowait(self) -> bytes | None:
        """Remove the first item and return its data; None if there is none to be had now."""
        return self._portal.run(self._async.get_nowait())

    def peek(self) -> bytes | None:
        """The data of the first item, which stays."""
        return self._portal.run(self._async.peek())


class Queue(Facade[aio.Queue]):
    """First in, first out.

    See `kraal.recipes.Queue`.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.Queue(zk._async, path, acl=acl))

    @property
    def path(self) -> str:
        return self._async.path

    def put(self, data: bytes, *, repeat: bool = False) -> None:
        """Add an item at the end; with `repeat` at least once, else at most once."""
        self._portal.run(self._async.put(data, repeat=repeat))

    def put_all(self, items: Iterable[bytes], *, repeat: bool = False) -> None:
        """Add several items, all or none, next to each other."""
        self._portal.run(self._async.put_all(items, repeat=repeat))

    def size(self) -> int:
        """How many items there are."""
        return self._portal.run(self._async.size())

    def get(self) -> bytes:
        """Wait for an item, remove it and return its data."""
        return self._portal.run(self._async.get())

    def get_nowait(self) -> bytes | None:
        """Remove the first item and return its data; None if there is none to be had now."""
        return self._portal.run(self._async.get_nowait())

    def peek(self) -> bytes | None:
        """The data of the first item, which stays."""
        return self._portal.run(self._async.peek())
