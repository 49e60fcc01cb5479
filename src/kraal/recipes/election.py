"""Leader election: a coroutine that runs while its candidate leads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from kraal.client import Acl, Client
from kraal.recipes._arguments import check_coroutine_function, coroutine_of
from kraal.recipes._names import Layout
from kraal.recipes.errors import LostError
from kraal.recipes.held import Held
from kraal.recipes.lock import Lock

T = TypeVar("T")


class LeaderElection:
    """One candidate of an election; the candidate that leads runs a coroutine.

        async def lead(leadership: Held) -> None:
            while True:
                await do_one_thing(epoch=leadership.token)

        await LeaderElection(zk, "/elections/scheduler", "host-1").run(lead)

    Promised is what `Lock` promises of its holder: at most one candidate whose session the
    servers know leads at a time, the next one is who has waited longest, and a leader that dies
    is followed by another one after the session's timeout at the latest. `leadership.token` is
    the epoch, which grows from leader to leader; see `Held` for what a leader learns of its end,
    and for why what it does should carry its epoch.

    Excluded are leaders of kazoo's `Election` and of Curator's `LeaderSelector`, unless `layout`
    says otherwise, as for `Lock`. With `strict` leadership ends when the connection does, not
    only when the session may have.
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
        self._lock = Lock(zk, path, identifier, layout=layout, strict=strict, acl=acl)

    def __repr__(self) -> str:
        return f"LeaderElection({self._lock.path!r})"

    async def run(self, lead: Callable[[Held], Coroutine[Any, Any, T]]) -> T:
        """Stand for election until `lead` has returned, and return its result.

        When this candidate is elected, `lead` runs. If leadership is lost meanwhile `lead` is
        cancelled, and when it has ended the candidate stands again. What `lead` raises is raised
        here. Leadership is given up in every case before this returns, also when it is cancelled.
        Raises AcquireCancelledError after `cancel`, what `Lock.acquire` raises, and TypeError for
        what is no coroutine function: at once, or if only its result tells, after the first call.
        """
        check_coroutine_function(lead)
        while True:
            leadership = await self._lock.acquire()
            try:
                return await leadership.run(coroutine_of(lead, leadership))
            except LostError:
                if not leadership.lost.is_set():
                    raise
            finally:
                await leadership.release()

    def cancel(self) -> None:
        """Withdraw the candidates of this object that wait; a leader goes on."""
        self._lock.cancel()

    async def contenders(self) -> list[str]:
        """The identifiers of all candidates, the leader's first."""
        return await self._lock.contenders()

    async def revoke(self) -> None:
        """Ask the leader to step down; see `Lock.revoke`."""
        await self._lock.revoke()
