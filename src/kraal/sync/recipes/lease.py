"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from kraal import recipes as aio
from kraal.recipes import Term
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Holding


class Lease(Facade[aio.Lease]):
    """At most one holder at a time, for `duration` seconds, without any waiting.

    See `kraal.recipes.Lease`.
    """

    def __init__(
        self, zk: Client, path: str, duration: float, identifier: str | None = None
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.Lease(zk._async, path, duration, identifier))

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def duration(self) -> float:
        return self._async.duration

    def obtain(self) -> LeaseHeld | None:
        """Take or renew the lease; None if it is somebody else's."""
        value = self._portal.run(self._async.obtain())
        return None if value is None else LeaseHeld._of(self._portal, value)

    def holder(self) -> Term | None:
        """Who obtained the lease last, and until when; that may be over. None: nobody."""
        return self._portal.run(self._async.holder())


class MultiLease(Facade[aio.MultiLease]):
    """One lease of `count`, for work that up to so many hosts are to do.

    See `kraal.recipes.MultiLease`.
    """

    def __init__(
        self, zk: Client, path: str, count: int, duration: float, identifier: str | None = None
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.MultiLease(zk._async, path, count, duration, identifier)
        )

    @property
    def path(self) -> str:
        return self._async.path

    def obtain(self) -> LeaseHeld | None:
        """Take or renew one of the leases; None if all are others'. See `Lease.obtain`."""
        value = self._portal.run(self._async.obtain())
        return None if value is None else LeaseHeld._of(self._portal, value)


class LeaseHeld(Holding):
    """A lease until its end: `lost` is set when that has come, as the local clock counts.

    See `kraal.recipes.LeaseHeld`.
    """

    _async: aio.LeaseHeld

    def __init__(self, lease: Lease, token: int, end: float) -> None:
        self._portal = lease._portal
        self._async = self._portal.call(lambda: aio.LeaseHeld(lease._async, token, end))

    @property
    def token(self) -> int:
        return self._async.token

    @property
    def end(self) -> float:
        """When it ends, on the clock of the event loop (`loop.time()`)."""
        return self._async.end

    @property
    def remaining(self) -> float:
        """Seconds until its end, not below 0."""
        return self._async.remaining

    @property
    def is_sure(self) -> bool:
        return self._async.is_sure

    def renew(self) -> None:
        """Hold it for the whole duration from now on. Raises LostError if it has ended."""
        self._portal.run(self._async.renew())
