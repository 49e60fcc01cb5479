"""The partitioner: a set that the living members of a group divide among themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Self
from urllib.parse import quote

from kraal.client import Client, ClosedError
from kraal.recipes._arguments import check_function, check_place, check_seconds, checked_identifier
from kraal.recipes._background import finish, in_background, patiently
from kraal.recipes._claim import new_prefix
from kraal.recipes._names import child
from kraal.recipes._service import Service, logger
from kraal.recipes._wakeups import Wakeups
from kraal.recipes.following import names_of
from kraal.recipes.held import Held
from kraal.recipes.lock import Lock
from kraal.recipes.persistent_node import PersistentNode

Assign = Callable[[Sequence[str], Sequence[str], str], Iterable[str]]
"""`assign(partitions, members, me)`: which of the sorted partitions are mine.

All members have to use the same function, and it has to depend on nothing else.
"""


def in_turns(partitions: Sequence[str], members: Sequence[str], me: str) -> Iterable[str]:
    """To each member one partition after the other, so that shares differ by at most one."""
    return partitions[members.index(me) :: len(members)]


class Allocation(NamedTuple):
    """What a member owns, and what it must not own any longer."""

    held: Mapping[str, Held]
    """The partitions that are this member's, with their fencing tokens (`Held.token`)."""
    revoked: frozenset[str]
    """Partitions of an earlier allocation on which work has to stop now."""
    is_settled: bool
    """Whether this is the member's whole share, as the group is now.

    False while it is no member, as between two sessions.
    """

    @property
    def owned(self) -> frozenset[str]:
        return frozenset(self.held)


class Partitioner(Service):
    """Divides a set of partitions among the members of a group, each to one living member::

        async with Partitioner(zk, "/jobs", ["a", "b", "c"], "host-1") as partitioner:
            async for allocation in partitioner:
                for name in allocation.revoked:
                    await stop_working_on(name)
                for name, held in allocation.held.items():
                    start_working_on(name, held.token)

    An allocation is yielded whenever it has changed. Asking for the next one says that work on
    the `revoked` ones has stopped: only then are they given to others. So no partition has two
    owners when members come and go, and who does not ask again keeps what it has.

    A partition that is lost (see `Held`: the session has ended, or cannot be relied on) is among
    the revoked as well, and `Held.lost` says so at once; others may own it by then already, and
    refuse the older fencing token. After an expiry the member comes back by itself. What ends the
    membership before its time, such as a missing permission, ends all that it holds in the same way
    and is raised by the iteration.

    Promised: while members neither come nor go, every partition gets an owner, and only one; a
    partition is moved only when the group changes. With `settle`, a change of the group has no
    effect until nothing has changed for so many seconds.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        partitions: Iterable[str],
        identifier: str = "",
        *,
        assign: Assign = in_turns,
        settle: float = 0.0,
    ) -> None:
        super().__init__()
        check_place(zk, path)
        self._zk = zk
        self.path = path
        if isinstance(partitions, str | bytes):
            raise TypeError(f"partitions are several texts, not {partitions!r:.100}")
        given = set(partitions)
        if not all(isinstance(each, str) and each for each in given):
            raise TypeError("partitions are texts that are not empty")
        checked_identifier(identifier)
        check_seconds("settle", settle)
        check_function("assign", assign)
        self.partitions = tuple(sorted(given))
        self.identifier = identifier
        self._assign = assign
        self._settle = settle
        self._held: dict[str, Held] = {}
        self._revoked: dict[str, Held] = {}
        """Not ours any more; released as soon as the user has stopped working on them."""
        self._acquiring: dict[str, asyncio.Task[None]] = {}
        self._wanted: frozenset[str] = frozenset()
        self._is_planned = False
        self._is_member = False
        """Whether the plan was made for a group that this member belongs to."""
        self._shown: Allocation | None = None
        self._wakeups: Wakeups | None = None

    def __repr__(self) -> str:
        return f"Partitioner({self.path!r}, {len(self.partitions)} partitions)"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Allocation:
        """The next allocation; work on what was `revoked` by the one before has stopped."""
        self._give_away()
        await self._until(lambda: self._is_over or (self._is_planned and self._is_news()))
        self._check_alive()
        if self._is_closed:
            raise StopAsyncIteration
        self._shown = self.allocation
        return self._shown

    @property
    def allocation(self) -> Allocation:
        """The allocation now."""
        is_settled = self._is_member and self._wanted == set(self._held) and not self._revoked
        return Allocation(dict(self._held), frozenset(self._revoked), is_settled)

    @property
    def _is_over(self) -> bool:
        return self._is_closed or self._failure is not None

    def _is_news(self) -> bool:
        return self._shown is None or self._shown != self.allocation

    async def _run(self) -> None:
        members = child(self.path, "members")
        me = (await new_prefix(self._zk)).removeprefix("_c_") + "member"
        node = PersistentNode(self._zk, child(members, me), self.identifier.encode())
        node._on_failure = self._fail
        try:
            async with node, Wakeups(self._zk, members) as self._wakeups:
                await node.ready()
                while True:
                    names = await self._settled(members)
                    self._plan(names, me)
                    await self._wakeups.next()
        except Exception as error:
            self._failure = error
            raise
        finally:
            self._wakeups = None
            await self._release_all()

    async def _settled(self, members: str) -> list[str]:
        """The names of the members, once they have not changed for a while."""
        look = partial(names_of, self._zk, members)
        names = await patiently(self._zk, look)
        while self._settle and self._is_planned:
            await asyncio.sleep(self._settle)
            before, names = names, await patiently(self._zk, look)
            if names == before:
                break
        return names or []

    def _plan(self, members: Sequence[str], me: str) -> None:
        """Begin to acquire what is missing, and revoke what is too much."""
        self._is_member = me in members
        mine = self._assign(self.partitions, members, me) if self._is_member else ()
        self._wanted = frozenset(mine)
        for name in [name for name in self._acquiring if name not in self._wanted]:
            self._acquiring.pop(name).cancel()
        for name in [name for name in self._held if name not in self._wanted]:
            self._revoke(name)
        for name in sorted(self._wanted):
            if not (name in self._held or name in self._revoked or name in self._acquiring):
                task = asyncio.get_running_loop().create_task(self._acquire(name))
                self._acquiring[name] = task
        self._is_planned = True
        self._tell()

    async def _acquire(self, name: str) -> None:
        path = child(self.path, f"owners/{quote(name, safe='')}")
        try:
            held = await Lock(self._zk, path, self.identifier, layout="curator").acquire()
        except Exception as error:
            self._fail(error)
            return
        finally:
            if self._acquiring.get(name) is asyncio.current_task():
                del self._acquiring[name]
        self._held[name] = held
        held.on_loss(partial(self._on_loss, name, held))
        self._tell()

    def _fail(self, error: Exception) -> None:
        """End the work because of an error in one of its parts."""
        if self._task is not None and self._failure is None:
            self._failure = error
            if not isinstance(error, ClosedError):
                logger.error("%s has ended: %s", self, error)
            self._task.cancel()
            self._tell()

    def _on_loss(self, name: str, held: Held) -> None:
        if self._held.get(name) is held:
            self._revoke(name)
            self._replan()

    def _revoke(self, name: str) -> None:
        held = self._held.pop(name)
        if self._shown is not None and name in self._shown.held:
            self._revoked[name] = held
        else:
            in_background(held.release())  # nobody has begun to work on it
        self._tell()

    def _give_away(self) -> None:
        """Release what the user has stopped working on."""
        if self._shown is None or not self._shown.revoked:
            return
        for name in sorted(self._shown.revoked):
            if (held := self._revoked.pop(name, None)) is not None:
                in_background(held.release())
        self._replan()

    def _replan(self) -> None:
        if self._wakeups is not None:
            self._wakeups.wake()

    async def _release_all(self) -> None:
        for task in self._acquiring.values():
            task.cancel()
        try:
            if self._acquiring:
                await asyncio.wait(self._acquiring.values())
        finally:
            held = [*self._held.values(), *self._revoked.values()]
            self._held, self._revoked = {}, {}
            self._is_member = False
            if self._failure is not None:
                for each in held:  # nobody has said that work on it has stopped
                    each._lose(f"{self} has ended: {self._failure}")
            await finish(*(each.release() for each in held))
