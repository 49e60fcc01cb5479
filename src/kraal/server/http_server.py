"""HTTP in the server's own loop: uvicorn without its signals, its process and its exit codes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ssl import SSLContext

import uvicorn
from starlette.types import ASGIApp

logger = logging.getLogger("kraal.server.http")
BACKLOG = 128
CONNECTIONS_MAX = 200
HEADERS_MAX_BYTES = 16 << 10
PATIENCE_SECONDS = 1
TLS_HANDSHAKE = b"\x16"


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's, whatever is served in it."""
        yield


class HttpServer:
    """One port with one application, as a task of the running loop."""

    def __init__(
        self, app: ASGIApp, *, idle_timeout_ms: int, tls: Callable[[], SSLContext] | None
    ) -> None:
        """`tls` is asked for the context of each connection."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        config = uvicorn.Config(
            app,
            loop="none",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            backlog=BACKLOG,
            timeout_keep_alive=max(1, idle_timeout_ms // 1000),
            timeout_graceful_shutdown=PATIENCE_SECONDS,
            h11_max_incomplete_event_size=HEADERS_MAX_BYTES,
        )
        config.load()
        self._config, self._tls = config, tls
        self.plain_too: Callable[[], None] | None = None
        """Set before the start: plain HTTP is spoken on the TLS port, too, and counted so."""
        self._uvicorn = _Uvicorn(config)
        self._accepting: asyncio.Task[None] | None = None
        self._admitting: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use; -1: none."""
        if self._socket is None:
            return -1
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Bind and serve. Raises OSError when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            self._socket = None
            raise
        if self._tls is None:
            self._task = asyncio.create_task(self._uvicorn.serve([self._socket]))
            return
        self._socket.setblocking(False)
        self._task = asyncio.create_task(self._uvicorn.serve([]))
        self._accepting = asyncio.create_task(self._accept(self._socket))

    # HTTPS, alone or with HTTP on the same port

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                logger.warning("Accepting a connection to the admin port failed: %s", error)
                await asyncio.sleep(1)
                continue
            if len(self._admitting) >= CONNECTIONS_MAX:
                accepted.close()
                continue
            task = asyncio.create_task(self._admit(accepted))
            self._admitting.add(task)
            task.add_done_callback(self._admitting.discard)

    async def _admit(self, accepted: socket.socket) -> None:
        """Which of both is spoken shows in the first byte, which is looked at and not taken."""
        loop = asyncio.get_running_loop()
        assert self._tls is not None
        try:
            tls: SSLContext | None = self._tls()
            if self.plain_too is not None and await self._first_byte(accepted) != TLS_HANDSHAKE:
                tls = None
                self.plain_too()
            await loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=self._config.timeout_keep_alive if tls else None,
            )
        except Exception as error:  # a stranger's doing, which must not end the server
            logger.debug("A connection to the admin port was lost: %r", error)
            accepted.close()

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        """Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(accepted, readable.set)
        try:
            await asyncio.wait_for(readable.wait(), self._config.timeout_keep_alive)
        finally:
            loop.remove_reader(accepted)
        return accepted.recv(1, socket.MSG_PEEK)

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self._config.http_protocol_class
        return make(config=self._config, server_state=self._uvicorn.server_state, app_state={})

    async def stop(self) -> None:
        """Finish what is being answered, for a moment, and close the port."""
        if self._task is None:
            return
        if self._accepting is not None:
            for task in (self._accepting, *self._admitting):
                task.cancel()
        self._uvicorn.should_exit = True
        (error,) = await asyncio.gather(self._task, return_exceptions=True)
        if error is not None:
            logger.error("The admin port ended with %r", error)
        if self._socket is not None:
            self._socket.close()
