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

from kraal.server.tls.port import TlsPort

logger = logging.getLogger("kraal.server.http")
BACKLOG = 128
CONNECTIONS_MAX = 200
HEADERS_MAX_BYTES = 16 << 10
PATIENCE_SECONDS = 1


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
        self._tls_port: TlsPort | None = None
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
        self._task = asyncio.create_task(self._uvicorn.serve([]))
        patience = self._config.timeout_keep_alive
        tls_port = self._tls_port = TlsPort(
            "admin port", self._tls, lambda _host: self._protocol(), handshake_seconds=patience
        )
        tls_port.pending_max = CONNECTIONS_MAX
        if (count := self.plain_too) is not None:
            tls_port.detection_seconds = patience
            tls_port.on_plain = lambda _host: count()
        tls_port.start([self._socket])

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self._config.http_protocol_class
        return make(config=self._config, server_state=self._uvicorn.server_state, app_state={})

    async def stop(self) -> None:
        """Finish what is being answered, for a moment, and close the port."""
        if self._task is None:
            return
        if self._tls_port is not None:
            self._tls_port.close()
        self._uvicorn.should_exit = True
        (error,) = await asyncio.gather(self._task, return_exceptions=True)
        if error is not None:
            logger.error("The admin port ended with %r", error)
        if self._socket is not None and self._tls_port is None:
            self._socket.close()
