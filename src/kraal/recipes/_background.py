"""Work that takes its time: requests made until they are answered, and what nobody waits for."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from kraal.client import (
    AuthFailedError,
    Client,
    ClosedError,
    ConnectionLossError,
    NotReadOnlyError,
    Retry,
    SessionExpiredError,
    SessionState,
    ThrottledError,
    ZooKeeperError,
)

logger = logging.getLogger("kraal.recipes")
T = TypeVar("T")

NOT_EXECUTED = (ThrottledError, NotReadOnlyError)
"""What refuses a request for now, whatever it asks for: it has had no effect, and may later on."""
PAUSES = Retry(base=0.1, max=5.0)

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


class Pauses:
    """How long a request that was NOT_EXECUTED waits before it is made again, longer each time."""

    def __init__(self, zk: Client) -> None:
        self._zk = zk
        self._count = 0
        self._rng: random.Random | None = None

    async def next(self, error: ZooKeeperError) -> None:
        """Wait until another attempt may have better luck; a change of the state ends the pause.

        A client at a read-only server waits until it has found one that can write. Raises
        ClosedError and AuthFailedError when there is nothing to wait for.
        """
        self._count += 1
        if self._rng is None:
            # Other clients that were refused at the same moment do not come back at the same one.
            self._rng = random.Random(self._zk.session_id)
            logger.warning("refused for now, and tried again later on: %s", error)
        if self._zk.state is SessionState.CONNECTED_READ_ONLY and isinstance(
            error, NotReadOnlyError
        ):
            await self._zk.wait_connected(read_write=True)
            return
        changed = asyncio.Event()
        unsubscribe = self._zk.on_state(lambda _: changed.set())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSES.pause(self._count, self._rng)):
                    await changed.wait()
        finally:
            unsubscribe()


async def executed(zk: Client, request: Callable[[], Awaitable[T]]) -> T:
    """Make a request again as long as it is NOT_EXECUTED; it may be one that must not happen twice.

    Raises whatever else it ends with. The session may be another one than at first.
    """
    pauses: Pauses | None = None
    while True:
        try:
            return await request()
        except NOT_EXECUTED as error:
            pauses = pauses or Pauses(zk)
            await pauses.next(error)


async def patiently(zk: Client, request: Callable[[], Awaitable[T]]) -> T:
    """Make a request that may be repeated until it is answered, over connections and sessions.

    Raises what the server answers, unless that is for now only (NOT_EXECUTED), and ClosedError
    when the client is closed.
    """
    while True:
        try:
            return await executed(zk, request)
        except (ConnectionLossError, SessionExpiredError):
            await zk.wait_connected()


async def while_session_lives(
    zk: Client, session_id: int, request: Callable[[], Awaitable[None]]
) -> None:
    """The same, but only as long as the session lives: what it owned goes with it."""
    pauses: Pauses | None = None
    while zk.session_id == session_id:
        try:
            return await request()
        except ConnectionLossError:
            await zk.wait_connected()
        except NOT_EXECUTED as error:
            pauses = pauses or Pauses(zk)
            await pauses.next(error)
        except SessionExpiredError:
            return None
    return None
