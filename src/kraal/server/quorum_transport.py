"""The quorum port: learners dial the leader and keep one connection.

Rules: reference/quorum-protocol.md sections 4.2 and 5.5. A peer that does not take its output is
cut off when what waits for it passes a bound; it comes back and is brought in step.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import cast

from kraal.model.ensemble import Address
from kraal.pipeline.auth.ip import show
from kraal.pipeline.complaints import Complaints
from kraal.server.quorum_sasl import AuthEnd, Login, QuorumAuthError
from kraal.server.tls.port import TlsPort, failure
from kraal.server.tls.quorum import SPEAKS_TLS, QuorumTls, connect
from kraal.tls.alerts import is_tls

logger = logging.getLogger("kraal.server.quorum")
OUTPUT_MAX_BYTES = 256 << 20
"""What may wait for one peer."""
SLICES_PER_TURN = 4
DIAL_ATTEMPTS = 9
FIRST_DELAY_MS = 10
"""Doubled up to `leaderConnectDelayDuringRetryMs`: the leader may decide some ms after us."""
BACKLOG = 128
FINISH_PATIENCE_SECONDS = 5.0


class QuorumLink(asyncio.Protocol):
    """One end of a connection between leader and learner; Zab knows it as its `Link`."""

    def __init__(
        self,
        *,
        opened: Callable[[QuorumLink], None],
        received: Callable[[QuorumLink, bytes], None],
        lost: Callable[[QuorumLink], None],
        no_delay: bool = True,
        output_max_bytes: int = OUTPUT_MAX_BYTES,
        auth: AuthEnd | None = None,
        auth_seconds: float = 10.0,
        complaints: Complaints | None = None,
    ) -> None:
        """`opened` is called when an exchange of `auth`, which has so much time, is over.

        `complaints` are those of all links that strangers can make; its own by default.
        """
        self._complaints = complaints or Complaints(logger)
        self._has_heard = False
        """Whether the first bytes have come, and are not those of TLS."""
        self._auth = auth
        self._auth_seconds = auth_seconds
        self.login = Login()
        self._limit: asyncio.TimerHandle | None = None
        self._opened = opened
        self._received = received
        self._lost = lost
        self._no_delay = no_delay
        self._output_max_bytes = output_max_bytes
        self._transport: asyncio.Transport | None = None
        self._queue: deque[bytes | Iterator[bytes]] = deque()
        """What waits behind a stream; empty without one."""
        self._queued_bytes = 0
        self._is_paused = False
        self._is_pumping = False
        self.name = "?"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.name = str(Address(show(peer[0]), peer[1]))
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(self._no_delay))
        # Send at once, not at the end of the loop's turn: the peer works meanwhile.
        self._transport.set_write_buffer_limits(high=0)
        first = self.login.begin(self._auth)
        if not self.login.is_going_on:
            self._opened(self)
            return
        self._transport.write(first)
        self._limit = asyncio.get_running_loop().call_later(self._auth_seconds, self._too_late)

    def data_received(self, data: bytes) -> None:
        if not self._has_heard:
            self._has_heard = True
            if is_tls(data):
                self._complain("Closing the connection of %s: %s", SPEAKS_TLS)
                self._give_up()
                return
        if self.login.is_going_on:
            data = self._log_in_on(data)
        if self._transport is not None and data:
            self._received(self, data)

    def _complain(self, text: str, reason: str) -> None:
        now_ms = 1000 * asyncio.get_running_loop().time()
        self._complaints.warn(now_ms, text, self.name, reason)

    def _give_up(self) -> None:
        """Close now, and tell so."""
        was_opened = not self.login.is_going_on
        self.close()
        if was_opened:
            self._lost(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):
            self._complain("The connection of %s is lost: %s", failure(exc))
        if self._transport is not None:
            was_opened = not self.login.is_going_on
            self._forget()
            if was_opened:
                self._lost(self)

    def _log_in_on(self, data: bytes) -> bytes:
        """What arrived behind the exchange, once it is over."""
        transport = self._transport
        if transport is None:
            return b""
        try:
            transport.write(self.login.feed(data))
        except QuorumAuthError as error:
            logger.warning("Closing the connection of %s: %s", self.name, error)
            transport.write(self.login.last_words)
            self._forget()
            transport.close()
            return b""
        if self.login.is_going_on:
            return b""
        if self._limit is not None:
            self._limit.cancel()
        self._opened(self)
        return self.login.rest

    def _too_late(self) -> None:
        logger.warning("Closing the connection of %s: it does not log in", self.name)
        self.close()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._pump()

    # What Zab calls

    def send(self, data: bytes) -> None:
        """Send bytes, in order."""
        transport = self._transport
        if transport is None:
            return
        if self._queue:
            self._queue.append(data)
            self._queued_bytes += len(data)
        else:
            transport.write(data)
            if not self._is_paused:
                return
        if self._queued_bytes + transport.get_write_buffer_size() > self._output_max_bytes:
            logger.warning("Closing the connection of %s: it does not read", self.name)
            self.close()
            self._lost(self)

    def stream(self, slices: Iterator[bytes]) -> None:
        """Send what the iterator makes, drawn as the connection takes it."""
        if self._transport is not None:
            self._queue.append(slices)
            self._pump()

    def close(self) -> None:
        """Close now; nothing further arrives."""
        transport = self._transport
        if transport is not None:
            self._forget()
            transport.abort()

    def finish(self) -> None:
        """Send what was given, then close; a peer that does not take it is cut off."""
        transport = self._transport
        if transport is not None:
            for item in self._queue:
                if isinstance(item, bytes):
                    transport.write(item)
            self._forget()
            transport.close()
            asyncio.get_running_loop().call_later(FINISH_PATIENCE_SECONDS, transport.abort)

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pump(self) -> None:
        """Some slices now, the others in later turns: a snapshot does not stop the loop."""
        queue = self._queue
        if self._is_pumping or self._transport is None:
            return
        for _ in range(SLICES_PER_TURN):
            if not queue or self._is_paused:
                return
            head = queue[0]
            if isinstance(head, bytes):
                queue.popleft()
                self._queued_bytes -= len(head)
                self._transport.write(head)
                continue
            piece = next(head, None)
            if piece is None:
                queue.popleft()
            else:
                self._transport.write(piece)
        self._is_pumping = True
        asyncio.get_running_loop().call_soon(self._pump_on)

    def _pump_on(self) -> None:
        self._is_pumping = False
        self._pump()

    def _forget(self) -> None:
        self._transport = None
        self.login.fail("the connection is closed")
        if self._limit is not None:
            self._limit.cancel()
        self._queue.clear()
        self._queued_bytes = 0


LinkFactory = Callable[[], QuorumLink]


class QuorumListener:
    """The leader's quorum port, bound while it leads."""

    def __init__(self, factory: LinkFactory, tls: QuorumTls | None = None) -> None:
        self._factory = factory
        self._tls = tls
        self._servers: list[asyncio.Server | TlsPort] = []
        self._starting: list[asyncio.Task[None]] = []
        self._sockets: list[socket.socket] = []

    def start(self, addresses: Sequence[Address]) -> None:
        """Bind and listen at once: who was told of this leader may dial. Raises OSError."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listening = socket.create_server(
                (address.host, address.port), family=family, backlog=BACKLOG
            )
            listening.setblocking(False)
            if self._tls is not None:
                port = self._tls.port("quorum port", self._factory)
                port.start([listening])
                self._servers.append(port)
                continue
            self._sockets.append(listening)
            self._starting.append(loop.create_task(self._serve(listening)))

    async def _serve(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._factory, sock=listening, backlog=BACKLOG)
        if listening in self._sockets:
            self._servers.append(server)
        else:
            server.close()

    def stop(self) -> None:
        """Accept nobody; connections that are there stay."""
        for server in self._servers:
            server.close()
        for task in self._starting:
            if not task.done():
                task.cancel()
        for listening in self._sockets:
            with suppress(OSError):
                listening.close()
        self._servers.clear()
        self._starting.clear()
        self._sockets.clear()


class QuorumDialer:
    """Connects a learner to its leader; one attempt at a time."""

    def __init__(
        self,
        factory: LinkFactory,
        connected: Callable[[QuorumLink], None],
        failed: Callable[[], None],
        tls: QuorumTls | None = None,
    ) -> None:
        self._factory = factory
        self._tls = tls
        self._connected = connected
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    def start(self, addresses: Sequence[Address], *, delay_ms: int, limit_ms: int) -> None:
        """Dial all addresses until one answers or some attempts have failed (section 4.2)."""
        self.stop()
        self._task = asyncio.get_running_loop().create_task(
            self._dial(addresses, delay_ms, limit_ms / 1000)
        )

    def stop(self) -> None:
        """Dial no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _dial(self, addresses: Sequence[Address], delay_ms: int, limit: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        hosts = {address.host for address in addresses}
        tasks = [
            loop.create_task(self._dial_one(address, hosts, delay_ms, deadline))
            for address in addresses
        ]
        pending, answered = set(tasks), None
        try:
            while pending and answered is None:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                answered = next((link for task in done if (link := task.result())), None)
        finally:
            for task in tasks:
                if not task.done():
                    task.cancel()
                elif (link := task.result()) is not None and link is not answered:
                    link.close()
        if answered is not None:
            self._connected(answered)
        else:
            self._failed()

    async def _dial_one(
        self, address: Address, hosts: Collection[str], delay_ms: int, deadline: float
    ) -> QuorumLink | None:
        """None: it does not answer."""
        loop = asyncio.get_running_loop()
        reason = "no answer"
        for attempt in range(DIAL_ATTEMPTS):
            link = self._factory()
            try:
                async with asyncio.timeout_at(deadline):
                    # A name is resolved anew at each attempt.
                    await connect(self._tls, link, address.host, address.port, hosts)
                    await link.login.over()
            except (OSError, TimeoutError, UnicodeError) as error:
                link.close()
                reason = str(error) or "no answer"
                logger.debug("Dialling the leader at %s: %s", address, reason)
            except asyncio.CancelledError:
                link.close()  # uvloop may have made the connection already
                raise
            else:
                return link
            delay = min(FIRST_DELAY_MS << attempt, delay_ms) / 1000
            if loop.time() + delay > deadline:
                break
            await asyncio.sleep(delay)
        logger.warning("Cannot dial the leader at %s: %s", address, reason)
        return None
