"""Peers of our election port that are written out byte by byte, and loops to run them in."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.server.election_transport import ElectionTransport
from kraal.wire.records.election import decode_initial
from tests.support.servers import HOST, free_port
from tests.support.voter import Voter


def ensemble(*ids: int, more: str = "", host: str = HOST) -> EnsembleConfig:
    lines = [f"server.{id_}={host}:{free_port()}:{free_port()}" for id_ in ids]
    return EnsembleConfig.parse("\n".join([*lines, more]))


def settings_of(config: EnsembleConfig, **more: Any) -> EnsembleSettings:
    return EnsembleSettings(config=config, init_limit_ticks=10, sync_limit_ticks=5, **more)


class Ours(ElectionTransport):
    """A transport with an inbox."""

    def __init__(self, me: int, settings: EnsembleSettings) -> None:
        super().__init__(me, settings, self._heard)
        self.inbox: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    def _heard(self, server_id: int, message: bytes) -> None:
        self.inbox.put_nowait((server_id, message))


@asynccontextmanager
async def started(*transports: Ours | Voter) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for transport in transports:
            stack.push_async_callback(transport.stop)
            await transport.start()
        yield


def frame(message: bytes) -> bytes:
    return struct.pack(">i", len(message)) + message


def initial(server_id: int, address: str) -> bytes:
    return struct.pack(">qqi", -65536, server_id, len(address)) + address.encode()


class Stream:
    """One connection of a peer that is written out in the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says_hello(self) -> tuple[int, str]:
        """Id and addresses of the initial message."""
        data = await self.reader.readexactly(20)
        data += await self.reader.readexactly(struct.unpack_from(">i", data, 16)[0])
        decoded = decode_initial(data)
        assert decoded is not None
        return decoded[0].server_id, "|".join(map(str, decoded[0].addresses))

    async def frame(self) -> bytes:
        (length,) = struct.unpack(">i", await self.reader.readexactly(4))
        return await self.reader.readexactly(length)

    async def is_closed(self) -> bool:
        """Whether the other side closes without a further byte."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()


class Foreign:
    """The election port of a server that is written out in the test."""

    def __init__(self, config: EnsembleConfig, server_id: int) -> None:
        self.address = config.members[server_id].election[0]
        self.accepted: asyncio.Queue[Stream] = asyncio.Queue()
        self._streams: list[Stream] = []

    async def __aenter__(self) -> Foreign:
        self._server = await asyncio.start_server(self._accept, *self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.close()
        self._server.close()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = Stream(reader, writer)
        self._streams.append(stream)
        self.accepted.put_nowait(stream)


@asynccontextmanager
async def dialled(ours: Ours, first: bytes = b"", host: str = "") -> AsyncIterator[Stream]:
    """A connection to our election port."""
    address = ours._config.members[ours.me].election[0]
    stream = Stream(*await asyncio.open_connection(host or address.host, address.port))
    stream.send(first)
    try:
        yield stream
    finally:
        stream.close()
        await asyncio.sleep(0)
