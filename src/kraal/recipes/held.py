"""What a lock, a place of a semaphore or a leadership is while it is held; how it is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from kraal.client import ForkedError, SessionState
from kraal.recipes._background import finish, serving
from kraal.recipes._claim import Claim
from kraal.recipes.errors import LostError

logger = logging.getLogger("kraal.recipes")
T = TypeVar("T")

SILENCE = "no server was heard of for the session's timeout"

_holdings: weakref.WeakSet[Holding] = weakref.WeakSet()


def _disown_all() -> None:
    for holding in list(_holdings):
        holding._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


class Holding(ABC):
    """Something that is held until `release`, or until it is lost.

    In a process forked from the holder's it is lost from the beginning.
    """

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        """Set once, when it is lost."""
        self.depth = 1
        """How often a re-entrant lock was acquired and not released."""
        self._on_loss: list[Callable[[], None]] = []
        self._on_release: list[Callable[[], None]] = []
        self._reason = ""
        self._is_released = False
        self._over = asyncio.Event()
        """Set once, when it is lost or released."""
        _holdings.add(self)

    @abstractmethod
    def __str__(self) -> str:
        """What is held, for messages."""

    def __repr__(self) -> str:
        state = "released" if self._is_released else "lost" if self.lost.is_set() else "held"
        return f"<{type(self).__name__} {self} {state}>"

    @property
    def is_released(self) -> bool:
        return self._is_released

    @property
    @abstractmethod
    def is_sure(self) -> bool:
        """Whether it is held and there is a connection to a server that knows the session.

        False while disconnected: the servers may end the session at any moment after its timeout.
        """

    def check(self) -> None:
        """Raise LostError if it is lost or released."""
        if self.lost.is_set():
            raise LostError(f"{self} is lost: {self._reason}")
        if self._is_released:
            raise LostError(f"{self} is released")

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` while this is held, and return its result; it stays held afterwards.

        When it is lost or released, the work is cancelled, waited for, and LostError raised. If
        that is so already, LostError is raised and the work not begun. If the work ends by an
        exception of its own, that is raised.
        """
        if not asyncio.iscoroutine(work):
            raise TypeError(f"what is run must be a coroutine, not {work!r:.100}")
        try:
            self.check()
        except LostError:
            work.close()
            raise
        loop = asyncio.get_running_loop()
        task = serving(work)
        over = loop.create_task(self._over.wait())
        try:
            await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await _end(task)
                with suppress(asyncio.CancelledError):
                    task.result()
                self.check()
            return task.result()
        finally:
            over.cancel()
            await _end(task)

    async def release(self) -> None:
        """Give it up; without effect on what is released already.

        When this returns the znode is deleted. If there is no connection it is not yet: the
        deletion then goes on in the background until it succeeds, or the session has ended.
        """
        if self._is_released:
            return
        self._is_released = True
        self._over.set()
        for tell in self._on_release:
            tell()
        await self._give_up()

    @abstractmethod
    async def _give_up(self) -> None:
        """Delete what stands for it."""

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this is lost; at once if it is lost already."""
        self._on_loss.append(callback)
        if self.lost.is_set():
            callback()

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this is released."""
        self._on_release.append(callback)

    def _lose(self, reason: str) -> None:
        if not self.lost.is_set() and not self._is_released:
            self._reason = reason
            self.lost.set()
            self._over.set()
            logger.warning("%s is lost: %s", self, reason)
            for tell in self._on_loss:
                tell()

    def _disown(self) -> None:
        """This process is a child of the one that holds it; nobody is called back here."""
        if not self.lost.is_set() and not self._is_released:
            self._reason = ForkedError.text
            # An event loop in debug mode minds being told so by another thread.
            for event in (self.lost, self._over):
                with suppress(RuntimeError):
                    event.set()


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, also when this is cancelled meanwhile."""
    is_cancelled = False
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError


class Held(Holding):
    """A lock, a place of a semaphore or a leadership, which a znode stands for.

    `lost` is set, and `check` raises, as soon as this client knows that it does not hold it any
    more, or cannot rule it out:

    - the session has expired, or the client was closed;
    - no server has answered for as long as the session's timeout (`Client.session_deadline`): they
      may have ended the session, and someone else may hold it. This rests on what is said there,
      and for `lost` on the event loop running; `check` and `is_sure` look at the clock anew;
    - somebody has deleted the znode;
    - with `strict`, the connection is lost, because from then on nobody can know.

    No promise is made for the moments of a stopped process, of a blocked event loop, or of a
    server that serves on while it is cut off from its ensemble: another client can hold it before
    this one notices. What must not happen twice has to carry `token`, which is higher for every
    later holder, and the resource has to refuse it after a higher one (a *fencing token*).

    What is lost keeps its znode until `release`: while this client is still at work, only the end
    of its session gives others their turn.
    """

    def __init__(self, claim: Claim, *, strict: bool = False, is_shared: bool = False) -> None:
        super().__init__()
        self.revoked = asyncio.Event()
        """Set once, when somebody asks for it (see `Lock.revoke`); holding on is no error."""
        self.is_shared = is_shared
        """Whether others may hold it at the same time, as readers do."""
        self._claim = claim
        self._zk = claim.zk
        self._strict = strict
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        claim.on_change = self._on_claim
        self._unsubscribe = self._zk.on_state(self._on_state)
        self._on_claim()
        self._on_state(self._zk.state)
        self._watch_deadline()

    def __str__(self) -> str:
        return self.path

    def check(self) -> None:
        """Raise LostError if it is lost or released.

        The clock is read anew, so that a process which was stopped for too long does not pass.
        """
        if not self._is_released and self._loop.time() >= self._zk.session_deadline:
            self._lose(SILENCE)
        super().check()

    @property
    def token(self) -> int:
        """The fencing token: the zxid at which the place in the queue was taken (czxid)."""
        return self._claim.token

    @property
    def path(self) -> str:
        """The path of the znode that stands for it; of a pair, the first."""
        return self._claim.paths[0]

    @property
    def is_sure(self) -> bool:
        return (
            not self._is_released
            and not self.lost.is_set()
            and self._zk.state is SessionState.CONNECTED
            and self._loop.time() < self._zk.session_deadline
        )

    async def exchange(self, marks: tuple[str, ...]) -> None:
        """Become a shared holding, at the same place of the queue, with znodes of other marks."""
        await self._claim.exchange(marks)
        self.is_shared = True

    async def _give_up(self) -> None:
        self._claim.on_change = None
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
        await self._claim.delete()

    def _lose(self, reason: str) -> None:
        """What is noticed first, such as the end of the znode, may follow from something else."""
        if self._zk.is_closed:
            reason = "the client was closed"
        elif self._zk.session_id != self._claim.session_id:
            reason = "the session is over"
        super()._lose(reason)

    def _on_claim(self) -> None:
        if self._claim.is_revoked:
            self.revoked.set()
        if self._claim.is_gone:
            self._lose("its znode is gone")

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            if self._zk.session_id != self._claim.session_id:
                self._lose("the session is over")
        elif state in (SessionState.CONNECTING, SessionState.CONNECTED_READ_ONLY):
            if self._strict:
                self._lose("the connection is lost")
        else:
            self._lose(state.value)

    def _watch_deadline(self) -> None:
        """Lose it when the servers may have ended the session; else look again then."""
        if self.lost.is_set():
            return
        deadline = self._zk.session_deadline
        if self._loop.time() >= deadline:
            self._lose(SILENCE)
        else:
            self._timer = self._loop.call_at(deadline, self._watch_deadline)


class ManyHeld(Holding):
    """Several holdings as one: it is lost when one of them is."""

    def __init__(self, parts: Sequence[Held]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        """In the order in which they were acquired."""
        for part in self.parts:
            part.on_loss(partial(self._lose, f"{part} is lost"))

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))

    @property
    def is_sure(self) -> bool:
        return not self._is_released and all(part.is_sure for part in self.parts)

    async def _give_up(self) -> None:
        await finish(*(part.release() for part in self.parts))
