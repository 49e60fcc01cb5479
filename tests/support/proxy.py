"""A TCP proxy in the test's own loop, between a client and a server."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Self

from tests.support.servers import HOST


class Proxy:
    """Passes bytes on until it is told to cut, refuse or hold them."""

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` clients speak TLS to it, and it speaks plainly to the server."""
        self.target_port = target_port
        self._tls = tls
        self.certificates: list[bytes] = []
        """Of the clients, in DER."""
        self.port = 0
        self.connections = 0
        """How many were accepted and passed on."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._to_client = asyncio.Event()
        self._to_server = asyncio.Event()
        self._to_client.set()
        self._to_server.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, and new ones as soon as they are there."""
        self._refusing = True
        self.cut()

    def allow(self) -> None:
        self._refusing = False

    def hold_answers(self) -> None:
        """Keep back what the server sends."""
        self._to_client.clear()

    def hold_requests(self) -> None:
        """Keep back what the client sends."""
        self._to_server.clear()

    def release(self) -> None:
        self._to_client.set()
        self._to_server.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio reports one that it makes, and that is cancelled, as a fault.
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tls is not None:
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.certificates.append(certificate)
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self.target_port)
        except OSError:
            writer.transport.abort()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        self.connections += 1
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._pass_on(reader, far_writer, self._to_server),
                self._pass_on(far_reader, writer, self._to_client),
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    @staticmethod
    async def _pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await gate.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
