"""The client port: who may connect, and what happens to those who say nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import cached_property, partial
from ssl import SSLContext
from time import monotonic
from typing import ParamSpec

from kraal.admin.source import StatusSource
from kraal.errors import DecodeError
from kraal.model.config import ServerConfig
from kraal.model.ensemble import Address, readable
from kraal.model.limits import OUTPUT_MAX_BYTES
from kraal.pipeline.complaints import Complaints
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counters
from kraal.replica.replica import Replica
from kraal.server.attention import Attention
from kraal.server.client_port import ClientPort
from kraal.server.client_socket import ClientSocket
from kraal.turns import Turns, turns

logger = logging.getLogger("kraal.server.listener")
DEFAULT_BACKLOG = 1024
PLAIN, SECURE = "clientPort", "secureClientPort"
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
        self.attention = Attention(config.lone_client_poll_us)
        # A single legal reply must fit, however large requests may be.
        self.output_max_bytes = max(OUTPUT_MAX_BYTES, 4 * config.max_buffer_bytes)
        self._sockets: dict[ClientSocket, None] = {}
        self._by_host: Counter[tuple[str, bool]] = Counter()
        """Of each port by itself."""
        self._sessionless: dict[ClientSocket, None] = {}
        self._last_sessionless: dict[ClientSocket, None] = {}
        self._closing: dict[ClientSocket, None] = {}
        """Closed by the server, while the peer has still to take what it was sent."""
        self._last_closing: dict[ClientSocket, None] = {}
        self._complaints = Complaints(logger)
        self._tokens = config.throttle.connection_tokens
        self._tokens_filled_ms = 0
        self._addresses = {
            PLAIN: _address(config.client_host, config.client_port),
            SECURE: _address(config.secure_client_host, config.secure_client_port),
        }
        """Where to listen, or where it was tried last."""
        self._is_started = False
        self._tls: Callable[[], SSLContext] | None = None
        self._plain: ClientPort | None = None
        self._secure: ClientPort | None = None

    @cached_property
    def turns(self) -> Turns:
        """Those of the loop in which clients are accepted."""
        return turns()

    @property
    def bound_port(self) -> int:
        """Of the plain port; -1: there is none."""
        return -1 if self._plain is None else self._plain.port

    @property
    def secure_port(self) -> int:
        """Of the port that speaks TLS alone; -1: there is none."""
        return -1 if self._secure is None else self._secure.port

    @property
    def handshakes(self) -> int:
        """TLS handshakes under way."""
        return sum(port.handshakes for port in (self._plain, self._secure) if port is not None)

    async def start(self, tls: Callable[[], SSLContext] | None = None) -> None:
        """Bind and listen where the configuration says; `tls` gives the context of now. OSError."""
        self._tls = tls
        self._is_started = True
        if (plain := self._addresses[PLAIN]) is not None:
            self._plain = await self._open(PLAIN, *plain)
        if (secure := self._addresses[SECURE]) is not None:
            self._secure = await self._open(SECURE, *secure)

    async def _open(self, key: str, host: str, port: int) -> ClientPort:
        backlog = self.config.listen_backlog
        opened = ClientPort(self, is_secure=key == SECURE, tls=self._tls)
        try:
            await opened.start(host, port, backlog if backlog > 0 else DEFAULT_BACKLOG)
        except OSError as error:
            address = readable(host or "0.0.0.0", port)
            code = error.errno or 0  # of a name that does not resolve: negative
            reason = os.strerror(code) if code > 0 else error.strerror or error
            raise OSError(f"{key}={port}: {address} cannot be listened on: {reason}") from error
        return opened

    async def move(self, plain: Address | None, secure: Address | None) -> None:
        """Listen on other addresses; connections that are there stay."""
        if plain is not None:
            self._plain = await self._moved(PLAIN, self._plain, plain)
        if secure is not None:
            self._secure = await self._moved(SECURE, self._secure, secure)

    async def _moved(
        self, key: str, before: ClientPort | None, address: Address
    ) -> ClientPort | None:
        known, self._addresses[key] = self._addresses[key], address
        is_there = known is not None and known.port == address.port
        if is_there or not self._is_started or (before and before.port == address.port):
            return before
        try:
            if key == SECURE and self._tls is None:
                raise OSError("this server has no certificates: ssl.keyStore.location")
            opened = await self._open(key, *address)
        except OSError as error:
            logger.error("Clients are not served on %s: %s", readable(*address), error)
            return before
        logger.info("Clients are served on %s from now on", readable(*address))
        if before is not None:
            before.close()
        return opened

    async def stop(self) -> None:
        """Stop accepting and close every connection; who does not take its output is cut off."""
        ports = [port for port in (self._plain, self._secure) if port is not None]
        for port in ports:
            port.close()
        for socket in list(self._sockets):
            socket.close()
        patience = asyncio.get_running_loop().time() + STOP_PATIENCE_SECONDS
        while self._sockets and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(0.01)
        for socket in list(self._sockets):
            socket.abort()
        for port in ports:
            await port.wait_closed()

    def admit(self, socket: ClientSocket, host: str) -> bool:
        """Count a connection in, or refuse it without a byte."""
        limits = self.config.throttle
        per_host = limits.max_client_connections
        if per_host and self._by_host[host, socket.is_secure] >= per_host:
            self._complain("Too many connections from /%s - max is %d", host, per_host)
        elif limits.max_connections and len(self._sockets) >= limits.max_connections:
            self._complain("Too many connections in all - max is %d", limits.max_connections)
        else:
            self._sockets[socket] = None
            self._sessionless[socket] = None
            self._by_host[host, socket.is_secure] += 1
            return True
        self.counters.connections_rejected += 1
        return False

    def _complain(self, text: str, *args: object) -> None:
        """A refused client comes again at once: of many such lines one a second is enough."""
        self._complaints.warn(1000 * monotonic(), text, *args)

    def speaks_tls(self, conn: ClientConnection) -> None:
        """A client of a plain port begins with TLS."""
        port = self.secure_port
        where = (
            f"the port with it is secureClientPort={port}"
            if port >= 0
            else "secureClientPort, or client.portUnification=true, would have it spoken"
        )
        self._complain("closing %s:%d: it speaks TLS, and this port does not; %s",
                       conn.host, conn.port, where)  # fmt: skip

    def refuses_first(self, conn: ClientConnection, error: DecodeError) -> None:
        """What a client begins with is no frame, or longer than any may be."""
        self._complain("closing %s:%d before it has a session: %s; jute.maxbuffer=%d",
                       conn.host, conn.port, error, self.config.max_buffer_bytes)  # fmt: skip

    def left(self, socket: ClientSocket, host: str) -> None:
        """Count a connection out."""
        if self._sockets.pop(socket, socket) is None:
            key = host, socket.is_secure
            self._by_host[key] -= 1
            if not self._by_host[key]:
                del self._by_host[key]
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


def _address(host: str, port: int | None) -> Address | None:
    return None if port is None else Address(host, port)
