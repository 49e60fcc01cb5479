"""A server in the process of its test: in a thread, in memory, on a free port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from os import PathLike
from pathlib import Path
from random import Random
from typing import TypeVar

from kraal.local.layout import HOST
from kraal.model.config import ServerConfig
from kraal.model.session_id import show
from kraal.replica.leading import Leading
from kraal.server import server as shell
from kraal.server.config.file import load
from kraal.server.main import end_on_errors
from kraal.storage import retention
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.memory import MemoryFileSystem
from kraal.testing import settings as zoo_cfg
from kraal.testing.arguments import check_seconds, check_session_id
from kraal.testing.context import Context
from kraal.testing.disk import SlowDisk
from kraal.testing.errors import StartError, UnavailableError, WaitError
from kraal.testing.loop_thread import LoopThread
from kraal.testing.ports import Ports

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0
IN_MEMORY = "/in-memory"
_POLL_SECONDS = 0.001


class Server(Context):
    """A standalone server; clients of every kind, in this process or another, can use it.

    It starts with `with` or `async with`, or by `start`, and keeps its port and its data when it is
    stopped and started again. Every wait ends within 10 s, with WaitError.
    """

    def __init__(
        self,
        directory: str | PathLike[str] | None = None,
        *,
        port: int | None = None,
        settings: zoo_cfg.Settings | None = None,
    ) -> None:
        """Store in memory, or in a data directory; listen on a free port, or on this one.

        `settings` are keys of `zoo.cfg`. Raises ConfigError for those that nobody knows, that
        have a wrong value, or that the test server chooses itself.
        """
        self._ports = Ports()
        self._port = port
        self._data_dir = IN_MEMORY if directory is None else str(Path(directory).absolute())
        self._settings = zoo_cfg.for_tests(settings)
        self._load(0)
        fs = MemoryFileSystem(Random()) if directory is None else OsFileSystem()
        self._disk = SlowDisk(fs)
        self._thread = LoopThread("kraal-testing", at_exit=self.close)
        self._server: shell.Server | None = None
        self._life: asyncio.Task[int] | None = None
        self._paused: threading.Event | None = None

    # Life

    def start(self) -> None:
        """Start it, unless it runs. Raises StartError with the reason."""
        if self.is_running:
            return
        self.stop()
        if self._port is None:
            [self._port] = self._ports.take(1)
        config = self._load(self._port)
        self._thread.start()
        try:
            self._call("starting", self._start(config))
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Stop it in order, if it runs: clients are disconnected, data and port are kept."""
        if not self._thread.is_running:
            return
        self.resume()
        self.slow_disk(0)
        try:
            self._call("stopping", self._stop())
        finally:
            self._thread.stop()
            self._server = self._life = None

    def restart(self) -> None:
        """Stop it and start it again with its data, as an operator would."""
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether it serves, or stands still."""
        return self._thread.is_running and self._life is not None and not self._life.done()

    def close(self) -> None:
        """Stop it for good: what it kept in memory is gone, and others may have its port."""
        try:
            self.stop()
        finally:
            self._ports.release()

    # Where it is

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        """Of clients; known from the first start on."""
        if self._port is None:
            raise UnavailableError("the server was not started and has no port yet")
        return self._port

    @property
    def hosts(self) -> str:
        """The connect string."""
        return f"{HOST}:{self.port}"

    # Between tests

    def reset(self) -> None:
        """Make it as good as new: all znodes and sessions are gone, all faults are over.

        Clients are disconnected, and learn that their session has expired when they come back.
        """
        if not self.is_running:
            self.start()
        self.resume()
        self.slow_disk(0)
        self._call("the reset", self._begin_anew())

    # Sessions

    def sessions(self) -> list[int]:
        """The ids of all sessions that live."""
        return self._call("looking for sessions", self._session_ids())

    def expire(self, session_id: int) -> None:
        """End a session of any client, as when nothing is heard of it for its timeout.

        Its ephemerals are gone when this returns; its client is disconnected and learns of it when
        it comes back. Raises UnavailableError when there is no such session.
        """
        check_session_id(session_id)
        self._call(f"the end of session {show(session_id)}", self._expire(session_id))

    # Faults

    def disconnect(self) -> None:
        """Cut all clients off; they may come back at once, with their sessions."""
        self._call("disconnecting", self._disconnect())

    def pause(self) -> None:
        """Stand still, as a stopped process: connections stay open and nobody is answered.

        Other methods that ask it something end with WaitError. Raises UnavailableError where it
        does not run.
        """
        if not self.is_running:
            raise UnavailableError("the server does not run")
        if self._paused is not None:
            return
        stands, paused = threading.Event(), threading.Event()

        def stand_still() -> None:
            stands.set()
            paused.wait()

        self._paused = paused
        self._thread.soon(stand_still)
        if not stands.wait(TIMEOUT_SECONDS):
            raise WaitError("the test server does not come to a stand")

    def resume(self) -> None:
        """Go on after a pause."""
        if self._paused is not None:
            self._paused.set()
            self._paused = None

    def slow_disk(self, seconds: float) -> None:
        """Let every write take so long to be on disk; 0: as long as it takes."""
        check_seconds(seconds)
        self._disk.slow(seconds)

    # In the thread

    def _load(self, port: int) -> ServerConfig:
        place = {
            "dataDir": self._data_dir,
            "clientPort": str(port),
            "clientPortAddress": HOST,
        }
        # To poll would only take the interpreter from the thread of the test.
        defines = {"loneClientPollMicros": "0"}
        loaded = load(None, defines=defines, environment={}, overrides={**self._settings, **place})
        zoo_cfg.check(loaded)
        return loaded.config

    def _call(self, doing: str, work: Coroutine[object, object, T]) -> T:
        whose = "a test server" if self._paused is None else "a test server that is paused"
        return self._thread.call(f"{doing} of {whose}", work, TIMEOUT_SECONDS)

    async def _start(self, config: ServerConfig) -> None:
        server = shell.Server(config, fs=self._disk, owns_process=False)
        end_on_errors(asyncio.get_running_loop(), server)
        ready = asyncio.Event()
        self._life = asyncio.create_task(server.run(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((self._life, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not ready.is_set():
            raise StartError(f"the server did not start: {server.failure}")
        self._server = server

    async def _stop(self) -> None:
        if self._server is not None and self._life is not None:
            self._server.stop()
            await self._life

    async def _begin_anew(self) -> None:
        server, life = self._running()
        beginning = asyncio.create_task(server.begin_anew())
        await asyncio.wait((beginning, life), return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            beginning.cancel()
            raise WaitError("the server ended during a reset")
        await beginning
        # What was forgotten is kept for a while, for an operator; a test wants its memory back.
        storage = server.config.storage
        await server.storage.call(lambda: retention.purge(self._disk, storage))

    async def _session_ids(self) -> list[int]:
        return list(self._leading().tracker.sessions)

    async def _expire(self, session_id: int) -> None:
        leading = self._leading()
        if not leading.expire(shell.monotonic_ms(), shell.wall_ms(), session_id):
            raise UnavailableError(f"there is no session {show(session_id)}")
        while session_id in leading.tracker.sessions:
            await asyncio.sleep(_POLL_SECONDS)

    async def _disconnect(self) -> None:
        self._leading().close()

    def _running(self) -> tuple[shell.Server, asyncio.Task[int]]:
        if self._server is None or self._life is None or self._life.done():
            raise UnavailableError("the server does not run")
        return self._server, self._life

    def _leading(self) -> Leading:
        replica = self._running()[0].replica
        assert isinstance(replica, Leading), "alone, and never asked during a reset"
        return replica
