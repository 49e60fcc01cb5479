"""Snapshots while serving: slices of the tree in turns of the loop, a thread that writes.

No turn takes longer than a fraction of a millisecond, so a snapshot of any size is no pause
for the clients (storage-formats.md section 4.5 says why a snapshot may be fuzzy).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from time import perf_counter

from kraal.model.zxid import counter
from kraal.server.disk_thread import DiskThread
from kraal.storage.snapshot_store import PIECE_BYTES, SnapshotStore, SnapshotWriter
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.turns import portion, turns

logger = logging.getLogger("kraal.server.snapshot")
PIECES_AHEAD_MAX = 4
POLL_SECONDS = 0.001


class Snapshotter:
    """Writes one snapshot at a time."""

    def __init__(
        self,
        store: SnapshotStore,
        tree: DataTree,
        *,
        last_zxid_section: bool,
        taken_ms: Callable[[int], None],
    ) -> None:
        self._store = store
        self._tree = tree
        self._last_zxid_section = last_zxid_section
        self._taken_ms = taken_ms
        self._task: asyncio.Task[bool] | None = None

    @property
    def is_busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(
        self,
        durable: Callable[[], int],
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Begin a snapshot named after what is applied now; `done()` follows when it is there.

        `failed(error)` follows instead when it cannot be written. `durable()` is the newest zxid
        on disk; it is asked at the end, because a snapshot may not hold what the log could lose.
        """
        assert not self.is_busy
        self._task = asyncio.get_running_loop().create_task(self._take(durable, failed))

        def ended(task: asyncio.Task[bool]) -> None:
            if not task.cancelled() and task.result():
                done()

        self._task.add_done_callback(ended)

    def abandon(self) -> None:
        """Drop a snapshot that is under way; the log has everything."""
        if self._task is not None and not self._task.done():
            self._task.cancel()

    async def ended(self) -> None:
        """Wait for the end of one that is under way."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def finish(self) -> None:
        """Drop a snapshot that is under way, and wait for its end."""
        self.abandon()
        if self._task is not None and not self._task.done():
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take(
        self, durable: Callable[[], int], failed: Callable[[BaseException], None]
    ) -> bool:
        thread = DiskThread(asyncio.get_running_loop(), "kraal-snapshot")
        began = perf_counter()
        writer: SnapshotWriter | None = None
        try:
            slices = snapshot.encode(self._tree, last_zxid_section=self._last_zxid_section)
            zxid = self._tree.last_zxid
            first = next(slices)  # in the same turn as the zxid that names the file
            writer = await thread.call(lambda: self._store.create(zxid))
            await thread.call(partial(writer.write, first))
            await self._write_slices(thread, writer, slices)
            await _until_durable(durable, self._tree.last_zxid)
            await thread.call(writer.commit)
            seconds = perf_counter() - began
            self._taken_ms(int(seconds * 1000))
            logger.info("Snapshot %s: %d bytes in %.1f s", writer.name, writer.size, seconds)
            return True
        except asyncio.CancelledError:
            if writer is not None:
                thread.submit(writer.abort, _ignore)
            raise
        except Exception as error:
            if writer is not None:
                thread.submit(writer.abort, _ignore)
            failed(error)
            return False
        finally:
            thread.stop()

    async def _write_slices(
        self, thread: DiskThread, writer: SnapshotWriter, slices: Iterator[bytes]
    ) -> None:
        """Encode in turns; the thread may lag behind by a bounded number of pieces.

        It gets some slices at once: each time it takes the interpreter from the loop.
        """
        room = asyncio.Semaphore(PIECES_AHEAD_MAX)
        errors: list[BaseException] = []

        def written(error: BaseException | None) -> None:
            room.release()
            if error is not None:
                errors.append(error)

        is_whole = False
        while not is_whole:
            piece = BytesIO()  # grows with the slices: joining them would hold up the loop
            while not is_whole and piece.tell() < PIECE_BYTES:
                made, is_whole = await turns().call(partial(portion, slices))
                piece.writelines(made)
            await room.acquire()
            if errors:
                raise errors[0]
            thread.submit(partial(writer.write, piece.getvalue()), written)
        for _ in range(PIECES_AHEAD_MAX):  # until every piece is written
            await room.acquire()
        if errors:
            raise errors[0]


async def _until_durable(durable: Callable[[], int], zxid: int) -> None:
    """A follower may apply what its own log has yet to write.

    The zxid that an epoch begins with is in no log.
    """
    while counter(zxid) and durable() < zxid:
        await asyncio.sleep(POLL_SECONDS)


def _ignore(_error: BaseException | None) -> None:
    """The answer to an `abort` that nobody waits for."""
