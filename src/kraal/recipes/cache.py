"""Caches: a part of the tree kept here, up to date by watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from kraal.client import (
    Client,
    ConnectionLossError,
    EventType,
    NoAuthError,
    Node,
    NoNodeError,
    SessionExpiredError,
    WatchEvent,
)
from kraal.recipes._arguments import check_count, check_place
from kraal.recipes._background import NOT_EXECUTED, Pauses, patiently
from kraal.recipes._names import child
from kraal.recipes._service import Service, logger
from kraal.recipes.errors import RecipeError

READS_AT_ONCE = 200
"""Reads on their way at the same time while a cache is filled."""
NAMED_AT_MOST = 5
"""Unreadable znodes that one line of the log names."""


class ChangeKind(Enum):
    """What has happened to a path."""

    ADDED = "added"
    UPDATED = "updated"
    """Other data, or another znode at the same path."""
    REMOVED = "removed"


class Change(NamedTuple):
    """How a path differs from what the reader of the changes has seen of it before."""

    kind: ChangeKind
    path: str
    node: Node | None
    """None if it was removed."""
    previous: Node | None
    """None if it was added."""


class TreeCache(Service):
    """Keeps a znode and everything below it, with data, in this process::

        async with TreeCache(zk, "/config") as cache:
            await cache.ready()
            node = cache.get("/config/limits")
            async for change in cache.changes():
                print(change.kind, change.path)

    Reads are answered at once, from memory, and may be behind the servers, as every read without
    `sync` may. The cache converges: whatever happens to connections and sessions, it ends up with
    the state that the servers have. `snapshot` gives a state that the whole tree really had at
    one moment. The path itself need not exist.

    It costs one watch on the server (persistent and recursive, which servers have since 3.6) and
    a read for each change. `max_depth` 0 is the znode alone, 1 its children as well, and so on.

    Stat: `num_children`, `cversion` and `pzxid` of a znode are of the time when its data was
    read; use the paths of the cache to know the children.

    A znode that this client may not read is left out with all below it, logged once and named by
    `unreadable`; the rest stays current. Servers tell of no change of an ACL, and nothing at all
    of a znode to whom may not read it, not even its deletion: what becomes unreadable stays here
    as it was until all is read again after a reconnect. What becomes readable comes with its next
    change, or then. When the path itself may not be read the cache ends by NoAuthError. Once a
    cache has ended by an error, whatever asks it for its content raises that.
    """

    def __init__(self, zk: Client, path: str, *, max_depth: int | None = None) -> None:
        super().__init__()
        if max_depth is not None:
            check_count("max_depth", max_depth, least=0)
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._max_depth = max_depth
        self._nodes: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {}
        self._unreadable: set[str] = set()
        """What was refused to this client when it was last read; nothing below is known."""
        self._told: frozenset[str] = frozenset()
        """The unreadable ones that were logged."""
        self._dirty: dict[str, None] = {}
        """Paths to be read, in the order in which they changed."""
        self._must_load = True
        self._is_filled = False
        self._is_busy = False
        self._is_unwatched = False
        self._woken = asyncio.Event()
        self._readers: set[_Pending] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    # What is in there

    def get(self, path: str) -> Node | None:
        """The znode as it is known here, or None."""
        self._check_alive()
        return self._nodes.get(path)

    def children(self, path: str) -> list[str]:
        """The sorted names of the children that are known here."""
        self._check_alive()
        return sorted(self._children.get(path, ()))

    @property
    def unreadable(self) -> frozenset[str]:
        """The paths that this client may not read; they and all below them are left out."""
        self._check_alive()
        return frozenset(self._unreadable)

    def __len__(self) -> int:
        self._check_alive()
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        """All paths that are known here."""
        self._check_alive()
        return iter(self._nodes)

    def __contains__(self, path: object) -> bool:
        self._check_alive()
        return path in self._nodes

    @property
    def is_consistent(self) -> bool:
        """Whether all that is here was so at one moment, and nothing newer is known of."""
        is_behind = self._dirty or self._must_load or self._is_busy
        return self._is_filled and self._failure is None and not is_behind

    async def ready(self) -> None:
        """Wait until the cache is filled for the first time.

        Raises NoAuthError if this client may not read the path.
        """
        self._check()
        await self._until(lambda: self._is_filled)

    async def snapshot(self) -> Mapping[str, Node]:
        """A copy of everything, by path, as it was at one moment on a server.

        Waits for the end of a burst of changes. What was written in one transaction is either
        all there or not at all.
        """
        self._check()
        await self._until(lambda: self.is_consistent)
        return dict(self._nodes)

    async def sync(self) -> None:
        """Wait until the cache shows all that was written, by anybody, before this call."""
        await self.ready()
        await patiently(self._zk, lambda: self._zk.sync(self.path))
        await self._until(lambda: self.is_consistent)

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Every znode that is known as ADDED, and from then on what changes.

        A slow reader gets one change for several of the same path, and what was added and
        removed meanwhile not at all; it always gets to the last state. It may begin before the
        cache is filled, and ends when that is closed.
        """
        pending = _Pending(dict.fromkeys(self._nodes))
        self._readers.add(pending)
        try:
            while True:
                while pending:
                    change = pending.next(self._nodes)
                    if change is not None:
                        yield change
                await self._until(lambda: bool(pending) or self._is_closed)
                if not pending:
                    return
        finally:
            self._readers.discard(pending)

    # How it gets there

    async def _run(self) -> None:
        recursive = self._max_depth != 0
        watch = await patiently(
            self._zk,
            lambda: self._zk.add_watch(self.path, self._on_event, recursive=recursive),
        )
        pauses: Pauses | None = None
        try:
            while True:
                self._woken.clear()
                if self._is_unwatched:
                    raise RecipeError(f"all watches of this client on {self.path} were removed")
                if not (self._must_load or self._dirty):
                    await self._woken.wait()
                    continue
                self._is_busy = True
                try:
                    await self._catch_up()
                    pauses = None
                except (ConnectionLossError, SessionExpiredError):
                    self._must_load = True
                    await self._zk.wait_connected()
                except NOT_EXECUTED as error:
                    self._must_load = True
                    pauses = pauses or Pauses(self._zk)
                    await pauses.next(error)
                finally:
                    self._is_busy = False
                self._log_unreadable()
                self._tell()
        finally:
            await watch.remove()

    def _on_event(self, event: WatchEvent) -> None:
        if event.type in (EventType.GAP, EventType.SESSION_LOST):
            self._must_load = True
        elif event.type is EventType.PERSISTENT_WATCH_REMOVED:
            self._is_unwatched = True
        elif event.type is not EventType.CHILDREN and self._is_inside(event.path):
            self._dirty[event.path] = None
        else:
            return
        self._woken.set()

    def _is_inside(self, path: str) -> bool:
        return self._max_depth is None or self._depth(path) <= self._max_depth

    def _depth(self, path: str) -> int:
        below = path[len(self.path.rstrip("/")) :].strip("/")
        return below.count("/") + 1 if below else 0

    async def _catch_up(self) -> None:
        """Read all that is known to have changed.

        A path is marked by its event before any answer shows the change, so that when all answers
        are there and nothing is marked, everything was read after its last change: the whole is
        the state at the moment of the last answer.
        """
        if self._must_load:
            self._must_load = False
            self._dirty.clear()
            await self._load()
            self._is_filled = self._is_filled or not self._must_load
            return
        marked = list(dict.fromkeys(self._hidden_by(path) or path for path in self._dirty))
        self._dirty.clear()
        for start in range(0, len(marked), READS_AT_ONCE):
            paths = marked[start : start + READS_AT_ONCE]
            hidden = self._unreadable.intersection(paths)
            try:
                found = await asyncio.gather(*map(self._read, paths))
            except BaseException:
                self._must_load = True
                raise
            for path, node in zip(paths, found, strict=True):
                if path in self._unreadable:
                    self._forget(path)
                elif self._hidden_by(path) is None:
                    self._put(path, node)
            if hidden - self._unreadable:
                self._must_load = True  # what is below was never read

    async def _load(self) -> None:
        """Read everything, from the root downwards, and forget what is not there any more."""
        found: set[str] = set()
        asked: set[str] = set()
        level = [self.path]
        while level:
            asked.update(level)
            below: list[str] = []
            for start in range(0, len(level), READS_AT_ONCE):
                paths = level[start : start + READS_AT_ONCE]
                read = await asyncio.gather(*map(self._read_with_children, paths))
                for path, (node, names) in zip(paths, read, strict=True):
                    self._put(path, node)
                    if node is not None:
                        found.add(path)
                        below += [child(path, name) for name in names]
            level = below
        self._unreadable &= asked
        for path in [path for path in self._nodes if path not in found]:
            if path not in self._dirty:
                self._put(path, None)

    async def _read(self, path: str) -> Node | None:
        return (await self._ask(path, with_children=False))[0]

    async def _read_with_children(self, path: str) -> tuple[Node | None, list[str]]:
        return await self._ask(path, with_children=self._is_inside(child(path, "x")))

    async def _ask(self, path: str, *, with_children: bool) -> tuple[Node | None, list[str]]:
        """The znode and the names of its children; None if it is not there or unreadable."""
        node: Node | None = None
        names: list[str] = []
        try:
            if with_children:
                node, names = await asyncio.gather(self._zk.get(path), self._zk.get_children(path))
            else:
                node = await self._zk.get(path)
        except NoAuthError:
            if path == self.path:
                raise
            self._unreadable.add(path)
            return None, []
        except NoNodeError:
            pass
        self._unreadable.discard(path)
        return node, names

    def _hidden_by(self, path: str) -> str | None:
        """The unreadable znode above a path, if there is one."""
        while self._unreadable and (path := path.rpartition("/")[0]):
            if path in self._unreadable:
                return path
        return None

    def _forget(self, path: str) -> None:
        """Leave out a znode and all below it."""
        for each in [each for each in self._nodes if each.startswith(f"{path}/")]:
            self._put(each, None)
        self._put(path, None)

    def _log_unreadable(self) -> None:
        new = sorted(self._unreadable - self._told)
        if len(new) > NAMED_AT_MOST:
            new[NAMED_AT_MOST:] = [f"and {len(new) - NAMED_AT_MOST} more"]
        if new:
            logger.warning("%s may not read, and leaves out: %s", self, ", ".join(new))
        self._told = frozenset(self._unreadable)

    def _put(self, path: str, node: Node | None) -> None:
        previous = self._nodes.get(path)
        if node is None:
            if previous is None:
                return
            del self._nodes[path]
            self._unlist(path)
        else:
            self._nodes[path] = node
            if previous is None and path != self.path:
                parent, _, name = path.rpartition("/")
                self._children.setdefault(parent or "/", set()).add(name)
            if previous is not None and _edition(previous) == _edition(node):
                return
        for pending in self._readers:
            pending.note(path, previous)

    def _unlist(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        names = self._children.get(parent or "/")
        if names is not None:
            names.discard(name)
            if not names:
                del self._children[parent or "/"]


class ChildrenCache(TreeCache):
    """Keeps the children of a znode, with their data; see `TreeCache`::

        async with ChildrenCache(zk, "/hosts") as cache:
            await cache.ready()
            print(cache.names(), cache.child("a"))

    The znode itself is in it, too; changes are told of it as of its children.
    """

    def __init__(self, zk: Client, path: str) -> None:
        super().__init__(zk, path, max_depth=1)

    def names(self) -> list[str]:
        """The sorted names of the children."""
        return self.children(self.path)

    def child(self, name: str) -> Node | None:
        """The child as it is known here, or None."""
        return self.get(child(self.path, name))


class NodeCache(TreeCache):
    """Keeps one znode; see `TreeCache`. The znode need not exist."""

    def __init__(self, zk: Client, path: str) -> None:
        super().__init__(zk, path, max_depth=0)

    def get(self, path: str | None = None) -> Node | None:
        """The znode as it is known here, or None; there is none at another `path`."""
        return super().get(self.path if path is None else path)

    @property
    def node(self) -> Node | None:
        """The znode as it is known here, or None if there is none."""
        return self.get(self.path)


class _Pending:
    """What one reader of changes has not seen yet: for each path what it saw there last."""

    def __init__(self, seen: dict[str, Node | None]) -> None:
        self._seen = seen

    def __bool__(self) -> bool:
        return bool(self._seen)

    def note(self, path: str, previous: Node | None) -> None:
        self._seen.setdefault(path, previous)

    def next(self, nodes: Mapping[str, Node]) -> Change | None:
        """The oldest change; None if it was undone meanwhile."""
        path = next(iter(self._seen))
        previous, node = self._seen.pop(path), nodes.get(path)
        if node is None:
            return previous and Change(ChangeKind.REMOVED, path, None, previous)
        if previous is None:
            return Change(ChangeKind.ADDED, path, node, None)
        if _edition(node) == _edition(previous):
            return None
        return Change(ChangeKind.UPDATED, path, node, previous)


def _edition(node: Node) -> tuple[int, int]:
    return node.stat.czxid, node.stat.mzxid
