"""Walking through a subtree, with requests under way for what comes next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import NamedTuple

from kraal.client import Client, NoNodeError, WatchCallback
from kraal.shell.paths import child

AHEAD = 64
"""Requests that are under way at once."""


class Visit(NamedTuple):
    """A znode of the walk and the names of its children, sorted."""

    path: str
    names: list[str]

    def children(self) -> Iterator[str]:
        """The paths of the children."""
        return (child(self.path, name) for name in self.names)


async def walk(
    zk: Client, path: str, watch: WatchCallback | None = None
) -> AsyncGenerator[Visit, None]:
    """A znode and all below it, depth first and parents first; siblings in their order.

    It is no snapshot: what is deleted meanwhile is left out, `path` itself included. Every znode
    gets `watch` on its children. Raises what `get_children` raises.
    """
    stack = [path]
    ahead: dict[str, asyncio.Task[list[str]]] = {}
    try:
        while stack:
            if len(ahead) < AHEAD // 2:
                for each in reversed(stack[-AHEAD:]):
                    if each not in ahead:
                        ahead[each] = asyncio.create_task(zk.get_children(each, watch=watch))
            visited = stack.pop()
            try:
                names = await ahead.pop(visited)
            except NoNodeError:
                continue
            visit = Visit(visited, sorted(names))
            yield visit
            stack += reversed([*visit.children()])
    finally:
        for task in ahead.values():
            task.cancel()
        await asyncio.gather(*ahead.values(), return_exceptions=True)
