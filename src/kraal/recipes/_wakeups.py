"""Waiting for a change of znodes: a persistent watch that wakes one waiter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from kraal.client import Client, EventType, Watch, WatchEvent
from kraal.recipes._background import patiently
from kraal.recipes.errors import RecipeError

T = TypeVar("T")


class Wakeups:
    """Says that something may have changed, as long as the block lasts::

        async with Wakeups(zk, path) as wakeups:
            while not good(await patiently(zk, read)):
                await wakeups.next()

    A change after a read that was made in the block is never missed: connections and sessions
    that end are changes, too, and so is the end of the client, after which a read raises
    ClosedError. When the block is left, in whatever way, no watch remains on the server.
    """

    def __init__(self, zk: Client, *paths: str, recursive: bool = False) -> None:
        self._zk = zk
        self._paths = paths
        self._recursive = recursive
        self._event = asyncio.Event()
        self._is_removed = False
        self._watches: list[Watch] = []

    async def __aenter__(self) -> Self:
        try:
            for path in self._paths:
                add = partial(self._zk.add_watch, path, self._wake, recursive=self._recursive)
                self._watches.append(await patiently(self._zk, add))
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._remove()

    async def next(self) -> None:
        """Wait for a change since the last call, or since the block was entered.

        Raises RecipeError when the application has removed the watch: nothing would come.
        """
        await self._event.wait()
        self._event.clear()
        if self._is_removed:
            raise RecipeError(f"the watch of {', '.join(self._paths)} was removed")

    def wake(self) -> None:
        """Count as a change what something else than a watch has told."""
        self._event.set()

    def _wake(self, event: WatchEvent) -> None:
        self._is_removed |= event.type is EventType.PERSISTENT_WATCH_REMOVED
        self._event.set()

    async def _remove(self) -> None:
        """Remove one after the other, each even if the task is cancelled again meanwhile."""
        if self._watches:
            try:
                await self._watches.pop().remove()
            finally:
                await self._remove()


async def wait_for(
    zk: Client, path: str, condition: Callable[[], Awaitable[T | None]], *, recursive: bool = False
) -> T:
    """Wait until `condition` finds something else than None, and return it.

    It is asked at first and after each change of the path; see `Wakeups`.
    """
    if (found := await patiently(zk, condition)) is not None:
        return found
    async with Wakeups(zk, path, recursive=recursive) as wakeups:
        while (found := await patiently(zk, condition)) is None:
            await wakeups.next()
        return found
