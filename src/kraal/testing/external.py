"""A server that was there before the tests and stays: they get a chroot of their own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import NoReturn, TypeVar

from kraal.client import connect
from kraal.client.hosts import parse
from kraal.model.session_id import show
from kraal.testing import remote
from kraal.testing.arguments import check_seconds, check_session_id
from kraal.testing.context import Context
from kraal.testing.errors import UnavailableError, WaitError
from kraal.testing.loop_thread import LoopThread

T = TypeVar("T")
TIMEOUT_SECONDS = 30.0
FIND_SECONDS = 5.0


class ExternalServer(Context):
    """Stands for `Server` where tests run against another server, such as Apache's.

    Nothing outside of its chroot is touched, and there are no faults: a method that asks for one
    calls `refuse` with the reason, and raises UnavailableError when that returns.
    """

    def __init__(self, hosts: str, *, refuse: Callable[[str], object] | None = None) -> None:
        """`hosts` is a connect string, perhaps with a chroot. Raises ConfigError when it is not."""
        servers, self._chroot = parse(hosts)
        self._servers = ",".join(map(str, servers))
        self.host, self.port = servers[0]
        self._refuse = refuse
        self._root = f"{self._chroot}/kraal-test-{uuid.uuid4().hex}"
        self._has_chroot = False
        self._thread = LoopThread("kraal-testing", at_exit=self.close)

    # Life

    def start(self) -> None:
        """Make the chroot. Raises WaitError where no server answers."""
        if not self._thread.is_running:
            self._thread.start()
            self._call("the search", self._find())
            self._has_chroot = True
            try:
                self._call("the start", self._make())
            except WaitError:
                self._has_chroot = False  # who does not answer now would not delete it either
                raise

    def close(self) -> None:
        """Delete the chroot with everything below."""
        try:
            if self._thread.is_running and self._has_chroot:
                self._call("the end", self._delete())
        finally:
            self._has_chroot = False
            self._thread.stop()

    @property
    def is_running(self) -> bool:
        """Whether the chroot is there."""
        return self._thread.is_running

    @property
    def hosts(self) -> str:
        """The connect string, with the chroot."""
        return f"{self._servers}{self._root}"

    def reset(self) -> None:
        """Empty the chroot; sessions stay, because others may use the server too."""
        self._call("the reset", self._renew())

    def expire(self, session_id: int) -> None:
        """End a session of any client, as when nothing is heard of it for its timeout.

        Raises UnavailableError when there is no such session.
        """
        check_session_id(session_id)
        work = remote.expire(self.host, self.port, session_id)
        if not self._call("the end of a session", work):
            raise UnavailableError(f"there is no session {show(session_id)}")

    # What it cannot do

    def sessions(self) -> NoReturn:
        self._cannot("tell its sessions")

    def stop(self) -> NoReturn:
        self._cannot("be stopped")

    def restart(self) -> NoReturn:
        self._cannot("be restarted")

    def disconnect(self) -> NoReturn:
        self._cannot("disconnect its clients")

    def pause(self) -> NoReturn:
        self._cannot("be paused")

    def resume(self) -> NoReturn:
        self._cannot("be paused")

    def slow_disk(self, seconds: float) -> NoReturn:
        check_seconds(seconds)
        self._cannot(f"have a disk that takes {seconds:g} s")

    def _cannot(self, what: str) -> NoReturn:
        reason = f"{self._servers} is not a server of the tests and cannot {what}"
        if self._refuse is not None:
            self._refuse(reason)
        raise UnavailableError(reason)

    # In the thread

    async def _find(self) -> None:
        """A client would look for a server as long as it may; here nobody there is an answer."""
        servers, _chroot = parse(self._servers)
        if not any(await asyncio.gather(*(_listens(*server) for server in servers))):
            raise WaitError(f"no server at {self._servers}")

    async def _make(self) -> None:
        async with connect(self._servers) as zk:
            await zk.ensure_path(self._root)

    async def _delete(self) -> None:
        async with connect(self._servers) as zk:
            await zk.delete_recursive(self._root)

    async def _renew(self) -> None:
        async with connect(self._servers) as zk:
            await zk.delete_recursive(self._root)
            await zk.ensure_path(self._root)

    def _call(self, doing: str, work: Coroutine[object, object, T]) -> T:
        return self._thread.call(f"{doing} of a test at {self._servers}", work, TIMEOUT_SECONDS)


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(FIND_SECONDS):
            _reader, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True
