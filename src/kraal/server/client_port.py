"""A port for clients: plain, TLS, or both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ssl import SSLContext
from typing import TYPE_CHECKING

from kraal.pipeline.auth.ip import show
from kraal.server.client_socket import ClientSocket
from kraal.server.tls.peers import verify_address
from kraal.server.tls.port import TlsPort, listen

if TYPE_CHECKING:
    from kraal.server.listener import ClientListener


class ClientPort:
    """Gives connections to a listener. A plain port is asyncio's own server, the shortest way."""

    def __init__(
        self, listener: ClientListener, *, is_secure: bool, tls: Callable[[], SSLContext] | None
    ) -> None:
        self._listener = listener
        self._is_secure = is_secure
        """Whether only TLS is spoken."""
        self._server: asyncio.Server | None = None
        self._tls_port: TlsPort | None = None
        config, counters = listener.config, listener.counters
        if is_secure or config.unified_client_port:
            assert config.client_tls is not None
            assert tls is not None
            port = self._tls_port = TlsPort("client port", tls, self._begin)
            port.on_end = self._end
            port.plain_hint = ", as this port demands"
            if config.client_port is not None:
                port.plain_hint += f"; the port without it is clientPort={config.client_port}"
            port.handshakes_max = config.outstanding_handshakes_max
            port.on_failure = counters.handshake_failed
            port.on_excess = counters.handshake_exceeded
            if config.client_tls.verifies_clients:
                port.verify = verify_address
            if not is_secure:
                port.detection_seconds = config.client_tls.detection_ms / 1000

    @property
    def port(self) -> int:
        """The port in use; -1: none."""
        if self._tls_port is not None:
            return self._tls_port.port
        if self._server is None or not self._server.sockets:
            return -1
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def handshakes(self) -> int:
        """Under way."""
        return 0 if self._tls_port is None else self._tls_port.handshakes

    async def start(self, host: str, port: int, backlog: int) -> None:
        """Bind and listen; an empty host is every interface. Raises OSError."""
        if self._tls_port is not None:
            self._tls_port.start(await listen(host, port, backlog=backlog))
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientSocket(self._listener),
            host or None,
            port,
            backlog=backlog,
            reuse_address=True,
        )

    def close(self) -> None:
        """Accept nobody; connections stay."""
        if self._tls_port is not None:
            self._tls_port.close()
        if self._server is not None:
            self._server.close()

    async def wait_closed(self) -> None:
        if self._tls_port is not None:
            await self._tls_port.wait_closed()
        if self._server is not None:
            await self._server.wait_closed()

    def _begin(self, host: str) -> asyncio.Protocol | None:
        """A socket within the limits, which count before the handshake."""
        socket = ClientSocket(self._listener, is_secure=self._is_secure)
        return socket if socket.enter(show(host)) else None

    def _end(self, protocol: asyncio.Protocol) -> None:
        assert isinstance(protocol, ClientSocket)
        protocol.leave()
