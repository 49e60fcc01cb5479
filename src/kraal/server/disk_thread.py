"""The thread that waits for the disk, so that the loop never does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from kraal.errors import StorageError

T = TypeVar("T")
Job = Callable[[], object]
Done = Callable[[BaseException | None], None]


class DiskThread:
    """Runs jobs one after another; each answer comes back on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._under_way = 0
        self._is_stopped = False
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether every job that was submitted is done, and its `done` called."""
        return not self._under_way

    def submit(self, job: Job, done: Done) -> None:
        """Run `job` on the thread, then `done(error)` on the loop."""
        self._under_way += 1
        if self._is_stopped:
            self._loop.call_soon(self._done, done, StorageError("this disk is not used any more"))
        else:
            self._jobs.put((job, done))

    async def call(self, job: Callable[[], T]) -> T:
        """Run `job` on the thread and wait for its result."""
        future: asyncio.Future[T] = self._loop.create_future()
        results: list[T] = []

        def done(error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(results[0])

        self.submit(lambda: results.append(job()), done)
        return await future

    def stop(self, limit_s: float | None = None) -> None:
        """Finish what was submitted, then end; blocks until then, at most so many seconds."""
        self._is_stopped = True
        self._jobs.put(None)
        self._thread.join(limit_s)

    def _run(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, done = task
            error: BaseException | None = None
            try:
                job()
            except BaseException as raised:  # handed to the loop
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._done, done, error)
            except RuntimeError:  # the loop is closed, and nobody waits any more
                return

    def _done(self, done: Done, error: BaseException | None) -> None:
        self._under_way -= 1
        done(error)
