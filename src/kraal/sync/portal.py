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
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from queue import SimpleQueue
from typing import Any, Generic, NoReturn, ParamSpec, Self, TypeVar

from kraal.client import ClosedError, ForkedError
from kraal.client.arguments import check_callback
from kraal.recipes.errors import LostError
from kraal.recipes.held import Holding
from kraal.sync.deadline import TIME_IS_OVER, doubts, seconds_left

logger = logging.getLogger("kraal.sync")
EXIT_SECONDS = 5.0
"""How long the end of a client, or of the program, waits for calls that go on."""
END_SECONDS = 5.0
"""How long what ends a block may go on after the time of `timeout` is over."""
T = TypeVar("T")
A = TypeVar("A")
W = TypeVar("W")
P = ParamSpec("P")


class Portal:
    """The loop, its thread, and the tasks of the threads that call; started at the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._callers = threading.local()
        self._calls: set[_Call] = set()
        self.workers: set[_Worker] = set()
        """Those with a task: a loop itself does not keep what waits."""
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

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, as this thread's task, and return its result.

        Interrupted, by Ctrl-C or by `timeout`, it is cancelled and waited for; interrupted once
        more, it is left to end by itself, and this thread's next call has another task.
        """
        seconds = seconds_left()
        if seconds is not None and seconds <= 0:
            coroutine.close()
            raise TimeoutError(TIME_IS_OVER)
        return self._run_within(seconds, coroutine)

    def end(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run what ends something, so that nothing is left behind: it may outlast `timeout`."""
        seconds = seconds_left()
        return self._run_within(None if seconds is None else max(seconds, END_SECONDS), coroutine)

    def leave(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run what ends a block; in a forked child there is nothing of its own to end."""
        if self.is_foreign:
            coroutine.close()
        else:
            self.end(coroutine)

    def drop(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """As `leave`, for what ends with its client at the latest."""
        try:
            self.leave(coroutine)
        except ClosedError:
            if not self.is_stopped:
                raise

    def _run_within(self, seconds: float | None, coroutine: Coroutine[Any, Any, T]) -> T:
        call = _Call(coroutine)
        caller: _Caller | None = None
        is_late = False
        try:
            self._calls.add(call)  # before it is given: who ends the loop answers all of these
            caller = self._caller()
            caller.give(call)
            is_late = not call.wait(seconds)
            if is_late:
                caller.cancel(call)
                call.wait(None)
        except BaseException as interrupt:  # also a KeyboardInterrupt between any two of these
            self._abandon(caller, call)
            for doubt in doubts(call.error):
                interrupt.add_note(doubt)
            raise
        finally:
            self._calls.discard(call)
        error, call.error = call.error, None
        if error is None:
            return call.result  # type: ignore[return-value]
        try:
            if is_late and isinstance(error, asyncio.CancelledError):
                raise TimeoutError("; ".join((TIME_IS_OVER, *doubts(error)))) from None
            raise error
        finally:
            del error

    def _abandon(self, caller: _Caller | None, call: _Call) -> None:
        """Cancel a call whose thread was interrupted, and wait for its end."""
        if caller is None:
            call.coroutine.close()
            return
        try:
            caller.cancel(call)
            call.wait(None)
        except ClosedError:
            call.coroutine.close()
        except BaseException:
            self._is_left = True

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the loop and return its result; here, when the loop has ended.

        It waits for nothing, so that no `timeout` cuts it short.
        """
        if self._loop is None or threading.current_thread() is self._thread:
            return function()

        async def run() -> T:
            return function()

        return self.end(run())

    def next(self, items: AsyncIterator[T]) -> T:
        """The next of an asynchronous iterator, or StopAsyncIteration.

        What has come before the client was closed can still be read.
        """
        try:
            return self.run(_next(items))
        except ClosedError:
            # Generators have ended with the loop.
            if not self.is_stopped or self.is_foreign or isinstance(items, AsyncGenerator):
                raise
            return _next_left(items)

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """What an asynchronous iterator gives; a generator is closed at the end."""
        try:
            while True:
                try:
                    item = self.next(items)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            is_over = self.is_stopped or self.is_foreign
            if isinstance(items, AsyncGenerator) and not is_over:
                self.end(_close(items))

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
            if not self.end(manager.__aexit__(type(error), error, error.__traceback__)):
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
        Raises TypeError for a coroutine function, which no thread would await.
        """
        check_callback(function)

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
        """End the threads; a second time does nothing.

        Who still calls gets ClosedError. What a function in a thread holds up is waited for only
        briefly; it then ends the loop's thread later.
        """
        if self.is_foreign:  # the locks may be held by threads that do not exist here
            self.is_stopped = True
            return
        with self._lock:
            self.is_stopped = True
            loop, self._loop = self._loop, None
            self._callers = threading.local()
        if self._callbacks is not None:
            self._callbacks.put(None)
            self._callbacks = None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            if not self._is_left:
                self._join()

    def exit(self) -> None:
        """The program ends without `close`: end the loop, and the threads that wait in silence."""
        if not self.is_foreign:
            for call in list(self._calls):
                call.is_forgotten = True
            self.stop()
            self._join()

    def _join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(EXIT_SECONDS)

    def _caller(self) -> _Caller:
        if self.is_foreign:
            raise ForkedError()
        if self.is_stopped:
            raise ClosedError()
        if threading.current_thread() is self._thread:
            raise RuntimeError("this thread runs the client: use kraal.client there")
        caller: _Caller | None = getattr(self._callers, "caller", None)
        if caller is not None and not caller.is_busy:
            return caller
        new = _Caller(self._running(), _Worker(self))
        if caller is None or caller.last not in self._calls:  # else a signal's handler calls
            self._callers.caller = new
        return new

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self.is_stopped:
                raise ClosedError()
            if self._loop is None:
                loop = _new_event_loop()
                thread = threading.Thread(
                    target=self._serve_calls, args=(loop,), name="kraal-client", daemon=True
                )
                try:
                    thread.start()
                except BaseException:  # interrupted, it may have started
                    loop.call_soon_threadsafe(loop.stop)
                    raise
                self._thread = thread
                _running.add(self)
                self._loop = loop
            return self._loop

    def _serve_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        """What the loop's thread does."""
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            # What comes from now on is refused by the loop; this is what came before.
            for call in list(self._calls):
                call.refuse()
            _running.discard(self)


_running: set[Portal] = set()


@atexit.register
def _exit_all() -> None:
    for portal in list(_running):
        portal.exit()


class _Call:
    """One call of a thread. Its answer goes to it and nowhere else, whoever still waits for it."""

    __slots__ = (
        "_answered",
        "coroutine",
        "error",
        "is_begun",
        "is_cancelled",
        "is_done",
        "is_forgotten",
        "result",
    )

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.result: object = None
        self.error: BaseException | None = None
        self.is_begun = False
        self.is_cancelled = False
        self.is_done = False
        self.is_forgotten = False
        """Whether its thread is to wait for the program's end."""
        self._answered = threading.Lock()
        self._answered.acquire()

    def wait(self, seconds: float | None) -> bool:
        """Whether it is answered; may be interrupted and called again."""
        if self.is_done:
            return True
        limit = -1 if seconds is None else min(seconds, threading.TIMEOUT_MAX)
        return self._answered.acquire(timeout=limit)

    # On the loop

    def answer(self, result: object, error: BaseException | None) -> None:
        if not (self.is_done or self.is_forgotten):
            self.result, self.error = result, error
            self.is_done = True
            self._answered.release()

    def refuse(self) -> None:
        """The client is closed."""
        if not self.is_begun:
            self.coroutine.close()
        self.answer(None, ClosedError())


class _Caller:
    """A thread's end of its worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, worker: _Worker) -> None:
        self._loop = loop
        self._worker = worker
        self._pid = os.getpid()
        self.last: _Call | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call was left that has not ended, or waits while a signal is handled."""
        return self.last is not None and not self.last.is_done

    def __del__(self) -> None:
        """Its thread has ended: so does its task, unless it is another process's."""
        if self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop may have ended already
                self._loop.call_soon_threadsafe(self._worker.end)

    def give(self, call: _Call) -> None:
        self.last = call
        self._tell(self._worker.take, call)

    def cancel(self, call: _Call) -> None:
        self._tell(self._worker.cancel, call)

    def _tell(self, function: Callable[[_Call], None], call: _Call) -> None:
        try:
            self._loop.call_soon_threadsafe(function, call)
        except RuntimeError:  # the loop is closed
            raise ClosedError() from None


class _Worker:
    """A thread's task on the loop: one call after the other."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._task: asyncio.Task[None] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._call: _Call | None = None
        self._is_ended = False

    def take(self, call: _Call) -> None:
        if call.is_done:
            return
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._portal.workers.add(self)
            self._task.add_done_callback(lambda _: self._portal.workers.discard(self))
        elif self._task.done():
            call.refuse()
            return
        self._call = call
        self._wake()

    def cancel(self, call: _Call) -> None:
        """Cancel a call, which may not have been given, or be answered by now."""
        call.is_cancelled = True
        if call.is_done:
            return
        if call.is_begun:
            assert self._task is not None
            self._task.cancel()
            return
        call.coroutine.close()
        call.answer(None, asyncio.CancelledError())

    def end(self) -> None:
        self._is_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not (self._is_ended or self._portal.is_stopped):
                if self._call is None:
                    self._waiting = loop.create_future()
                    await self._waiting
                elif self._call.is_done:  # cancelled before it began
                    self._call = None
                else:
                    await self._answer(self._call)
        finally:
            if self._call is not None:
                self._call.refuse()
                self._call = None

    async def _answer(self, call: _Call) -> None:
        task = asyncio.current_task()
        assert task is not None
        result: object = None
        error: BaseException | None = None
        call.is_begun = True
        try:
            result = await call.coroutine
        except asyncio.CancelledError as cancelled:
            error = cancelled
            if not call.is_cancelled:  # by its thread: then by the end of the client
                error = ClosedError()
        except BaseException as raised:
            error = raised
        while task.cancelling():
            task.uncancel()
        self._call = None
        call.answer(result, error)


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

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled: it has one client")

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


def _next_left(items: AsyncIterator[T]) -> T:
    """What an iterator gives without its loop. Raises ClosedError where it would wait."""
    step = _next(items)
    try:
        step.send(None)
    except StopIteration as answer:
        return answer.value  # type: ignore[no-any-return]
    except RuntimeError:  # no loop to wait on
        pass
    finally:
        step.close()
    raise ClosedError()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _end_tasks() -> None:
    """Cancel what is at work, once, and wait for its end."""
    this = asyncio.current_task()
    cancelled: set[asyncio.Task[Any]] = set()
    while tasks := asyncio.all_tasks() - {this}:
        for task in tasks - cancelled:
            task.cancel()
        cancelled |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _serve(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except Exception:
            logger.exception("a callback failed")
