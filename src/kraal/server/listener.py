"""The client port: who may connect, and what happens to those who say nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import ParamSpec

from kraal.admin.source import StatusSource
from kraal.model.config import ServerConfig
from kraal.model.ensemble import readable
from kraal.model.limits import OUTPUT_MAX_BYTES
from kraal.pipeline.counters import Counters
from kraal.replica.replica import Replica
from kraal.server.client_socket import ClientSocket

logger = logging.getLogger("kraal.server.listener")
DEFAULT_BACKLOG = 1024
COMPLAINT_SECONDS = 1.0
P = ParamSpec("P")
STOP_PATIENCE_SECONDS = 1.0


class ClientListener:
    """Accepts clients within the limits (reference/client-protocol.md section 11.2)."""

    def __init__(self, config: ServerConfig, counters: Counters, status: StatusSource) -> None:
        self.config = config
        self.counters = counters
        self.replica: Replica | None = None
        """Whom clients talk to; None: nobody yet, and only four-letter words are answered."""
        self.status = status
        # A single legal reply must fit, however large requests may be.
        self.output_max_bytes = max(OUTPUT_MAX_BYTES, 4 * config.max_buffer_bytes)
        self._sockets: dict[ClientSocket, None] = {}
        self._by_host: Counter[str] = Counter()
        self._sessionless: dict[ClientSocket, None] = {}
        self._last_sessionless: dict[ClientSocket, None] = {}
        self._closing: dict[ClientSocket, None] = {}
        """Closed by the server, while the peer has still to take what it was sent."""
        self._last_closing: dict[ClientSocket, None] = {}
        self._complains_at = 0.0
        self._tokens = config.throttle.connection_tokens
        self._tokens_filled_ms = 0
        self._server: asyncio.Server | None = None

    @property
    def bound_port(self) -> int:
        if self._server is None or not self._server.sockets:
            return -1
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Bind and listen. Raises OSError."""
        config = self.config
        backlog = config.listen_backlog if config.listen_backlog > 0 else DEFAULT_BACKLOG
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: ClientSocket(self),
                config.client_host or None,
                config.client_port or 0,
                backlog=backlog,
                reuse_address=True,
            )
        except OSError as error:
            address = readable(config.client_host or "0.0.0.0", config.client_port or 0)
            code = error.errno or 0  # of a name that does not resolve: negative
            reason = os.strerror(code) if code > 0 else error.strerror or error
            raise OSError(
                f"clientPort={config.client_port}: {address} cannot be listened on: {reason}"
            ) from error

    async def move(self, host: str, port: int) -> None:
        """Listen on another address; connections that are there stay."""
        if port == self.bound_port:
            return
        before = self._server
        loop = asyncio.get_running_loop()
        backlog = self.config.listen_backlog
        try:
            self._server = await loop.create_server(
                lambda: ClientSocket(self),
                host or None,
                port,
                backlog=backlog if backlog > 0 else DEFAULT_BACKLOG,
                reuse_address=True,
            )
        except OSError as error:
            logger.error("Clients stay on port %d: %s", self.bound_port, error)
            return
        logger.info("Clients are served on %s from now on", readable(host, port))
        if before is not None:
            before.close()

    async def stop(self) -> None:
        """Stop accepting and close every connection; who does not take its output is cut off."""
        if self._server is not None:
            self._server.close()
        for socket in list(self._sockets):
            socket.close()
        patience = asyncio.get_running_loop().time() + STOP_PATIENCE_SECONDS
        while self._sockets and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(0.01)
        for socket in list(self._sockets):
            socket.abort()
        if self._server is not None:
            await self._server.wait_closed()

    def admit(self, socket: ClientSocket, host: str) -> bool:
        """Count a connection in, or refuse it without a byte."""
        limits = self.config.throttle
        per_host = limits.max_client_connections
        if per_host and self._by_host[host] >= per_host:
            self._complain("Too many connections from /%s - max is %d", host, per_host)
        elif limits.max_connections and len(self._sockets) >= limits.max_connections:
            self._complain("Too many connections in all - max is %d", limits.max_connections)
        else:
            self._sockets[socket] = None
            self._sessionless[socket] = None
            self._by_host[host] += 1
            return True
        self.counters.connections_rejected += 1
        return False

    def _complain(self, text: str, *args: object) -> None:
        """A refused client comes again at once: of many such lines one a second is enough."""
        now = monotonic()
        is_due = now >= self._complains_at
        if is_due:
            self._complains_at = now + COMPLAINT_SECONDS
        logger.log(logging.WARNING if is_due else logging.DEBUG, text, *args)

    def left(self, socket: ClientSocket, host: str) -> None:
        """Count a connection out."""
        if self._sockets.pop(socket, socket) is None:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]
            self._sessionless.pop(socket, None)
            self._last_sessionless.pop(socket, None)
            self._closing.pop(socket, None)
            self._last_closing.pop(socket, None)

    def ending(self, socket: ClientSocket) -> None:
        """The server closed this one; it is gone when its peer has taken the last output."""
        if socket in self._sockets:
            self._closing[socket] = None

    def admit_session(self, now_ms: int) -> bool:
        """Take a token of the connection throttle, if there is one (section 12.3)."""
        limits = self.config.throttle
        if limits.connection_tokens <= 0:
            self.counters.token_deficit.add(0)
            return True
        fills = (now_ms - self._tokens_filled_ms) // max(limits.connection_token_fill_time_ms, 1)
        if fills:
            self._tokens_filled_ms = now_ms
            filled = self._tokens + fills * limits.connection_token_fill_count
            self._tokens = min(filled, limits.connection_tokens)
        self.counters.token_deficit.add(limits.connection_tokens - self._tokens)
        if self._tokens <= 0:
            self.counters.connections_rejected += 1
            return False
        self._tokens -= 1
        return True

    def close_sessionless(self) -> None:
        """Called once per timeout: whoever was silent for a whole one is closed.

        Whoever did not take its last output in that time is cut off.
        """
        for socket in list(self._last_closing):
            socket.abort()
        self._last_closing, self._closing = self._closing, {}
        for socket in list(self._last_sessionless):
            self.counters.sessionless_expired += 1
            socket.close_if_sessionless()
        self._last_sessionless = self._sessionless
        self._sessionless = {}

    def later(
        self, seconds: float, go_on: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call something after a rest."""
        asyncio.get_running_loop().call_later(seconds, partial(go_on, *args, **kwargs))

    def telnet_answer(self) -> str:
        """To a telnet client's interrupt: the line of a word that is not enabled, or nothing."""
        if "*" in self.config.four_letter_words:
            return ""
        return "telnet close is not executed because it is not in the whitelist.\n"
