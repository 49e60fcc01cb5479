"""HTTP in the server's own loop: uvicorn without its signals, its process and its exit codes."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from ssl import SSLContext
from time import monotonic
from typing import cast
from urllib.parse import unquote

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from kraal.pipeline.complaints import Complaints
from kraal.server.http_connection import Crowd, HttpConnection
from kraal.server.tls.port import TlsPort

logger = logging.getLogger("kraal.server.http")
BACKLOG = 128
CONNECTIONS_MAX = 200
_SHARE_OF_DESCRIPTORS = 8
"""A port takes at most one of so many: the others are for clients."""
REQUESTS_MAX = 100
"""Under way at once; half of the connections at most, so that always one of them can give way."""
HEADERS_MAX_BYTES = 16 << 10
PATIENCE_SECONDS = 1


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's, whatever is served in it."""
        yield


class _OnceASecond(logging.Filter):
    """Of what strangers make uvicorn warn of."""

    _due = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        now = monotonic()
        if now < self._due:
            return False
        self._due = now + 1
        return True


_once_a_second = _OnceASecond()


def _connections_max() -> int:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return min(CONNECTIONS_MAX, max(2, descriptors // _SHARE_OF_DESCRIPTORS))


def _to_origin_form(scope: Scope) -> None:
    """A target may be a whole URL, as proxies are sent it (RFC 9112 section 3.2.2)."""
    scheme, mark, rest = scope["raw_path"].partition(b"://")
    if mark and scheme.lower() in (b"http", b"https"):
        scope["raw_path"] = b"/" + rest.partition(b"/")[2]
        scope["path"] = unquote(scope["raw_path"].decode("ascii"))


class _Limited:
    """An application that answers 503 to what is too much at once."""

    def __init__(self, app: ASGIApp, limit: int, always: Collection[str]) -> None:
        self._app, self._limit, self._always = app, limit, always
        self._under_way = 0
        self._complaints = Complaints(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _to_origin_form(scope)
        if scope["path"] in self._always:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._limit:
            text = "Too many requests to an HTTP port are under way - max is %d; answering 503"
            self._complaints.warn(1000 * monotonic(), text, self._limit)
            busy = PlainTextResponse("Service Unavailable", 503, {"connection": "close"})
            await busy(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


class HttpServer:
    """One port with one application, as a task of the running loop."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        idle_timeout_ms: int,
        tls: Callable[[], SSLContext] | None,
        always: Collection[str] = (),
    ) -> None:
        """`tls` is asked for the context of each connection; the paths `always` have no limit."""
        of_uvicorn = logging.getLogger("uvicorn.error")
        of_uvicorn.setLevel(logging.WARNING)
        of_uvicorn.addFilter(_once_a_second)
        limit = self._connections_max = _connections_max()
        make = partial(HttpConnection, crowd=Crowd(limit, idle_timeout_ms / 1000))
        config = uvicorn.Config(
            _Limited(app, min(REQUESTS_MAX, limit // 2), always),
            loop="none",
            http=cast("type[asyncio.Protocol]", make),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
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
        tls_port.pending_max = self._connections_max
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
