"""How threads reach the asyncio client: an event loop in a thread of its own.

Each thread that calls has a task on that loop, which runs its calls one after the other: what the
recipes promise to a task holds for a thread. Callbacks run, in order, in a third thread, so that
they may call the client themselves.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import ContextVar
from queue import SimpleQueue
from time import monotonic
from typing import Any, Generic, ParamSpec, Self, TypeVar

from kraal.client import ClosedError, ForkedError
from kraal.client.arguments import check_callback
from kraal.recipes.errors import LostError
from kraal.recipes.held import Holding

logger = logging.getLogger("kraal.sync")
EXIT_SECONDS = 5.0
"""How long the end of the program waits for the loop's thread after a call that was left."""
T = TypeVar("T")
A = TypeVar("A")
W = TypeVar("W")
P = ParamSpec("P")

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def timeout(seconds: float | None) -> Iterator[None]:
    """Limit all calls in the block to so many seconds together, as `asyncio.timeout` does.

    When they are over the call that waits is cancelled, and raises TimeoutError: it leaves
    nothing behind, like a cancelled coroutine. The earliest of nested limits counts.
    """
    before = _deadline.get()
    until = None if seconds is None else monotonic() + seconds
    limits = [limit for limit in (before, until) if limit is not None]
    token = _deadline.set(min(limits) if limits else None)
    try:
        yield
    finally:
        _deadline.reset(token)


class Portal:
    """The loop, its thread, and the tasks of the threads that call; started at the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._callers = threading.local()
        self._callbacks: SimpleQueue[Callable[[], object] | None] | None = None
        self._pid = os.getpid()
        self._is_left = False
        """Whether a coroutine was left that may still be at work."""
        self.is_stopped = False

    @property
    def is_foreign(self) -> bool:
        """Whether this process is a child of the one that has the threads."""
        return self._pid != os.getpid()

    # Calls

    def leave(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run what ends a block; in a forked child there is nothing of its own to end."""
        if self.is_foreign:
            coroutine.close()
        else:
            self.run(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, as this thread's task, and return its result.

        Interrupted, by Ctrl-C or by `timeout`, it is cancelled and waited for; interrupted once
        more, it is left to end by itself, and this thread's next call has another task.
        """
        try:
            caller = self._caller()
        except BaseException:
            coroutine.close()
            raise
        try:
            return caller.call(coroutine)
        finally:
            if caller.is_left:
                self._is_left = True
                vars(self._callers).pop("caller", None)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the loop and return its result; here, when the loop has ended."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function()

        async def run() -> T:
            return function()

        return self.run(run())

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """What an asynchronous iterator gives; a generator is closed at the end."""
        try:
            while True:
                try:
                    item = self.run(_next(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            is_over = self.is_stopped or self.is_foreign
            if isinstance(items, AsyncGenerator) and not is_over:
                self.run(_close(items))

    @contextmanager
    def within(
        self, manager: AbstractAsyncContextManager[T], wrap: Callable[[Portal, T], W]
    ) -> Iterator[W]:
        """The block of an asynchronous context manager."""
        value = self.run(manager.__aenter__())
        try:
            yield wrap(self, value)
        except BaseException as error:
            if self.is_foreign:
                raise
            if not self.run(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.leave(_exit(manager))

    # What the loop calls

    def callback(self, function: Callable[P, object]) -> Callable[P, None]:
        """A function for the loop to call, which has `function` called in the thread for that."""
        check_callback(function)

        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            if self._callbacks is None:
                self._callbacks = SimpleQueue()
                threading.Thread(
                    target=_serve, args=(self._callbacks,), name="kraal-callbacks", daemon=True
                ).start()
            self._callbacks.put(lambda: function(*args, **kwargs))

        return call

    def in_thread(
        self, function: Callable[..., T], wrap: Callable[[Portal, Any], Any] | None = None
    ) -> Callable[..., Coroutine[Any, Any, T]]:
        """A coroutine function that runs `function` in a thread of its own.

        A thread cannot be cancelled: a cancelled coroutine ends when the function has ended. What
        is held for the function is lost to it at once, so that its `check` raises LostError.
        """

        async def run(*args: Any) -> T:
            given = args if wrap is None else [wrap(self, arg) for arg in args]
            loop = asyncio.get_running_loop()
            executor = ThreadPoolExecutor(1, thread_name_prefix="kraal-work")
            work = loop.run_in_executor(executor, lambda: function(*given))
            is_cut = False
            while not work.done():
                try:
                    await asyncio.wait((work,))
                except asyncio.CancelledError:
                    is_cut = True
                    for holding in args:
                        if isinstance(holding, Holding):
                            holding._lose("the call was cut short")
            executor.shutdown(wait=False)
            if not is_cut:
                return work.result()
            with suppress(LostError):  # nothing but the answer to that
                work.result()
            raise asyncio.CancelledError

        return run

    # Life

    def stop(self) -> None:
        """End the threads; a second time does nothing."""
        if self.is_foreign:  # the locks may be held by threads that do not exist here
            self.is_stopped = True
            return
        with self._lock:
            self.is_stopped = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            self._callers = threading.local()
        if self._callbacks is not None:
            self._callbacks.put(None)
            self._callbacks = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if self._is_left:  # it ends with what was left: at the latest the program's end waits
                atexit.register(thread.join, EXIT_SECONDS)
            elif thread is not threading.current_thread():
                thread.join()

    def _caller(self) -> _Caller:
        if self.is_foreign:
            raise ForkedError()
        if self.is_stopped:
            raise ClosedError()
        if threading.current_thread() is self._thread:
            raise RuntimeError("this thread runs the client: use kraal.client there")
        caller: _Caller | None = getattr(self._callers, "caller", None)
        if caller is None:
            caller = self._callers.caller = _Caller(self._running())
        return caller

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = loop = _new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(loop,), name="kraal-client", daemon=True
                )
                self._thread.start()
            return self._loop


class _Caller:
    """A thread's task on the loop: one call after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._answered = threading.Semaphore(0)
        self._waiting: asyncio.Future[Coroutine[Any, Any, Any] | None]
        self._task: asyncio.Task[None]
        self._calls = 0
        self._is_busy = False
        self._result: object = None
        self._error: BaseException | None = None
        self.is_left = False
        """Whether the thread has gone on before its call had ended."""
        loop.call_soon_threadsafe(self._begin)
        self._answered.acquire()

    def __del__(self) -> None:
        """Its thread has ended: so does its task, unless it is another process's."""
        if self._pid != os.getpid():
            return
        with suppress(RuntimeError):  # the loop may have ended already
            self._loop.call_soon_threadsafe(_end, self._waiting)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs in the thread."""
        self._calls += 1
        self._loop.call_soon_threadsafe(self._take, coroutine)
        deadline = _deadline.get()
        is_late = False
        try:
            left = None if deadline is None else max(deadline - monotonic(), 0)
            is_late = not self._answered.acquire(timeout=left)
            if is_late:
                self._loop.call_soon_threadsafe(self._cancel, self._calls)
                self._answered.acquire()
        except BaseException:
            try:
                self._loop.call_soon_threadsafe(self._cancel, self._calls)
                self._answered.acquire()
            except BaseException:
                self.is_left = True
            self._error = self._result = None
            raise
        error, self._error = self._error, None
        if isinstance(error, asyncio.CancelledError) and is_late:
            raise TimeoutError("the time is over") from None
        if error is not None:
            raise error
        result, self._result = self._result, None
        return result  # type: ignore[return-value]

    # On the loop

    def _begin(self) -> None:
        self._waiting = self._loop.create_future()
        self._task = self._loop.create_task(_work(weakref.ref(self), self._waiting))
        self._answered.release()

    def _take(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._is_busy = True
        self._waiting.set_result(coroutine)

    def _cancel(self, number: int) -> None:
        if self._is_busy and number == self._calls:
            self._task.cancel()

    def answer(
        self, waiting: asyncio.Future[Coroutine[Any, Any, Any] | None], result: object,
        error: BaseException | None,
    ) -> None:  # fmt: skip
        self._waiting = waiting
        self._is_busy = False
        self._result, self._error = result, error
        self._answered.release()


def _end(waiting: asyncio.Future[Coroutine[Any, Any, Any] | None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _work(
    caller: weakref.ref[_Caller], waiting: asyncio.Future[Coroutine[Any, Any, Any] | None]
) -> None:
    """Holds its caller only while that calls, so that a thread's end is noticed."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    while (coroutine := await waiting) is not None:
        result: object = None
        error: BaseException | None = None
        try:
            result = await coroutine
        except BaseException as raised:
            error = raised
            while task.cancelling():
                task.uncancel()
        del coroutine
        waiting = loop.create_future()
        asker = caller()
        if asker is None:
            return
        asker.answer(waiting, result, error)
        del asker, result, error


class Facade(Generic[A]):
    """What stands for an object of the asyncio API; its calls go through the portal."""

    _async: A
    _portal: Portal

    @classmethod
    def _of(cls, portal: Portal, value: A) -> Self:
        facade = cls.__new__(cls)
        facade._portal, facade._async = portal, value
        return facade

    @classmethod
    def _of_all(cls, portal: Portal, values: Sequence[A]) -> list[Self]:
        return [cls._of(portal, value) for value in values]

    def __repr__(self) -> str:
        return f"<kraal.sync {self._async!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Facade) and self._async is other._async

    def __hash__(self) -> int:
        return id(self._async)


class Event(Facade[asyncio.Event]):
    """Something that happens once: `is_set`, and `wait` until it has."""

    def is_set(self) -> bool:
        return self._async.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most so many seconds; whether it is set."""
        return self._portal.run(_wait(self._async, timeout))


async def _wait(event: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def _exit(manager: AbstractAsyncContextManager[Any]) -> None:
    await manager.__aexit__(None, None, None)


async def _close(items: AsyncGenerator[Any, Any]) -> None:
    await items.aclose()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
    finally:
        loop.close()


def _serve(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except Exception:
            logger.exception("a callback failed")
