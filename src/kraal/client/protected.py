"""Creating a znode whose name says who made it, so that a lost answer leaves no doubt.

The name carries an id before the last component, as Curator's protected mode or kazoo's recipes
have it. After a connection loss the maker looks for its id among the children of the parent. It
syncs before it looks: another server may not have applied the create yet, and nothing of the
old connection can still come after that, because the session has moved.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from kraal.client.codec import decode_created
from kraal.client.errors import (
    ConnectionLossError,
    NoNodeError,
    SessionExpiredError,
    ThrottledError,
    ZooKeeperError,
)
from kraal.client.values import Created
from kraal.model.acl import Acl
from kraal.model.create_mode import EPHEMERAL_MODES, CreateMode

if TYPE_CHECKING:
    from kraal.client.client import Client


PAUSE_S = 0.5
"""Before a server that throttles is asked again what has become of a znode."""


class Protected(Enum):
    """How an id and a name make the last component of a path."""

    CURATOR = "_c_{id}-{name}"
    KAZOO = "{id}{name}"

    def new_id(self, bits: int) -> str:
        """An id of the form that these clients use, from 128 random bits."""
        made = uuid.UUID(int=bits, version=4)
        return str(made) if self is Protected.CURATOR else made.hex

    def prefix(self, id_: str) -> str:
        """What the names of all znodes of this maker begin with."""
        return self.value.format(id=id_, name="")

    def path(self, path: str, id_: str) -> str:
        parent, _, name = path.rpartition("/")
        return f"{parent}/{self.value.format(id=id_, name=name)}"


class ProtectedCreate:
    """One protected znode, from the first attempt to the end of all doubt."""

    def __init__(
        self, client: Client, path: str, data: bytes, mode: CreateMode,
        acl: Sequence[Acl] | None, id_: str, name: Protected,
    ) -> None:  # fmt: skip
        self._client = client
        self._mode = mode
        self._path = name.path(path, id_)
        self._op, self._body = client._creation(self._path, data, mode, acl, None, with_stat=True)
        self._parent = path.rpartition("/")[0] or "/"
        self._prefix = name.prefix(id_)

    async def run(self) -> Created:
        """Create the znode, or find it if an earlier attempt has created it."""
        in_doubt = False
        try:
            while True:
                try:
                    if in_doubt and (found := await self._find()) is not None:
                        return found
                    # No `_write`: cancelled, it leaves nothing that a caller had to know of.
                    created = await self._client._submit(
                        self._op, self._body, decode_created, self._path
                    )
                except ConnectionLossError as error:
                    if not error.sent and not in_doubt:
                        raise
                    in_doubt = True
                    await self._client.wait_connected()
                except ThrottledError:
                    if not in_doubt:
                        raise
                    await asyncio.sleep(PAUSE_S)
                else:
                    return Created(self._client._shown(created.path), created.stat)
        except asyncio.CancelledError:
            self._client._in_background(self._clean_up())
            raise
        except SessionExpiredError:
            if in_doubt and self._mode not in EPHEMERAL_MODES:
                self._client._in_background(self._clean_up())
            raise

    async def _find(self) -> Created | None:
        """The znode, if it is there."""
        client = self._client
        await client.sync(self._parent)
        with suppress(NoNodeError):
            for name in await client.get_children(self._parent):
                if name.startswith(self._prefix):
                    path = f"{self._parent.rstrip('/')}/{name}"
                    stat = await client.exists(path)
                    if stat is not None:
                        return Created(path, stat)
        return None

    async def _clean_up(self) -> None:
        """Delete the znode if it is there, however long that takes."""
        client = self._client
        while True:
            try:
                await client.wait_connected()
                found = await self._find()
                if found is not None:
                    with suppress(NoNodeError):
                        await client.delete(found.path)
                return
            except ConnectionLossError:
                continue
            except ThrottledError:
                await asyncio.sleep(PAUSE_S)
            except SessionExpiredError:
                if self._mode in EPHEMERAL_MODES:
                    return
            except ZooKeeperError:
                return  # closed, or not permitted: nothing more can be done
