"""A server of few words: it says what a test tells it to, whatever it is asked."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import kraal
from kraal.client import Client
from tests.support.servers import HOST

PASSWORD = bytes(16)


def frame(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


def accepted(
    timeout_ms: int = 10_000, session: int = 7, *, read_only: bool | None = False
) -> bytes:
    body = struct.pack(">iiqi", 0, timeout_ms, session, 16) + PASSWORD
    return frame(body if read_only is None else body + bytes([read_only]))


def reply(xid: int, code: int = 0, body: bytes = b"", zxid: int = 1) -> bytes:
    return frame(struct.pack(">iqi", xid, zxid, code) + body)


Answer = Callable[[int, int, bytes], bytes | None]
"""From xid, operation and body of a request to what is sent; None closes the connection."""


Hello = bytes | None | Callable[[int, int], bytes | None]
"""The answer to a handshake, perhaps by zxid and session id; None refuses."""


class ScriptedServer:
    """`hellos` are the answers to the handshakes of successive connections."""

    def __init__(self, answer: Answer, *hellos: Hello) -> None:
        self._answer = answer
        self._hellos = list(hellos) or [accepted()]
        self.greetings: list[tuple[int, int, int]] = []
        """zxid, timeout and session id of every handshake."""
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            greeting = await self._frame(reader)
            _, zxid, timeout, session = struct.unpack_from(">iqiq", greeting)
            self.greetings.append((zxid, timeout, session))
            hello = self._hellos.pop(0) if len(self._hellos) > 1 else self._hellos[0]
            answer = hello(zxid, session) if callable(hello) else hello
            while answer is not None:
                writer.write(answer)
                request = await self._frame(reader)
                xid, op = struct.unpack_from(">ii", request)
                answer = reply(xid) if op == -11 else self._answer(xid, op, request[8:])
                if op == -11:
                    writer.write(answer or b"")
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    @staticmethod
    async def _frame(reader: asyncio.StreamReader) -> bytes:
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(length)


@asynccontextmanager
async def client_of(
    answer: Answer, *hellos: Hello, **options: Any
) -> AsyncIterator[tuple[Client, ScriptedServer]]:
    """A client of a scripted server."""
    async with (
        ScriptedServer(answer, *hellos) as scripted,
        kraal.connect(f"{HOST}:{scripted.port}", **options) as zk,
    ):
        yield zk, scripted
