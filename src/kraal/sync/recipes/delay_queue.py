"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from kraal import recipes as aio
from kraal.client import Acl
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class DelayQueue(Facade[aio.DelayQueue]):
    """Items that can be taken when their delay is over, earliest first.

    See `kraal.recipes.DelayQueue`.
    """

    def __init__(self, zk: Client, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.DelayQueue(zk._async, path, acl=acl))

    @property
    def path(self) -> str:
        return self._async.path

    def put(self, data: bytes, delay: float, *, repeat: bool = False) -> None:
        """Add an item that can be taken after `delay` seconds."""
        self._portal.run(self._async.put(data, delay, repeat=repeat))

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
