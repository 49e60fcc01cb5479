"""Work that goes on when nobody waits for it any more: deletions, and watches to remove."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from kraal.client import (
    AuthFailedError,
    Client,
    ClosedError,
    ConnectionLossError,
    SessionExpiredError,
)

logger = logging.getLogger("kraal.recipes")
T = TypeVar("T")

_running: set[asyncio.Task[None]] = set()
"""The loop itself keeps only weak references to its tasks."""


def in_background(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """Run `work` as a task of its own; its failure is logged, unless the client is closed."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Task[None]) -> None:
    _running.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ClosedError | AuthFailedError):
        logger.warning("cleaning up failed: %s", error)


def lasting(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """Run `work` as a task that goes on when those who wait for it are cancelled.

    Await it through `asyncio.shield`; nobody need be there to see how it ends.
    """
    task = serving(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def serving(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `work` as a task whose owner may look at how it ended, and need not."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_look_away)
    return task


async def finish(*works: Coroutine[object, object, None]) -> None:
    """Do all of these at once, each to its end even if this is cancelled.

    (`gather` alone would cancel what has not begun before it has done anything.)
    """
    await asyncio.gather(*(asyncio.shield(lasting(work)) for work in works))


def _look_away(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def patiently(zk: Client, request: Callable[[], Awaitable[T]]) -> T:
    """Make a request that may be repeated until it is answered, over connections and sessions.

    Raises what the server answers, and ClosedError when the client is closed.
    """
    while True:
        try:
            return await request()
        except (ConnectionLossError, SessionExpiredError):
            await zk.wait_connected()


async def while_session_lives(
    zk: Client, session_id: int, request: Callable[[], Awaitable[None]]
) -> None:
    """The same, but only as long as the session lives: what it owned goes with it."""
    while zk.session_id == session_id:
        try:
            return await request()
        except ConnectionLossError:
            await zk.wait_connected()
        except SessionExpiredError:
            return None
    return None
