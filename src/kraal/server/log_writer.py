"""Group commit: what was proposed while the disk was busy goes to it in one flush.

The disk thread runs the flushes, so that the loop never waits for the disk. There is one
exception. Changing to the thread and back costs more than a fast disk takes for some records;
so when there are few, and nothing comes in that the loop could do instead, it runs the flush
itself. A server with little to do answers writes sooner for it, and nobody else waits. Where one
write follows another and nothing else comes, it does not even look whether something does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from kraal.server.disk_thread import DiskThread
from kraal.storage.txn_log import Flush, TxnLog
from kraal.turns import QUIET_LOOKS, turns

FEW_RECORDS = 8
"""As many at most are in a flush that the loop runs."""
FAST_MS = 0.5
"""A flush on the loop that takes longer is followed by some on the disk thread."""
SHORT_REST = 64
LONG_REST = 8192
"""How many those are at first, and at most."""


class Patience:
    """Whether the loop may wait for the disk: not for some flushes after one that was slow.

    Each slow one in a row doubles their number, so a slow disk is tried ever more rarely.
    """

    def __init__(self) -> None:
        self._rest = self._next_rest = SHORT_REST

    def allows(self) -> bool:
        """To be asked once for each flush."""
        if self._rest:
            self._rest -= 1
        return not self._rest

    def took(self, duration_ms: float) -> None:
        """The loop has run a flush itself."""
        if duration_ms > FAST_MS:
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, LONG_REST)
        else:
            self._next_rest = SHORT_REST

    def rest(self) -> None:
        """What is coming takes longer for once."""
        self._rest = max(self._rest, SHORT_REST)


class LogWriter:
    """The replica's `LogSink`: buffers records and keeps one flush under way.

    `logged(flush)` is called on the loop when a flush is durable, `failed(error)` once when one
    is not: nothing is logged after that. `inputs()` counts what clients sent.
    """

    def __init__(
        self,
        log: TxnLog,
        disk: DiskThread,
        *,
        inputs: Callable[[], int],
        logged: Callable[[Flush], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._log = log
        self._disk = disk
        self._inputs = inputs
        self._logged = logged
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._turns = turns()
        self._flush: Flush | None = None
        self._scheduled = False
        self._scheduled_at = 0.0
        self._waiting = 0
        """Records of the next flush."""
        self._patience = Patience()
        self._quiet_turns = 0
        """How many turns are still to be quiet before the loop runs the flush itself."""
        self._inputs_before = 0
        """As of the flush before, or since when it is quiet."""
        self._was_lone = False
        """Whether the flush before was of a write that came alone."""
        self.is_broken = False
        """Whether a flush has failed: what is on disk behind the last one, nobody knows."""
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    def append(self, zxid: int, payload: bytes) -> None:
        self._log.append(zxid, payload)
        self._waiting += 1
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
        self._patience.rest()
        self._log.roll()

    async def drained(self) -> None:
        """Wait until everything appended is durable, or the log is broken."""
        await self._idle.wait()

    def _start(self) -> None:
        """At the end of a turn, or when the flush before is done."""
        if self.is_broken:
            self._idle.set()  # nobody waits for what comes now
            return
        if self._flush is not None or self._quiet_turns:
            return
        if self._scheduled and self._waiting <= FEW_RECORDS and self._patience.allows():
            inputs = self._inputs()
            is_lone = inputs == self._inputs_before + 1
            if is_lone and self._was_lone and self._disk.is_idle:
                self._begin(on_loop=True)
            else:
                self._quiet_turns = QUIET_LOOKS
                self._loop.call_soon(self._look)
            self._inputs_before, self._was_lone = inputs, is_lone
        else:
            self._begin(on_loop=False)

    def _look(self) -> None:
        """Whether there is still nothing else to do."""
        self._quiet_turns -= 1
        is_quiet = (
            self._inputs() == self._inputs_before
            and self._waiting <= FEW_RECORDS
            and self._disk.is_idle
        )
        if is_quiet and self._quiet_turns:
            self._loop.call_soon(self._look)
            return
        self._quiet_turns = 0
        self._begin(on_loop=is_quiet)

    def _begin(self, *, on_loop: bool) -> None:
        """Flush what was appended, if anything was."""
        flush = self._flush = self._log.take()
        self._scheduled = False
        self._waiting = 0
        if flush is None:
            self._idle.set()
            return
        flush.waited_ms = (monotonic() - self._scheduled_at) * 1000
        if on_loop:
            self._run(flush)
        else:
            self._turns.awaited += 1
            self._disk.submit(flush.run, self._came)

    def _came(self, error: BaseException | None) -> None:
        self._turns.awaited -= 1
        self._done(error)

    def _run(self, flush: Flush) -> None:
        error: BaseException | None = None
        try:
            flush.run()
        except Exception as raised:  # told in the same way as by the disk thread
            error = raised
        else:
            self._patience.took(flush.duration_ms)
        self._done(error)

    def _done(self, error: BaseException | None) -> None:
        flush = self._flush
        assert flush is not None
        self._flush = None
        if error is not None:
            self.is_broken = True
            self._idle.set()
            self._failed(error)
            return
        try:
            self._logged(flush)
        finally:  # whatever became of those who were told
            # Not at once: the clients that were just answered have a turn to ask for more.
            self._loop.call_soon(self._start)
