"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Literal, overload

from kraal import recipes as aio
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import ManyHeld
from kraal.sync.recipes.lock import QueueLock


class MultiLock(Facade[aio.MultiLock]):
    """Locks that are acquired together; `locks` may mix exclusive, read and write locks.

    See `kraal.recipes.MultiLock`.
    """

    def __init__(self, locks: Iterable[QueueLock]) -> None:
        locks = list(locks)
        self._portal = locks[0]._portal
        self._async = self._portal.call(lambda: aio.MultiLock([each._async for each in locks]))

    @overload
    def acquire(
        self, *, timeout: float | None = None, blocking: Literal[True] = True
    ) -> ManyHeld: ...

    @overload
    def acquire(
        self, *, timeout: float | None = None, blocking: Literal[False]
    ) -> ManyHeld | None: ...

    @overload
    def acquire(self, *, timeout: float | None = None, blocking: bool) -> ManyHeld | None: ...

    def acquire(self, *, timeout: float | None = None, blocking: bool = True) -> ManyHeld | None:
        """Wait until it is this thread's, in the order of arrival, and return what is held."""
        value = self._portal.run(self._async.acquire(timeout=timeout, blocking=blocking))
        return None if value is None else ManyHeld._of(self._portal, value)

    def release(self) -> None:
        """Release what this thread acquired last; see `Holding.release`."""
        self._portal.end(self._async.release())

    def cancel(self) -> None:
        """End every wait in `acquire` of this object: they raise AcquireCancelledError."""
        self._portal.call(self._async.cancel)

    def __enter__(self) -> ManyHeld:
        return ManyHeld._of(self._portal, self._portal.run(self._async.__aenter__()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))
