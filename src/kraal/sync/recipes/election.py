"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kraal import recipes as aio
from kraal.client import Acl
from kraal.recipes._names import Layout
from kraal.sync.client import Client
from kraal.sync.portal import Facade
from kraal.sync.recipes.held import Held

T = TypeVar("T")


class LeaderElection(Facade[aio.LeaderElection]):
    """One candidate of an election; the candidate that leads runs a function.

    See `kraal.recipes.LeaderElection`.
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
            lambda: aio.LeaderElection(
                zk._async, path, identifier, layout=layout, strict=strict, acl=acl
            )
        )

    def run(self, lead: Callable[[Held], T]) -> T:
        """Stand for election until `lead` has returned, and return its result."""
        return self._portal.run(self._async.run(self._portal.in_thread(lead, Held._of)))

    def cancel(self) -> None:
        """Withdraw the candidates of this object that wait; a leader goes on."""
        self._portal.call(self._async.cancel)

    def contenders(self) -> list[str]:
        """The identifiers of all candidates, the leader's first."""
        return self._portal.run(self._async.contenders())

    def revoke(self) -> None:
        """Ask the leader to step down; see `Lock.revoke`."""
        self._portal.run(self._async.revoke())
