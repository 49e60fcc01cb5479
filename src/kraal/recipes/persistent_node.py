"""A znode that comes back: after its session has expired, and after somebody has deleted it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakKeyDictionary, WeakValueDictionary

from kraal.client import (
    Acl,
    Client,
    ClosedError,
    ConnectionLossError,
    CreateMode,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    SessionState,
)
from kraal.client.client import check_creation
from kraal.model.create_mode import CONTAINER_OWNER
from kraal.recipes._arguments import check_data, check_place
from kraal.recipes._background import (
    NOT_EXECUTED,
    in_background,
    patiently,
    while_session_lives,
)
from kraal.recipes._service import Service, logger
from kraal.recipes._wakeups import Wakeups
from kraal.recipes.errors import RecipeError

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
ALL_BITS = 2**64 - 1

_kept: WeakKeyDictionary[Client, WeakValueDictionary[str, PersistentNode]] = WeakKeyDictionary()
"""The last node that was started at each path of a client."""


class PersistentNode(Service):
    """Keeps an ephemeral of this client at `path` for as long as it runs::

        async with PersistentNode(zk, "/hosts/a", b"10.0.0.1") as node:
            await node.ready()
            await node.set_data(b"10.0.0.2")

    When the session expires, or somebody deletes the znode, it is created again, and data that
    somebody else has written is replaced by ours: at once, and more and more slowly while they go
    on (up to 10 s later). While the znode is another session's, or a persistent one, it waits
    until that is gone, and logs once what it waits for. Missing parents are created, as persistent
    znodes. `close` deletes the znode; without a connection that goes on in the background.

    Of one client, only one `PersistentNode` at a time can keep a path: `start` of another raises
    RecipeError, as both would have the same session and overwrite each other's data.

    The path is ours for certain only while `is_present` is true and the client is connected.

    Raises BadArgumentsError for data that is too long for one request, as `set_data` does.
    """

    def __init__(
        self, zk: Client, path: str, data: bytes = b"", *, acl: Sequence[Acl] | None = None
    ) -> None:
        super().__init__()
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._acl = acl
        self._check_data(data)
        self._data = data
        self._owner = 0
        """The session that the znode was last seen to belong to, if that was ours."""
        self._written: bytes | None = None
        """What the znode holds, as far as this client knows, and if it is ours."""
        self._asserted: bytes | None = None
        """What was written here last: if that is ours still, other data is somebody else's."""
        self._rivalry = _Rivalry()
        self._timer: asyncio.TimerHandle | None = None
        self._logged = ""
        self._wakeups: Wakeups | None = None

    def __repr__(self) -> str:
        return f"PersistentNode({self.path!r})"

    @property
    def data(self) -> bytes:
        """What the znode is to hold."""
        return self._data

    @property
    def is_present(self) -> bool:
        """Whether the znode is there and this session's, as far as this client knows."""
        return self._owner != 0 and self._owner == self._zk.session_id

    async def start(self) -> None:
        """Begin to keep the znode; `ready` waits for it.

        Raises RecipeError if another one of this client keeps the path, NotRunningError the
        second time.
        """
        kept = _kept.setdefault(self._zk, WeakValueDictionary())
        other = kept.get(self.path)
        if other is not None and other is not self and other._is_at_work:
            raise RecipeError(f"another PersistentNode of this client keeps {self.path}")
        await super().start()
        kept[self.path] = self

    @property
    def _is_at_work(self) -> bool:
        return self._task is not None and not self._task.done() and not self._task.cancelling()

    async def ready(self) -> None:
        """Wait until the znode is there with its data."""
        self._check()
        await self._until(lambda: self.is_present and self._written == self._data)

    async def set_data(self, data: bytes) -> None:
        """Let the znode hold something else from now on, and wait until it does.

        If the wait is cancelled the new data is written all the same. What is too long for one
        request (BadArgumentsError) changes nothing.
        """
        self._check_data(data)
        self._check()
        self._data = data
        self._wake()
        await self._until(lambda: self.is_present and self._written == self._data)

    def _check_data(self, data: bytes) -> None:
        """What is written now must fit as well when the znode is created again."""
        check_data(data)
        check_creation(self._zk, self.path, data, self._acl)

    async def _run(self) -> None:
        try:
            async with Wakeups(self._zk, self.path) as self._wakeups:
                while True:
                    await patiently(self._zk, self._assert)
                    self._tell()
                    await self._wakeups.next()
        finally:
            self._wakeups = None
            if self._timer is not None:
                self._timer.cancel()
            await self._leave()

    async def _assert(self) -> None:
        """Bring the znode into the state that it should have, if this session may."""
        zk, data = self._zk, self._data
        try:
            node = await zk.get(self.path)
            if node.stat.ephemeral_owner != zk.session_id:
                self._owner = 0
                self._log_waiting(node.stat.ephemeral_owner)
                return  # somebody else's: its deletion wakes us
            self._owner = zk.session_id
            if node.data != data:
                if self._asserted == data and (pause := self._rivalry.pause()):
                    self._written = None
                    self._log_once("replaces data that somebody else writes, now more slowly")
                    self._wake_in(pause)
                    return
                await zk.set(self.path, data)
        except NoNodeError:
            self._owner = 0
            self._written = None
            self._logged = ""
            try:
                created = await zk.create_with_stat(
                    self.path, data, mode=CreateMode.EPHEMERAL, acl=self._acl, make_parents=True
                )
            except NodeExistsError:
                self._wake()
                return
            self._owner = created.stat.ephemeral_owner
        self._written = self._asserted = data
        if self._data != data:
            self._wake()

    def _log_waiting(self, owner: int) -> None:
        if owner in (0, CONTAINER_OWNER):
            self._log_once("waits for the deletion of the znode, which is no ephemeral")
        else:
            self._log_once(f"waits for the znode of session 0x{owner & ALL_BITS:x} to go")

    def _log_once(self, what: str) -> None:
        if what != self._logged:
            self._logged = what
            logger.warning("%s %s", self, what)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        if self._wakeups is not None:
            self._wakeups.wake()

    async def _leave(self) -> None:
        """Delete the znode, if this session has it or may have just created it."""
        session_id = self._zk.session_id
        self._owner = 0
        if self._zk.state is SessionState.CONNECTED:
            with suppress(ConnectionLossError, SessionExpiredError, ClosedError, *NOT_EXECUTED):
                await self._delete(session_id)
                return
        in_background(while_session_lives(self._zk, session_id, partial(self._delete, session_id)))

    async def _delete(self, session_id: int) -> None:
        with suppress(NoNodeError):
            is_ours = await self._is_of(session_id)
            if not is_ours:
                # A creation may have gone to another server, ahead of what this one has applied.
                await self._zk.sync(self.path)
                is_ours = await self._is_of(session_id)
            if is_ours:
                await self._zk.delete(self.path)

    async def _is_of(self, session_id: int) -> bool:
        stat = await self._zk.exists(self.path)
        return stat is not None and stat.ephemeral_owner == session_id


class _Rivalry:
    """Others who write our znode, too: how long their data stands before it is replaced."""

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._end = 0.0
        """When it may be replaced again, on the clock of the event loop."""

    def pause(self) -> float:
        """Seconds to wait before replacing it; 0: it is replaced now, and the next pause begins."""
        now = asyncio.get_running_loop().time()
        if now < self._end:
            return self._end - now
        if now > self._end + LONGEST_PAUSE_S:
            self._pause_s = 0.0  # they have been quiet
        self._pause_s = min(max(FIRST_PAUSE_S, 2 * self._pause_s), LONGEST_PAUSE_S)
        self._end = now + self._pause_s
        return 0.0
