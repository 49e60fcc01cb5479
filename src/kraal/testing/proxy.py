"""Doors: ports that lead to another port of this machine, unless they are shut.

Everything that should be cut off on demand passes one: no right, tool or system is needed for it.
All of it runs in one loop.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import cast

from kraal.local.layout import HOST

DIAL_SECONDS = 5.0
OPEN_BYTE = b"\x01"


class Way(Enum):
    """What a door does with those who come to it."""

    NEW = auto()
    """Nothing was said of it yet; nobody listens."""
    OPEN = auto()
    REFUSED = auto()
    """Connections were reset, and new ones are refused."""
    SILENT = auto()
    """Nothing arrives and nothing is said about it, as when packets are lost."""


class Door:
    """One port and where it leads; several may make up the way from one server to another."""

    def __init__(self, port: int, target: int, *, says_open: bool = False) -> None:
        """`says_open`: who comes is sent a byte once the target has been reached."""
        self.port = port
        self.says_open = says_open
        self.target = target
        self.way = Way.NEW
        self._server: asyncio.Server | None = None
        self._pairs: set[Pair] = set()

    async def set(self, way: Way) -> None:
        """Be like this from now on, for connections that are there as well."""
        self.way = way
        if way is Way.REFUSED:
            if self._server is not None:
                self._server.close()
                self._server = None
            self.reset()
        elif self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._accept, HOST, self.port)
        for pair in list(self._pairs):
            pair.update()

    def reset(self) -> None:
        """Reset the connections that are there."""
        for pair in list(self._pairs):
            pair.abort()

    def _accept(self) -> End:
        pair = Pair(self)
        self._pairs.add(pair)
        return pair.near

    def left(self, pair: Pair) -> None:
        """A connection is over."""
        self._pairs.discard(pair)

    async def dial(self, end: End) -> None:
        """Connect the far end of a pair. Raises OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DIAL_SECONDS):
            await loop.create_connection(lambda: end, HOST, self.target)


class Pair:
    """A connection through a door: one end to who came, one to where the door leads."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.near, self.far = End(self), End(self)
        self.near.other, self.far.other = self.far, self.near
        self._dialling: asyncio.Task[None] | None = None

    @property
    def is_silent(self) -> bool:
        return self.door.way is Way.SILENT

    def update(self) -> None:
        """Something has changed: go on as far as the door and both ends allow."""
        if not self.is_silent and self._dialling is None and self.near.transport is not None:
            self._dialling = asyncio.create_task(self._dial())
        for end in (self.near, self.far):
            end.update()
        if self.near.is_lost and (self.far.is_lost or self.far.transport is None):
            self.abort()

    def abort(self) -> None:
        """Reset both connections."""
        self.door.left(self)
        if self._dialling is not None:
            self._dialling.cancel()
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.abort()

    async def _dial(self) -> None:
        try:
            await self.door.dial(self.far)
        except OSError:
            self.abort()
            return
        if self.door.says_open and self.near.transport is not None:
            self.near.transport.write(OPEN_BYTE)


class End(asyncio.Protocol):
    """One of the two sockets of a connection."""

    other: End

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.transport: asyncio.Transport | None = None
        self.is_full = False
        """Whether it does not take more output now."""
        self.is_lost = False
        self._held = bytearray()

    @property
    def _may_pass(self) -> bool:
        """Whether what it receives can go on to the other end."""
        return not self._pair.is_silent and self.other.transport is not None

    def update(self) -> None:
        """Pass on what is held, read or leave what comes, close when the other end is lost."""
        transport = self.transport
        if self._held and self._may_pass:
            held, self._held = bytes(self._held), bytearray()
            self.data_received(held)
        if transport is None or transport.is_closing():
            return
        if self.other.is_lost and not self._pair.is_silent:
            transport.close()
        elif self._may_pass and not self.other.is_full:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._pair.update()

    def data_received(self, data: bytes) -> None:
        if self._may_pass:
            assert self.other.transport is not None
            self.other.transport.write(data)
        else:
            # Not every loop can be kept from reading before its first read.
            self._held += data
            self.update()

    def pause_writing(self) -> None:
        self.is_full = True
        self._pair.update()

    def resume_writing(self) -> None:
        self.is_full = False
        self._pair.update()

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_lost = True
        self._pair.update()
