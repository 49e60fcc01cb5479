"""Group commit: where a flush runs, that it is answered in order, and what a failure does."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path, PurePath

import pytest

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.server import log_writer
from kraal.server.disk_thread import DiskThread
from kraal.server.log_writer import (
    FEW_RECORDS,
    LONG_REST,
    SHORT_REST,
    LogWriter,
    Patience,
)
from kraal.storage import data_dir
from kraal.storage.filesystem import OsFile, OsFileSystem
from kraal.storage.log_reader import records
from kraal.storage.txn_log import Flush, TxnLog
from kraal.turns import QUIET_LOOKS

SLOW_MS, QUICK_MS = 20.0, 0.1


class WatchedFile(OsFile):
    __slots__ = ("written_by",)
    written_by: list[bool]

    def write_durably(self, data: bytes, offset: int) -> None:
        self.written_by.append(threading.current_thread() is threading.main_thread())
        super().write_durably(data, offset)


class WatchedFileSystem(OsFileSystem):
    """Notes for each flush into a file that exists whether the loop runs it."""

    def __init__(self) -> None:
        self.on_loop: list[bool] = []

    def create(self, path: PurePath, *, like: PurePath | None = None) -> OsFile:
        file = WatchedFile(super().create(path, like=like)._fd)
        file.written_by = self.on_loop
        return file


class Bench:
    def __init__(self, directory: Path, inputs: Callable[[], int]) -> None:
        self.fs = WatchedFileSystem()
        self.config = StorageConfig(data_dir=directory, data_log_dir=directory)
        data_dir.prepare(self.fs, self.config)
        self.disk = DiskThread(asyncio.get_running_loop(), "test-log")
        self.log = TxnLog(self.fs, self.config)
        self.logged: list[int] = []
        self.failures: list[BaseException] = []
        self.writer = LogWriter(
            self.log, self.disk, inputs=inputs, logged=self._logged, failed=self.failures.append
        )
        self._next = 1

    def _logged(self, flush: Flush) -> None:
        self.logged.extend(range(flush.first_zxid, flush.last_zxid + 1))

    async def write(self, records: int) -> None:
        """One flush of so many records."""
        for zxid in range(self._next, self._next + records):
            self.writer.append(zxid, bytes(12) + zxid.to_bytes(8, "big") + b"p" * 40)
        self._next += records
        await self.writer.drained()

    def on_disk(self) -> list[int]:
        return [record.zxid for record in records(self.fs, self.config, 0)]


@asynccontextmanager
async def bench(directory: Path, inputs: Callable[[], int] = lambda: 0) -> AsyncIterator[Bench]:
    made = Bench(directory, inputs)
    try:
        yield made
    finally:
        made.disk.submit(made.log.close, lambda _error: None)
        made.disk.stop()


def test_the_loop_runs_a_small_flush_when_nothing_else_is_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path) as made:
            while not any(made.fs.on_loop):
                assert len(made.logged) <= SHORT_REST
                await made.write(1)
            await made.write(FEW_RECORDS + 1)
            assert not made.fs.on_loop[-1]
            assert made.logged == list(range(1, len(made.logged) + 1)) == made.on_disk()

    asyncio.run(main())


def test_the_loop_goes_on_with_what_comes_in(tmp_path: Path) -> None:
    async def main() -> None:
        requests = count()
        async with bench(tmp_path, lambda: next(requests)) as made:
            for _ in range(2 * SHORT_REST):
                await made.write(1)
            assert not any(made.fs.on_loop)
            assert made.logged == made.on_disk()

    asyncio.run(main())


def test_of_writes_that_come_alone_only_the_first_waits_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "FAST_MS", 10_000.0)

    async def main() -> None:
        came = 0

        async def turns_of_a_write() -> int:
            nonlocal came
            came += 1
            writing = asyncio.create_task(made.write(1))
            turns = 0
            while not writing.done():
                turns += 1
                await asyncio.sleep(0)
            return turns

        async with bench(tmp_path, lambda: came) as made:
            while made.fs.on_loop[-3:] != [True] * 3:
                await turns_of_a_write()
            alone = await turns_of_a_write()
            came += 1  # somebody asks for something else
            assert await turns_of_a_write() == alone + QUIET_LOOKS
            assert await turns_of_a_write() == alone + QUIET_LOOKS
            assert await turns_of_a_write() == alone
            assert made.logged == made.on_disk()

    asyncio.run(main())


def test_a_file_is_begun_on_the_disk_thread(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path) as made:
            while not any(made.fs.on_loop):
                await made.write(1)
            made.writer.roll()
            await made.write(1)
            await made.write(1)
            assert not made.fs.on_loop[-1]
            assert made.logged == made.on_disk()

    asyncio.run(main())


def test_a_flush_that_fails_on_the_loop_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durably = OsFile.write_durably

    def fails_on_loop(self: OsFile, data: bytes, offset: int) -> None:
        if threading.current_thread() is threading.main_thread():
            raise OSError(errno.EIO, "broken")
        durably(self, data, offset)

    async def main() -> None:
        async with bench(tmp_path) as made:
            while not made.failures:
                assert len(made.logged) <= SHORT_REST
                await made.write(1)
            logged = list(made.logged)
            await made.write(1)
            assert made.logged == logged == made.on_disk()
            (error,) = made.failures
            assert isinstance(error, StorageError)

    monkeypatch.setattr(OsFile, "write_durably", fails_on_loop)
    asyncio.run(main())


def test_a_slow_disk_is_tried_ever_more_rarely() -> None:
    patience = Patience()

    def asked() -> int:
        """How often until the loop may run a flush."""
        return next(number for number in count(1) if patience.allows())

    assert asked() == SHORT_REST
    patience.took(QUICK_MS)
    assert asked() == 1
    rests = []
    for _ in range(10):
        patience.took(SLOW_MS)
        rests.append(asked())
    assert rests[:3] == [SHORT_REST, 2 * SHORT_REST, 4 * SHORT_REST]
    assert rests[-1] == LONG_REST
    patience.took(QUICK_MS)
    patience.took(SLOW_MS)
    assert asked() == SHORT_REST
