"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from kraal import recipes as aio
from kraal.client import Acl
from kraal.recipes._names import Layout
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Held
from kraal.sync.recipes.lock import QueueLock


class ReadWriteLock(Facade[aio.ReadWriteLock]):
    """`read` is a lock that any number of clients hold, `write` one that excludes all others.

    See `kraal.recipes.ReadWriteLock`.
    """

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
            lambda: aio.ReadWriteLock(
                zk._async,
                path,
                identifier,
                layout=layout,
                reentrant=reentrant,
                strict=strict,
                acl=acl,
            )
        )

    @property
    def read(self) -> QueueLock:
        return QueueLock._of(self._portal, self._async.read)

    @property
    def write(self) -> QueueLock:
        return QueueLock._of(self._portal, self._async.write)

    def downgrade(self, held: Held) -> None:
        """Make a writer a reader, in one transaction: no other writer gets in between."""
        self._portal.run(self._async.downgrade(held._async))

    def contenders(self) -> list[str]:
        """See `Lock.contenders`; readers and writers."""
        return self._portal.run(self._async.contenders())
