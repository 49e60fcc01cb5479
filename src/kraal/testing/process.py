"""A server in a process of its own, which can be killed and paused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Coroutine
from os import PathLike
from pathlib import Path
from typing import TypeVar

from kraal.local import process as local
from kraal.local.layout import HOST, Place
from kraal.local.process import State
from kraal.model.session_id import show
from kraal.testing import remote
from kraal.testing import settings as zoo_cfg
from kraal.testing.arguments import check_seconds, check_session_id
from kraal.testing.child import STOP_SECONDS, Child, write
from kraal.testing.context import Context
from kraal.testing.errors import StartError, UnavailableError
from kraal.testing.loop_thread import LoopThread
from kraal.testing.member import command
from kraal.testing.ports import Ports

T = TypeVar("T")
TIMEOUT_SECONDS = 30.0


class ServerProcess(Context):
    """What `kraal serve` runs, in a process of its own, in a directory with `zoo.cfg` and log.

    It starts with `with` or `async with`, or by `start`, and keeps its port and its data until it
    is closed. It ends with the process that started it, however that one ends.
    """

    def __init__(
        self,
        directory: str | PathLike[str] | None = None,
        *,
        settings: zoo_cfg.Settings | None = None,
    ) -> None:
        """Live in a directory that stays, or in a temporary one; `settings` are for `zoo.cfg`.

        Raises ConfigError for keys that the test server chooses itself.
        """
        self._settings = zoo_cfg.for_tests(settings)
        self._kept = None if directory is None else Path(directory).absolute()
        self._directory: Path | None = None
        self._ports = Ports()
        self._thread = LoopThread("kraal-testing", at_exit=self.close)
        self._child: Child | None = None

    # Life

    def start(self) -> None:
        """Start it, unless it runs, and wait until it serves.

        Raises StartError with the end of its log, ConfigError for a wrong setting.
        """
        if self._child is None:
            try:
                self._child = self._prepare()
            except BaseException:
                self.close()
                raise
        if not self._thread.is_running:
            self._thread.start()
        self._call("the start", self._start(self._child))

    def close(self) -> None:
        """Stop it for good: the process ends, a temporary directory is deleted."""
        try:
            if self._thread.is_running and self._child is not None:
                self._call("the end", self._child.stop(), 2 * STOP_SECONDS)
        finally:
            self._thread.stop()
            self._ports.release()
            if self._directory is not None and self._kept is None:
                shutil.rmtree(self._directory, ignore_errors=True)
            self._child = self._directory = None

    @property
    def directory(self) -> Path:
        """Where `zoo.cfg`, `data` and `server.log` are."""
        return self._process.place.directory

    @property
    def pid(self) -> int | None:
        """None: there is no process."""
        return None if self._child is None else self._child.process.pid

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        """Of clients; known from the first start on."""
        return self._process.place.client_port

    @property
    def hosts(self) -> str:
        """The connect string."""
        return f"{HOST}:{self.port}"

    def log(self, lines: int = 30) -> str:
        """The end of what it has logged."""
        return "\n".join(self._process.log_tail(lines))

    # Between tests

    def reset(self) -> None:
        """Make it as good as new: all znodes and sessions are gone, all faults are over.

        Clients are disconnected, and learn that their session has expired when they come back.
        """
        self.start()
        self.resume()
        self.slow_disk(0)
        self._call("the reset", self._wipe())

    # Sessions

    def sessions(self) -> list[int]:
        """The ids of all sessions that live."""
        return self._ask("the look at the sessions", remote.sessions(self.port))

    def expire(self, session_id: int) -> None:
        """End a session of any client, as when nothing is heard of it for its timeout.

        Its ephemerals are gone when this returns; its client is disconnected and learns of it when
        it comes back. Raises UnavailableError when there is no such session, or no server.
        """
        check_session_id(session_id)
        ended = self._ask("the end of a session", remote.expire(HOST, self.port, session_id))
        if not ended:
            raise UnavailableError(f"there is no session {show(session_id)}")

    # Faults

    def kill(self) -> None:
        """SIGKILL: it is gone when this returns; `start` starts it again with its data."""
        self._call("the end", self._require().kill())

    def stop(self) -> None:
        """SIGTERM: it ends in order; `start` starts it again with its data."""
        self._call("the end", self._require().stop(), 2 * STOP_SECONDS)

    def restart(self) -> None:
        """Stop it in order, and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody is answered."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._process.resume()

    def slow_disk(self, seconds: float) -> None:
        """Let every write take so long to be on disk; 0: as long as it takes."""
        check_seconds(seconds)
        self._require().slow_disk(seconds)

    # In the thread

    def _prepare(self) -> Child:
        self._directory = self._kept or Path(tempfile.mkdtemp(prefix="kraal-server-"))
        [port] = self._ports.take(1)
        place = Place(id=1, directory=self._directory, is_observer=False, client_port=port)
        write(place, self._settings)
        return Child(local.ServerProcess(place, command({})))

    async def _start(self, child: Child) -> None:
        child.process.poll()
        before = child.process.pid
        child.process.start()
        if child.process.state is State.PAUSED:
            return
        try:
            await child.serving()
        except StartError:
            if before is None:
                raise
            # It was ending already, which a process with threads shows a little later.
            child.process.start()
            await child.serving()

    async def _wipe(self) -> None:
        await self._require().serving()
        await remote.end_sessions(self.port)
        await remote.wipe(self.hosts)

    def _require(self) -> Child:
        if self._child is None:
            raise UnavailableError("the server was not started")
        return self._child

    @property
    def _process(self) -> local.ServerProcess:
        return self._require().process

    def _ask(self, doing: str, work: Coroutine[object, object, T]) -> T:
        try:
            return self._call(doing, work)
        except ConnectionError as error:
            raise UnavailableError(f"the server does not run: {error}") from error

    def _call(
        self, doing: str, work: Coroutine[object, object, T], timeout: float = TIMEOUT_SECONDS
    ) -> T:
        return self._thread.call(f"{doing} of a server process", work, timeout)
