"""Ids that no other client gets, ever, as long as the path is not deleted."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from functools import partial

from kraal.client import BadVersionError, Client, ConnectionLossError, Created, NoNodeError
from kraal.recipes._arguments import check_count, check_place
from kraal.recipes._background import in_background, patiently, while_session_lives
from kraal.recipes._conditional import ensure, set_if
from kraal.recipes._names import LAST_NUMBER, child
from kraal.recipes.errors import RecipeError


class SequenceIds:
    """Small numbers in the order in which they were asked for, one request for each::

        ids = SequenceIds(zk, "/ids/orders")
        number = await ids.next()

    The number is that of a sequential ephemeral znode, which is deleted at once; the servers count
    on. When a reply is lost or a call is cancelled a number may be left out, but none is given
    twice. There are 2**31 - 1 of them; then RecipeError is raised.
    """

    def __init__(self, zk: Client, path: str) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path

    def __repr__(self) -> str:
        return f"SequenceIds({self.path!r})"

    async def next(self) -> int:
        """An id that nobody has got before."""
        created = await patiently(self._zk, self._create)
        delete = partial(self._delete, created.path)
        in_background(while_session_lives(self._zk, created.stat.ephemeral_owner, delete))
        number = int(created.path[-10:])
        if number >= LAST_NUMBER:
            raise RecipeError(f"the numbers of {self.path} are used up: use another path")
        return number

    async def _create(self) -> Created:
        while True:
            with suppress(NoNodeError):
                return await self._zk.create_protected(child(self.path, "id-"))
            await ensure(self._zk, self.path)

    async def _delete(self, path: str) -> None:
        with suppress(NoNodeError):
            await self._zk.delete(path)


class BlockIds:
    """Numbers from blocks that are reserved ahead: most are given without any request::

        ids = BlockIds(zk, "/ids/events", size=1000)
        number = await ids.next()

    The znode holds the first number that is not reserved yet (as a `Counter` does), and a block
    is reserved by a write on the condition of its version. A block whose reservation is in doubt
    is given up, and so is the rest of one when its client ends: numbers are left out then, none
    is given twice. One object may be used by many tasks, which share its blocks.
    """

    def __init__(self, zk: Client, path: str, size: int = 1000, *, first: int = 0) -> None:
        check_count("size", size)
        check_count("first", first, least=-math.inf)
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self.size = size
        self.first = first
        self._block = iter(range(0))
        self._reserving = asyncio.Lock()

    def __repr__(self) -> str:
        return f"BlockIds({self.path!r}, {self.size})"

    async def next(self) -> int:
        """An id that nobody has got before. Raises RecipeError if the znode holds no number."""
        number = next(self._block, None)
        while number is None:
            async with self._reserving:
                number = next(self._block, None)  # another task may have been here meanwhile
                if number is None:
                    self._block = iter(await self.reserve())
                    number = next(self._block, None)
        return number

    async def reserve(self) -> range:
        """A whole block for the caller alone."""
        while True:
            try:
                node = await patiently(self._zk, partial(self._zk.get, self.path))
            except NoNodeError:
                await ensure(self._zk, self.path)
                continue
            start = self._decode(node.data)
            block = range(start, start + self.size)
            # In doubt or not the fastest: that block is not ours.
            with suppress(BadVersionError, ConnectionLossError, NoNodeError):
                await set_if(self._zk, self.path, b"%d" % block.stop, node.stat.version)
                return block

    def _decode(self, data: bytes) -> int:
        try:
            return int(data) if data else self.first
        except ValueError:
            raise RecipeError(f"{self.path} holds no number") from None
