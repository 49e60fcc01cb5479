"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kraal import recipes as aio
from kraal.sync.portal import Event, Facade


class Holding(Facade[aio.Holding]):
    """Something that is held until `release`, or until it is lost.

    See `kraal.recipes.Holding`.
    """

    @property
    def lost(self) -> Event:
        """Set once, when it is lost."""
        return Event._of(self._portal, self._async.lost)

    @property
    def depth(self) -> int:
        """How often a re-entrant lock was acquired and not released."""
        return self._async.depth

    @property
    def is_released(self) -> bool:
        return self._async.is_released

    @property
    def is_sure(self) -> bool:
        """Whether it is held and there is a connection to a server that knows the session."""
        return self._async.is_sure

    def check(self) -> None:
        """Raise LostError if it is lost or released."""
        self._portal.call(self._async.check)

    def release(self) -> None:
        """Give it up; without effect on what is released already."""
        self._portal.end(self._async.release())

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this is lost; at once if it is lost already."""
        self._portal.call(lambda: self._async.on_loss(self._portal.callback(callback)))

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this is released."""
        self._portal.call(lambda: self._async.on_release(self._portal.callback(callback)))


class Held(Holding):
    """A lock, a place of a semaphore or a leadership, which a znode stands for.

    See `kraal.recipes.Held`.
    """

    _async: aio.Held

    @property
    def revoked(self) -> Event:
        """Set once, when somebody asks for it (see `Lock.revoke`); holding on is no error."""
        return Event._of(self._portal, self._async.revoked)

    @property
    def is_shared(self) -> bool:
        """Whether others may hold it at the same time, as readers do."""
        return self._async.is_shared

    def check(self) -> None:
        """Raise LostError if it is lost or released."""
        self._portal.call(self._async.check)

    @property
    def token(self) -> int:
        """The fencing token: the zxid at which the place in the queue was taken (czxid)."""
        return self._async.token

    @property
    def path(self) -> str:
        """The path of the znode that stands for it; of a pair, the first."""
        return self._async.path

    @property
    def is_sure(self) -> bool:
        return self._async.is_sure

    def exchange(self, marks: tuple[str, ...]) -> None:
        """Become a shared holding, at the same place of the queue, with znodes of other marks."""
        self._portal.run(self._async.exchange(marks))


class ManyHeld(Holding):
    """Several holdings as one: it is lost when one of them is.

    See `kraal.recipes.ManyHeld`.
    """

    _async: aio.ManyHeld

    def __init__(self, parts: Sequence[Held]) -> None:
        parts = list(parts)
        self._portal = parts[0]._portal
        self._async = self._portal.call(lambda: aio.ManyHeld([each._async for each in parts]))

    @property
    def is_sure(self) -> bool:
        return self._async.is_sure
