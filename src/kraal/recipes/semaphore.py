"""A lock that several clients hold at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from kraal.client import Acl, BadVersionError, Client, NoNodeError, WatchEvent
from kraal.recipes._acquirable import Acquirable
from kraal.recipes._arguments import check_count, check_place, checked_identifier
from kraal.recipes._background import patiently
from kraal.recipes._claim import Claim, ensure_container
from kraal.recipes._names import LOCK_MARKS, Role, child
from kraal.recipes._queue import Queue, identifiers_of
from kraal.recipes.errors import LimitMismatchError
from kraal.recipes.held import Held


class Semaphore(Acquirable[Held]):
    """At most `limit` places, each of which one client holds at a time.

        semaphore = Semaphore(zk, "/locks/downloads", limit=5)
        async with semaphore:
            ...

    Promised: never more than `limit` places are held by clients whose sessions the servers know,
    and waiting ones get them in the order of their arrival. Who wants a place takes its turn in a
    queue (a lock), so that only the first in it watches the places; that one then creates its
    znode and holds a place as soon as there are no more znodes than places. What is said of
    `Held` and of `acquire` counts here, too. One task may acquire several places.

    All users have to agree on the limit: the first one writes it into the data of `path`, and
    LimitMismatchError is raised in those who come with another one. `path` is a container, so
    that it can be changed when nobody has used the semaphore for some minutes. Data that is no
    number is left alone, and then nothing is compared.

    `layout` ``"curator"`` is that of Curator's `InterProcessSemaphoreV2` (which compares no
    limits), ``"kazoo"`` that of kazoo's `Semaphore`; each excludes the holders of that library.
    There is none that excludes both, because each counts every child of a directory that the
    other one uses differently.
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
        super().__init__(repeatable=True)
        check_count("limit", limit)
        check_place(zk, path)
        self.path = path
        self.limit = limit
        if layout == "curator":
            self._places, gate = child(path, "leases"), child(path, "locks")
        elif layout == "kazoo":
            self._places, gate = path, f"{path}-__lock__"
        else:
            raise ValueError(f"layout must be curator or kazoo, not {layout!r}")
        self._zk = zk
        self._data = checked_identifier(identifier)
        self._strict = strict
        self._acl = acl
        marks = LOCK_MARKS.written(layout)
        self._gate = Queue(zk, gate, marks, Role.EXCLUSIVE, self._data, acl)

    def __repr__(self) -> str:
        return f"Semaphore({self.path!r}, {self.limit})"

    async def holders(self) -> list[str]:
        """The identifiers of those who hold places, in no order.

        The first one in the queue may be among them when there is no place free.
        """
        return await identifiers_of(self._zk, self._places, await self._children())

    async def contenders(self) -> list[str]:
        """The identifiers of those who wait, in the order in which they will get places."""
        return await self._gate.identifiers()

    async def _take(self, *, blocking: bool) -> Held | None:
        if not blocking and len(await self._children()) >= self.limit:
            return None
        await patiently(self._zk, partial(ensure_container, self._zk, self.path))
        while True:
            turn = await self._gate.take_turn(blocking=blocking)
            if turn is None:
                return None
            place = Claim(self._zk, self._places, ("lease-",), self._data, self._acl)
            try:
                await place.create()
                is_free = await self._wait(place, turn, blocking=blocking)
            except BaseException:
                place.abandon()
                raise
            finally:
                turn.abandon()
            if is_free:
                return Held(place, strict=self._strict, is_shared=self.limit > 1)
            await place.delete()
            if not blocking and not turn.is_gone:
                return None

    async def _wait(self, place: Claim, turn: Claim, *, blocking: bool) -> bool:
        """Whether there is a place for this client; False if not, or if its znodes are gone."""
        children, *_ = await asyncio.gather(self._children(), place.look(), self._agree())
        while not (place.is_gone or turn.is_gone) and place.names[0] in children:
            if len(children) <= self.limit:
                return True
            if not blocking:
                return False
            children = await self._wait_for_change(place, turn)
        return False

    async def _wait_for_change(self, place: Claim, turn: Claim) -> list[str]:
        """The children once they are few enough, or something has changed."""
        changed = asyncio.Event()

        def on_event(_: WatchEvent) -> None:
            changed.set()

        place.on_change = turn.on_change = changed.set
        try:
            children = await self._children(on_event)
            if len(children) > self.limit and not (place.is_gone or turn.is_gone):
                await changed.wait()
                children = await self._children()
            return children
        finally:
            place.on_change = turn.on_change = None
            self._zk.forget_watch(self._places, on_event)

    async def _children(self, watch: Callable[[WatchEvent], None] | None = None) -> list[str]:
        read = partial(self._zk.get_children, self._places, watch=watch)
        try:
            return await patiently(self._zk, read)
        except NoNodeError:
            return []

    async def _agree(self) -> None:
        """Compare the limit with that of the others, or be the first who says one."""
        while True:
            try:
                node = await patiently(self._zk, partial(self._zk.get, self.path))
                if not node.data:
                    write = partial(
                        self._zk.set, self.path, b"%d" % self.limit, version=node.stat.version
                    )
                    await patiently(self._zk, write)
                    return
            except NoNodeError:
                return  # the place is gone as well
            except BadVersionError:
                continue  # somebody else was first, or it was us and the reply was lost
            if node.data.isdigit() and int(node.data) != self.limit:
                raise LimitMismatchError(
                    f"{self.path} has {int(node.data)} places, not {self.limit}"
                )
            return
