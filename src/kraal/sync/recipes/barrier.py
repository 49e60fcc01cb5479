"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from kraal import recipes as aio
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class Barrier(Facade[aio.Barrier]):
    """A barrier is closed while its znode is there.

    See `kraal.recipes.Barrier`.
    """

    def __init__(self, zk: Client, path: str) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.Barrier(zk._async, path))

    @property
    def path(self) -> str:
        return self._async.path

    def create(self) -> None:
        """Close the way, unless it is closed."""
        self._portal.run(self._async.create())

    def remove(self) -> bool:
        """Open it. Returns whether it was closed; True as well if the answer to that was lost."""
        return self._portal.end(self._async.remove())

    def is_closed(self) -> bool:
        return self._portal.run(self._async.is_closed())

    def wait(self) -> None:
        """Wait until the barrier is removed; at once if there is none."""
        self._portal.run(self._async.wait())


class DoubleBarrier(Facade[aio.DoubleBarrier]):
    """`count` members begin together and end together, again and again.

    See `kraal.recipes.DoubleBarrier`.
    """

    def __init__(self, zk: Client, path: str, count: int, identifier: str | bytes = "") -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.DoubleBarrier(zk._async, path, count, identifier)
        )

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def count(self) -> int:
        return self._async.count

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))

    def enter(self) -> int:
        """Wait until enough members are there; returns the number of the round, from 1."""
        return self._portal.run(self._async.enter())

    def leave(self) -> None:
        """Leave, and wait until all members of the round have left or are dead."""
        self._portal.end(self._async.leave())
