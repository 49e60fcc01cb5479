"""Walking through a subtree, with requests under way for what comes next.

A walk is no snapshot: the server has none to give. Every znode is read for itself, at a time of
its own; what is deleted before its turn comes is told as such, what is created behind the walk's
back is not seen.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kraal.client import Acl, Client, NoAuthError, NoNodeError, Retry, Stat, WatchCallback
from kraal.shell.paths import child

UNDER_WAY = 64
"""Znodes that are being read at once."""
AHEAD = 512
"""Znodes that are being read or were, before their turn has come."""
AHEAD_BYTES = 16 << 20
"""Data that waits for its turn; nothing more is asked for while there is so much."""
PATIENT = Retry(attempts=12)
"""Reads are repeated for some ten seconds when the connection is lost."""
RESERVED = "/zookeeper"
"""The server's own znodes: quotas, membership."""


@dataclass(frozen=True, slots=True)
class Znode:
    """A znode of the walk, or why it could not be read."""

    path: str
    names: Sequence[str] = ()
    """Of the children that the walk goes on to, sorted."""
    stat: Stat | None = None
    data: bytes = b""
    acl: tuple[Acl, ...] | None = None
    """None: not asked for."""
    fault: NoNodeError | NoAuthError | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it was deleted after its parent had been read."""
        return isinstance(self.fault, NoNodeError)

    def children(self) -> Iterator[str]:
        """The paths of the children."""
        return (child(self.path, name) for name in self.names)


Read = Callable[[str], Awaitable[Znode]]


async def walk(
    zk: Client, path: str, watch: WatchCallback | None = None
) -> AsyncGenerator[Znode, None]:
    """The names of a znode and of all below it, depth first and parents first, in their order.

    What is deleted meanwhile is left out, `path` itself included. Every znode gets `watch` on its
    children. Raises what `get_children` raises.
    """

    async def read(each: str) -> Znode:
        try:
            return Znode(each, sorted(await zk.get_children(each, watch=watch)))
        except NoNodeError as error:
            return Znode(each, fault=error)

    async with aclosing(preorder(path, read)) as znodes:
        async for znode in znodes:
            if not znode.is_gone:
                yield znode


async def subtree(
    zk: Client,
    path: str,
    *,
    data: bool = False,
    acl: bool = False,
    depth: int | None = None,
    skip: Collection[str] = (),
) -> AsyncGenerator[Znode, None]:
    """A znode and all below it with their stats, and with data and ACLs if they are wanted.

    Depth first and parents first, siblings in the order of their names. It goes down at most
    `depth` levels and not into `skip`. Znodes that are gone or may not be read have a `fault`;
    that of the first is raised. Lost connections are waited for (PATIENT).
    """
    patient = zk.retrying(PATIENT)
    deepest = None if depth is None else _depth(path) + depth

    async def read(each: str) -> Znode:
        is_last = deepest is not None and _depth(each) >= deepest
        names: Sequence[str] = ()
        content = b""
        try:
            if data:
                content, stat = await patient.get(each)
                if stat.num_children and not is_last:
                    names = await patient.get_children(each)
            elif is_last:
                found = await patient.exists(each)
                if found is None:
                    raise NoNodeError(path=each)
                stat = found
            else:
                names, stat = await patient.get_children_with_stat(each)
            entries = tuple((await patient.get_acl(each)).acl) if acl else None
        except (NoNodeError, NoAuthError) as error:
            return Znode(each, fault=error)
        if skip:
            names = [name for name in names if child(each, name) not in skip]
        return Znode(each, sorted(names), stat, content, entries)

    async with aclosing(preorder(path, read)) as znodes:
        is_first = True
        async for znode in znodes:
            if is_first and znode.fault is not None:
                raise znode.fault
            is_first = False
            yield znode


def _depth(path: str) -> int:
    return path.count("/") if path != "/" else 0


async def preorder(path: str, read: Read) -> AsyncGenerator[Znode, None]:
    """What `read` finds at a path and below it: each znode before its children.

    `read` runs ahead for many znodes at once, those first whose turn comes first.
    """
    ahead = _Ahead(read)
    ahead.expect((0,), iter((path,)))
    levels = [iter((path,))]
    try:
        while levels:
            following = next(levels[-1], None)
            if following is None:
                levels.pop()
                continue
            znode = await ahead.take(following)
            yield znode
            if znode.names:
                levels.append(znode.children())
    finally:
        await ahead.close()


Place = tuple[int, ...]
"""Where a znode comes in the walk: its number among its siblings, behind its parent's place."""


class _Ahead:
    """Reads that are under way or done, before their turn has come."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._tasks: dict[str, asyncio.Task[Znode]] = {}
        self._next: list[tuple[Place, Iterator[str]]] = []
        """A heap: siblings that are to be read, and the place of the first of them."""
        self._under_way = 0
        self._bytes = 0

    def expect(self, place: Place, siblings: Iterator[str]) -> None:
        heapq.heappush(self._next, (place, siblings))
        self._fill()

    async def take(self, path: str) -> Znode:
        """The znode whose turn has come, which is the first one in the walk's order."""
        while path not in self._tasks:
            self._begin()
        znode = await self._tasks[path]
        del self._tasks[path]
        self._bytes -= len(znode.data)
        self._fill()
        return znode

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _fill(self) -> None:
        while (
            self._next
            and self._under_way < UNDER_WAY
            and len(self._tasks) < AHEAD
            and self._bytes < AHEAD_BYTES
        ):
            self._begin()

    def _begin(self) -> None:
        """Read the first znode that nobody reads yet."""
        place, siblings = self._next[0]
        path = next(siblings, None)
        if path is None:
            heapq.heappop(self._next)
            return
        heapq.heapreplace(self._next, ((*place[:-1], place[-1] + 1), siblings))
        self._under_way += 1
        self._tasks[path] = asyncio.create_task(self._run(place, path))

    async def _run(self, place: Place, path: str) -> Znode:
        try:
            znode = await self._read(path)
        finally:
            self._under_way -= 1
        self._bytes += len(znode.data)
        if znode.names:
            self.expect((*place, 0), znode.children())
        else:
            self._fill()
        return znode
