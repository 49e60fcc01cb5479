"""Following a znode, or its children: the latest value, and each later one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from kraal.client import Client, Node, NoNodeError
from kraal.recipes._arguments import check_place
from kraal.recipes._background import patiently
from kraal.recipes._wakeups import Wakeups

T = TypeVar("T")


def follow(zk: Client, path: str) -> AsyncGenerator[Node | None, None]:
    """The znode now, and again whenever it has changed; None while there is none::

        async for node in follow(zk, "/config"):
            print(node.data if node else "no configuration")

    What happens while the reader is busy is not repeated one by one: it gets the state in which
    that ended. The last state is never missed, over lost connections and expired sessions. The
    watch goes when the iterator is closed (`contextlib.aclosing` does that at once; a `break`
    alone, when the iterator is collected), and a reader that is cancelled in `anext`, as by a
    timeout around it, closes it, too: put the timeout around the work, or begin anew. Raises
    NoAuthError if reading is not permitted and ClosedError when the client is closed.
    """
    check_place(zk, path)
    return _follow(zk, path, partial(read, zk, path), _edition)


def follow_children(zk: Client, path: str) -> AsyncGenerator[list[str] | None, None]:
    """The sorted names of the children now, and again whenever they have changed.

    None while there is no such znode. Otherwise as `follow`.
    """
    check_place(zk, path)
    return _follow(zk, path, partial(names_of, zk, path), lambda names: names)


async def read(zk: Client, path: str) -> Node | None:
    """The znode, or None."""
    try:
        return await zk.get(path)
    except NoNodeError:
        return None


async def names_of(zk: Client, path: str) -> list[str] | None:
    """The sorted names of the children, or None if there is no such znode."""
    try:
        return sorted(await zk.get_children(path))
    except NoNodeError:
        return None


def _edition(node: Node | None) -> object:
    """What tells one state of a znode from another; its children do not matter."""
    return node and (node.stat.czxid, node.stat.mzxid)


async def _follow(
    zk: Client,
    path: str,
    look: Callable[[], Awaitable[T]],
    mark: Callable[[T], object],
) -> AsyncGenerator[T, None]:
    """Values whose `mark` is another one than that of the value before."""
    async with Wakeups(zk, path) as wakeups:
        value = await patiently(zk, look)
        yield value
        while True:
            await wakeups.next()
            seen, value = mark(value), await patiently(zk, look)
            if mark(value) != seen:
                yield value
