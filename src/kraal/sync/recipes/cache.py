"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from kraal import recipes as aio
from kraal.client import Node
from kraal.recipes import Change
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class TreeCache(Facade[aio.TreeCache]):
    """Keeps a znode and everything below it, with data, in this process.

    See `kraal.recipes.TreeCache`.
    """

    def __init__(self, zk: Client, path: str, *, max_depth: int | None = None) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.TreeCache(zk._async, path, max_depth=max_depth))

    @property
    def path(self) -> str:
        return self._async.path

    def get(self, path: str) -> Node | None:
        """The znode as it is known here, or None."""
        return self._portal.call(lambda: self._async.get(path))

    def children(self, path: str) -> list[str]:
        """The sorted names of the children that are known here."""
        return self._portal.call(lambda: self._async.children(path))

    @property
    def unreadable(self) -> frozenset[str]:
        """The paths that this client may not read; they and all below them are left out."""
        return self._async.unreadable

    def __len__(self) -> int:
        return self._portal.call(lambda: len(self._async))

    def __contains__(self, path: object) -> bool:
        return self._portal.call(lambda: path in self._async)

    @property
    def is_consistent(self) -> bool:
        """Whether all that is here was so at one moment, and nothing newer is known of."""
        return self._async.is_consistent

    def ready(self) -> None:
        """Wait until the cache is filled for the first time."""
        self._portal.run(self._async.ready())

    def snapshot(self) -> Mapping[str, Node]:
        """A copy of everything, by path, as it was at one moment on a server."""
        return self._portal.run(self._async.snapshot())

    def sync(self) -> None:
        """Wait until the cache shows all that was written, by anybody, before this call."""
        self._portal.run(self._async.sync())

    def changes(self) -> Iterator[Change]:
        """Every znode that is known as ADDED, and from then on what changes."""
        return self._portal.iterate(self._async.changes())

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


class ChildrenCache(TreeCache):
    """Keeps the children of a znode, with their data; see `TreeCache`.

    See `kraal.recipes.ChildrenCache`.
    """

    _async: aio.ChildrenCache

    def __init__(self, zk: Client, path: str) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.ChildrenCache(zk._async, path))

    def names(self) -> list[str]:
        """The sorted names of the children."""
        return self._portal.call(self._async.names)

    def child(self, name: str) -> Node | None:
        """The child as it is known here, or None."""
        return self._portal.call(lambda: self._async.child(name))


class NodeCache(TreeCache):
    """Keeps one znode; see `TreeCache`. The znode need not exist.

    See `kraal.recipes.NodeCache`.
    """

    _async: aio.NodeCache

    def __init__(self, zk: Client, path: str) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.NodeCache(zk._async, path))

    def get(self, path: str | None = None) -> Node | None:
        """The znode as it is known here, or None; there is none at another `path`."""
        return self._portal.call(lambda: self._async.get(path))

    @property
    def node(self) -> Node | None:
        """The znode as it is known here, or None if there is none."""
        return self._async.node
