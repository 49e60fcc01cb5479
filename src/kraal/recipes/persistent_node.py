"""A znode that comes back: after its session has expired, and after somebody has deleted it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

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
from kraal.recipes._arguments import check_place
from kraal.recipes._background import in_background, patiently, while_session_lives
from kraal.recipes._service import Service
from kraal.recipes._wakeups import Wakeups


class PersistentNode(Service):
    """Keeps an ephemeral of this client at `path` for as long as it runs::

        async with PersistentNode(zk, "/hosts/a", b"10.0.0.1") as node:
            await node.ready()
            await node.set_data(b"10.0.0.2")

    When the session expires, or somebody deletes the znode, it is created again, and data that
    somebody else has written is replaced by ours. While another session owns the path it waits
    until that one is gone. Missing parents are created, as persistent znodes. `close` deletes the
    znode; without a connection the deletion goes on in the background.

    The path is ours for certain only while `is_present` is true and the client is connected.
    """

    def __init__(
        self, zk: Client, path: str, data: bytes = b"", *, acl: Sequence[Acl] | None = None
    ) -> None:
        super().__init__()
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._data = data
        self._acl = acl
        self._owner = 0
        """The session that the znode was last seen to belong to, if that was ours."""
        self._written: bytes | None = None
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

    async def ready(self) -> None:
        """Wait until the znode is there with its data."""
        self._check()
        await self._until(lambda: self.is_present and self._written == self._data)

    async def set_data(self, data: bytes) -> None:
        """Let the znode hold something else from now on, and wait until it does.

        If the wait is cancelled the new data is written all the same.
        """
        self._check()
        self._data = data
        self._wake()
        await self._until(lambda: self.is_present and self._written == self._data)

    async def _run(self) -> None:
        try:
            async with Wakeups(self._zk, self.path) as self._wakeups:
                while True:
                    await patiently(self._zk, self._assert)
                    self._tell()
                    await self._wakeups.next()
        finally:
            self._wakeups = None
            await self._leave()

    async def _assert(self) -> None:
        """Bring the znode into the state that it should have, if this session may."""
        zk, data = self._zk, self._data
        try:
            node = await zk.get(self.path)
            if node.stat.ephemeral_owner != zk.session_id:
                self._owner = 0
                return  # somebody else's: its deletion wakes us
            self._owner = zk.session_id
            if node.data != data:
                await zk.set(self.path, data)
        except NoNodeError:
            self._owner = 0
            self._written = None
            try:
                created = await zk.create_with_stat(
                    self.path, data, mode=CreateMode.EPHEMERAL, acl=self._acl, make_parents=True
                )
            except NodeExistsError:
                self._wake()
                return
            self._owner = created.stat.ephemeral_owner
        self._written = data
        if self._data != data:
            self._wake()

    def _wake(self) -> None:
        if self._wakeups is not None:
            self._wakeups.wake()

    async def _leave(self) -> None:
        """Delete the znode, if this session has it or may have just created it."""
        session_id = self._zk.session_id
        self._owner = 0
        if self._zk.state is SessionState.CONNECTED:
            with suppress(ConnectionLossError, SessionExpiredError, ClosedError):
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
