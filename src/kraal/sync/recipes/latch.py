"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from kraal import recipes as aio
from kraal.client import Acl
from kraal.recipes import Participant
from kraal.recipes._names import Layout
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Held


class LeaderLatch(Facade[aio.LeaderLatch]):
    """Takes part in an election from `start` to `close`, and says whether this client leads.

    See `kraal.recipes.LeaderLatch`.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str | bytes = "",
        *,
        layout: Layout = "kraal",
        strict: bool = False,
        acl: Sequence[Acl] | None = None,
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.LeaderLatch(
                zk._async, path, identifier, layout=layout, strict=strict, acl=acl
            )
        )

    @property
    def leadership(self) -> Held | None:
        """The leadership of this client, with its token and whether it is sure, if it leads."""
        value = self._async.leadership
        return None if value is None else Held._of(self._portal, value)

    @property
    def is_leading(self) -> bool:
        """Whether this client leads, as far as it knows; see `Held.is_sure`."""
        return self._async.is_leading

    @property
    def token(self) -> int:
        """The epoch of this client's leadership. Raises NotHeldError if it does not lead."""
        return self._async.token

    def wait_leading(self) -> Held:
        """Wait until this client leads, and return its leadership."""
        return Held._of(self._portal, self._portal.run(self._async.wait_leading()))

    def on_change(self, callback: Callable[[bool], None]) -> Callable[[], None]:
        """Call `callback(is_leading)` at every change; returns what ends that."""
        value = self._portal.call(lambda: self._async.on_change(self._portal.callback(callback)))
        return lambda: self._portal.call(value)

    def participants(self) -> list[Participant]:
        """Everybody who takes part, the leader first, then in the order of succession."""
        return self._portal.run(self._async.participants())

    def leader(self) -> str | None:
        """The identifier of the leader, whoever that is; None if nobody takes part."""
        return self._portal.run(self._async.leader())

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
