"""Group commit: what was proposed while the disk was busy goes to it in one flush."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from kraal.server.disk_thread import DiskThread
from kraal.storage.txn_log import Flush, TxnLog


class LogWriter:
    """The replica's `LogSink`: buffers records and keeps one flush on the disk thread.

    `logged(flush)` is called on the loop when a flush is durable, `failed(error)` once when one
    is not: nothing is logged after that.
    """

    def __init__(
        self,
        log: TxnLog,
        disk: DiskThread,
        *,
        logged: Callable[[Flush], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._log = log
        self._disk = disk
        self._logged = logged
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._flush: Flush | None = None
        self._scheduled = False
        self._scheduled_at = 0.0
        self._is_broken = False
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    def append(self, zxid: int, payload: bytes) -> None:
        self._log.append(zxid, payload)
        if not self._scheduled:
            # At the end of the loop's turn: every ready socket adds to the same flush.
            self._scheduled = True
            self._scheduled_at = monotonic()
            self._idle.clear()
            if self._flush is None:
                self._loop.call_soon(self._start)

    def replace(self, log: TxnLog) -> None:
        """Go on in another log; nothing may be under way."""
        assert self._flush is None and not self._scheduled
        self._log = log

    def roll(self) -> None:
        """The next record begins a new file."""
        self._log.roll()

    async def drained(self) -> None:
        """Wait until everything appended is durable, or the log is broken."""
        await self._idle.wait()

    def _start(self) -> None:
        if self._is_broken or self._flush is not None:
            return
        flush = self._log.take()
        self._scheduled = False
        if flush is None:
            self._idle.set()
            return
        self._flush = flush
        flush.waited_ms = (monotonic() - self._scheduled_at) * 1000
        self._disk.submit(flush.run, self._done)

    def _done(self, error: BaseException | None) -> None:
        flush = self._flush
        assert flush is not None
        self._flush = None
        if error is not None:
            self._is_broken = True
            self._idle.set()
            self._failed(error)
            return
        self._logged(flush)
        # Not at once: the clients that were just answered have a turn to ask for more.
        self._loop.call_soon(self._start)
