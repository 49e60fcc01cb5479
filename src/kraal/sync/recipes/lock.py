"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, overload

from kraal import recipes as aio
from kraal.client import Acl
from kraal.recipes._names import Layout, Marks, Role
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Held


class QueueLock(Facade[aio.QueueLock]):
    """A lock that is one queue of contenders; what the exclusive and the shared one share.

    See `kraal.recipes.QueueLock`.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str | bytes,
        marks: Marks,
        role: Role,
        *,
        layout: Layout,
        reentrant: bool,
        strict: bool,
        acl: Sequence[Acl] | None,
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.QueueLock(
                zk._async,
                path,
                identifier,
                marks,
                role,
                layout=layout,
                reentrant=reentrant,
                strict=strict,
                acl=acl,
            )
        )

    @property
    def path(self) -> str:
        return self._async.path

    def contenders(self) -> list[str]:
        """The identifiers of all contenders, the holder's first, then as they will follow."""
        return self._portal.run(self._async.contenders())

    def revoke(self) -> None:
        """Ask the first contender to give up: its `Held.revoked` is set. It need not comply."""
        self._portal.run(self._async.revoke())

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


class Lock(QueueLock):
    """A lock that one client at a time holds, in the order in which they asked for it.

    See `kraal.recipes.Lock`.
    """

    _async: aio.Lock

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str | bytes = "",
        *,
        layout: Layout = "kraal",
        reentrant: bool = False,
        strict: bool = False,
        acl: Sequence[Acl] | None = None,
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.Lock(
                zk._async,
                path,
                identifier,
                layout=layout,
                reentrant=reentrant,
                strict=strict,
                acl=acl,
            )
        )
