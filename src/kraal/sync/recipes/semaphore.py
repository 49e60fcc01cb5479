"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, overload

from kraal import recipes as aio
from kraal.client import Acl
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Held


class Semaphore(Facade[aio.Semaphore]):
    """At most `limit` places, each of which one client holds at a time.

    See `kraal.recipes.Semaphore`.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        limit: int,
        identifier: str | bytes = "",
        *,
        layout: Literal["curator", "kazoo"] = "curator",
        strict: bool = False,
        acl: Sequence[Acl] | None = None,
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.Semaphore(
                zk._async, path, limit, identifier, layout=layout, strict=strict, acl=acl
            )
        )

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def limit(self) -> int:
        return self._async.limit

    def holders(self) -> list[str]:
        """The identifiers of those who hold places, in no order."""
        return self._portal.run(self._async.holders())

    def contenders(self) -> list[str]:
        """The identifiers of those who wait, in the order in which they will get places."""
        return self._portal.run(self._async.contenders())

    @overload
    def acquire(self, *, timeout: float | None = None, blocking: Literal[True] = True) -> Held: ...

    @overload
    def acquire(self, *, timeout: float | None = None, blocking: Literal[False]) -> Held | None: ...

    @overload
    def acquire(self, *, timeout: float | None = None, blocking: bool) -> Held | None: ...

    def acquire(self, *, timeout: float | None = None, blocking: bool = True) -> Held | None:
        """Wait until it is this thread's, in the order of arrival, and return what is held."""
        value = self._portal.run(self._async.acquire(timeout=timeout, blocking=blocking))
        return None if value is None else Held._of(self._portal, value)

    def release(self) -> None:
        """Release what this thread acquired last; see `Holding.release`."""
        self._portal.end(self._async.release())

    def cancel(self) -> None:
        """End every wait in `acquire` of this object: they raise AcquireCancelledError."""
        self._portal.call(self._async.cancel)

    def __enter__(self) -> Held:
        return Held._of(self._portal, self._portal.run(self._async.__aenter__()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))
