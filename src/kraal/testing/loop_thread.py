"""A thread with an event loop, in which everything of the kit runs that needs one.

A test that is not asynchronous, or that has a loop of its own, calls into it and waits. Child
processes are started here too: Linux ends them with the thread that started them.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

from kraal.server.main import loop_factory
from kraal.testing.errors import WaitError

T = TypeVar("T")
JOIN_SECONDS = 10.0
GRACE_SECONDS = 1.0


class LoopThread:
    """Runs from `start` to `stop`; `at_exit` is called when the interpreter ends before that."""

    def __init__(self, name: str, at_exit: Callable[[], None]) -> None:
        self._name = name
        self._at_exit = at_exit
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """False in a forked child, whose copy has no thread."""
        return self._thread is not None and self._pid == os.getpid()

    def start(self) -> None:
        """Start the thread, and wait until its loop runs."""
        self._pid = os.getpid()
        self._stopping = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._main, args=(started,), name=self._name, daemon=True
        )
        self._thread.start()
        started.wait()
        atexit.register(self._exit)

    def stop(self) -> None:
        """End the loop with everything that still runs in it, then the thread."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None or not self.is_running:
            return
        self._thread = self._loop = None
        atexit.unregister(self._exit)
        loop.call_soon_threadsafe(self._stopping.set)
        thread.join(JOIN_SECONDS)
        if thread.is_alive():
            raise WaitError(f"the thread {thread.name} has not ended within {JOIN_SECONDS} s")

    def call(self, doing: str, work: Coroutine[object, object, T], timeout: float) -> T:
        """Run `work` in the loop and wait for its result.

        Raises WaitError, in which `doing` says what took longer than `timeout` seconds.
        """
        loop = self._loop
        if loop is None or not self.is_running:
            work.close()
            raise WaitError(f"{doing}: nothing runs")
        assert threading.current_thread() is not self._thread, "the loop would wait for itself"
        is_given_up = threading.Event()

        async def outcome() -> T | Exception:
            """A value in any case: no error is nobody's when the wait for it is over."""
            if is_given_up.is_set():
                work.close()
                return WaitError(doing)
            try:
                return await asyncio.wait_for(work, timeout)
            except Exception as error:
                return error

        future = asyncio.run_coroutine_threadsafe(outcome(), loop)
        try:
            # The loop itself may stand still.
            value = future.result(timeout + GRACE_SECONDS)
            if isinstance(value, Exception):
                raise value
        except WaitError:
            raise
        except TimeoutError as error:
            raise WaitError(f"{doing} took longer than {timeout:g} s") from error
        finally:
            is_given_up.set()  # what the loop has not begun, it does not begin any more
            future.cancel()  # when the wait was interrupted
        return value

    def soon(self, work: Callable[[], object]) -> None:
        """Call `work` in the loop, and do not wait for it."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(work)

    def _main(self, started: threading.Event) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._until_stopped(started))

    async def _until_stopped(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        started.set()
        await self._stopping.wait()

    def _exit(self) -> None:
        if self.is_running:
            self._at_exit()
