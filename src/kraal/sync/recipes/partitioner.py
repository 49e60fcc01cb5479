"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from kraal import recipes as aio
from kraal.recipes import Allocation
from kraal.recipes.partitioner import Assign, in_turns
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class Partitioner(Facade[aio.Partitioner]):
    """Divides a set of partitions among the members of a group, each to one living member.

    See `kraal.recipes.Partitioner`.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        partitions: Iterable[str],
        identifier: str = "",
        *,
        assign: Assign = in_turns,
        settle: float = 0.0,
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.Partitioner(
                zk._async, path, partitions, identifier, assign=assign, settle=settle
            )
        )

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def identifier(self) -> str:
        return self._async.identifier

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Allocation:
        try:
            return self._portal.next(self._async)
        except StopAsyncIteration:
            raise StopIteration from None

    @property
    def allocation(self) -> Allocation:
        """The allocation now."""
        return self._async.allocation

    def start(self) -> None:
        """Begin to work; does not wait for anything. Raises NotRunningError the second time."""
        self._portal.run(self._async.start())

    def close(self) -> None:
        """End the work; nothing remains of it on the servers. Closing twice is no error."""
        self._portal.end(self._async.close())

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

    @property
    def is_running(self) -> bool:
        return self._async.is_running
