"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from kraal import recipes as aio
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class BlockIds(Facade[aio.BlockIds]):
    """Numbers from blocks that are reserved ahead: most are given without any request.

    See `kraal.recipes.BlockIds`.
    """

    def __init__(self, zk: Client, path: str, size: int = 1000, *, first: int = 0) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.BlockIds(zk._async, path, size, first=first))

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def size(self) -> int:
        return self._async.size

    @property
    def first(self) -> int:
        return self._async.first

    def next(self) -> int:
        """An id that nobody has got before. Raises RecipeError if the znode holds no number."""
        return self._portal.run(self._async.next())

    def reserve(self) -> range:
        """A whole block for the caller alone."""
        return self._portal.run(self._async.reserve())


class SequenceIds(Facade[aio.SequenceIds]):
    """Small numbers in the order in which they were asked for, one request for each.

    See `kraal.recipes.SequenceIds`.
    """

    def __init__(self, zk: Client, path: str) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.SequenceIds(zk._async, path))

    @property
    def path(self) -> str:
        return self._async.path

    def next(self) -> int:
        """An id that nobody has got before."""
        return self._portal.run(self._async.next())
