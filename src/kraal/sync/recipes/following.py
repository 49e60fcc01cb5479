"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from kraal import recipes as aio
from kraal.client import Node
from kraal.sync.client import Client


def follow(zk: Client, path: str) -> Iterator[Node | None]:
    """The znode now, and again whenever it has changed; None while there is none."""
    return zk._portal.iterate(aio.follow(zk._async, path))


def follow_children(zk: Client, path: str) -> Iterator[list[str] | None]:
    """The sorted names of the children now, and again whenever they have changed."""
    return zk._portal.iterate(aio.follow_children(zk._async, path))
