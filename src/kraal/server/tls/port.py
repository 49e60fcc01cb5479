"""A port that speaks TLS, alone or together with the plain protocol.

Connections are accepted here and not by asyncio's server, so that each gets the certificates of
now, is counted before it has shaken hands, and a failed handshake has a name and a reason. What
is spoken shows in the first byte, which is looked at and not taken (reference/operations.md
section 7.2, reference/quorum-protocol.md section 2.6).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from ssl import SSLContext, SSLObject
from time import monotonic

from kraal.model.ensemble import readable
from kraal.pipeline.complaints import Complaints
from kraal.server.tls.guard import TlsGuard
from kraal.tls.alerts import alert_of

logger = logging.getLogger("kraal.server.tls")
HANDSHAKE = b"\x16"
"""The first byte of whoever begins with TLS."""
HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 5.0
FAREWELL_SECONDS = 1.0
FAREWELL_BYTES = 256 << 10
"""What a refused peer may go on sending before it has read why."""
REST_SECONDS = 1.0
ACCEPTED_PER_TURN = 64
_REASONS = {
    "HTTP_REQUEST": "it speaks HTTP and not TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is accepted here",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection",
    "UNSUPPORTED_PROTOCOL": "it offers no version of TLS that is accepted here",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust this server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses this server's certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it demands a certificate of this server",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses this server's handshake",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "this server's certificate has expired",
}
"""OpenSSL's words, and what they mean to an operator."""


class TlsPort:
    """Gives connections to protocols, on sockets that listen."""

    def __init__(
        self,
        name: str,
        context: Callable[[], SSLContext],
        begin: Callable[[str], asyncio.Protocol | None],
        *,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        """`name` is what the log calls the port; `context` is asked for that of each connection.

        `begin` gives what takes a connection from an address; None: it is closed at once.
        """
        self._name = name
        self._context = context
        self._begin = begin
        self.on_end: Callable[[asyncio.Protocol], None] = lambda _protocol: None
        """Told of a protocol that gets no connection: the peer left, or the handshake failed."""
        self._handshake_seconds = handshake_seconds
        self.detection_seconds: float | None = None
        """Set before the start: the plain protocol is spoken, too, and silence is plain."""
        self.verify: Callable[[SSLObject, str], Awaitable[str | None]] | None = None
        """Set before the start: why the owner of a certificate may not come from this address."""
        self.plain_hint = ""
        """Set before the start: what an operator is told of who does not speak TLS."""
        self.handshakes_max = -1
        """How many may be under way; -1: any number."""
        self.handshakes = 0
        """Under way."""
        self.on_plain: Callable[[str], None] = lambda _host: None
        """Told of the address of a connection without TLS."""
        self.on_failure: Callable[[], None] = lambda: None
        """Told of a handshake that failed."""
        self.on_excess: Callable[[], None] = lambda: None
        """Told of a connection that was closed because too many shake hands."""
        self._complaints = Complaints(logger)
        self._listening: list[socket.socket] = []
        self.pending_max: int | None = None
        """How many may not be open yet; one more closes the one that came first."""
        self._admitting: dict[asyncio.Task[bool], None] = {}
        """Connections that are not open yet, the first to come first."""

    @property
    def port(self) -> int:
        """The port in use; -1: none."""
        if not self._listening:
            return -1
        port: int = self._listening[0].getsockname()[1]
        return port

    def start(self, listening: Iterable[socket.socket]) -> None:
        """Accept on these sockets, which are its own from now on."""
        for each in listening:
            each.setblocking(False)
            self._listening.append(each)
            self._watch(each)

    def close(self) -> None:
        """Accept nobody; who shakes hands is closed, other connections stay."""
        for task in self._admitting:
            task.cancel()
        for each in self._listening:
            asyncio.get_running_loop().remove_reader(each)
            each.close()
        self._listening.clear()

    async def wait_closed(self) -> None:
        """Until those who were shaking hands are gone."""
        await asyncio.gather(*self._admitting, return_exceptions=True)

    def _watch(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTED_PER_TURN):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.warning("Accepting a connection to the %s failed: %s", self._name, error)
                loop.remove_reader(listening)
                loop.call_later(REST_SECONDS, self._watch, listening)
                return
            protocol = self._begin(address[0])
            if protocol is None:
                accepted.close()
                continue
            accepted.setblocking(False)
            if len(self._admitting) == self.pending_max:
                first = next(iter(self._admitting))
                del self._admitting[first]
                first.cancel()
                self._complain("Too many connections to the %s do not shake hands - max is %d; "
                               "closing the oldest", self._name, self.pending_max)  # fmt: skip
            task = loop.create_task(self._admit(accepted, address[:2], protocol))
            self._admitting[task] = None
            task.add_done_callback(partial(self._admitted, accepted, protocol))

    def _admitted(
        self, accepted: socket.socket, protocol: asyncio.Protocol, task: asyncio.Task[bool]
    ) -> None:
        """Also where it was cancelled before it began."""
        self._admitting.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("A connection to the %s is lost", self._name, exc_info=error)
        if task.cancelled() or error is not None or not task.result():
            accepted.close()
            self.on_end(protocol)

    async def _admit(
        self, accepted: socket.socket, peer: tuple[str, int], protocol: asyncio.Protocol
    ) -> bool:
        """Whether the protocol has its connection."""
        try:
            if self.detection_seconds is not None and not await self._begins_with_tls(accepted):
                self.on_plain(peer[0])
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(lambda: protocol, accepted)
                return True
            if 0 <= self.handshakes_max <= self.handshakes:
                self.on_excess()
                self._complain("Too many TLS handshakes with the %s - max is %d; closing %s",
                               self._name, self.handshakes_max, readable(*peer))  # fmt: skip
                return False
            return await self._shake_hands(accepted, peer, protocol)
        except OSError as error:
            logger.debug("%s left the %s: %s", readable(*peer), self._name, error)
            return False

    async def _shake_hands(
        self, accepted: socket.socket, peer: tuple[str, int], protocol: asyncio.Protocol
    ) -> bool:
        alert, spare = b"", accepted.dup()
        guard = TlsGuard(protocol, is_held=self.verify is not None)
        self.handshakes += 1
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: guard,
                accepted,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
            reason = None
            if self.verify is not None:
                reason = await self.verify(transport.get_extra_info("ssl_object"), peer[0])
        except ConnectionResetError as error:
            # Probes come and go like that; who has something to say is heard.
            self.on_failure()
            raise OSError(f"it did not shake hands: {error or 'closed'}") from error
        except OSError as error:
            reason, alert = failure(error), alert_of(error)
            if is_plain(error):
                reason += self.plain_hint
        finally:
            self.handshakes -= 1
            if not alert:
                spare.close()
        if reason is not None:
            self.on_failure()
            self._complain(
                "TLS handshake of %s with the %s failed: %s", readable(*peer), self._name, reason
            )
            guard.abort()
            if alert:
                await _bid_farewell(spare, alert)
            return False
        return guard.release()

    async def _begins_with_tls(self, accepted: socket.socket) -> bool:
        """False after silence, too. Raises OSError."""
        loop = asyncio.get_running_loop()
        readable_now = asyncio.Event()
        loop.add_reader(accepted, readable_now.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.detection_seconds):
                    await readable_now.wait()
        finally:
            loop.remove_reader(accepted)
        try:
            return accepted.recv(1, socket.MSG_PEEK) == HANDSHAKE
        except BlockingIOError:
            return False

    def _complain(self, text: str, *args: object) -> None:
        """Strangers come again and again: of many such lines one a second is enough."""
        self._complaints.warn(1000 * monotonic(), text, *args)


async def _bid_farewell(spare: socket.socket, alert: bytes) -> None:
    """Tell a peer why it is refused, on a duplicate of the socket that its loop has closed.

    What it sends meanwhile is taken: the connection would be reset, and the alert lost.
    """
    loop, taken = asyncio.get_running_loop(), 0
    with spare, suppress(OSError, TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await loop.sock_sendall(spare, alert)
            spare.shutdown(socket.SHUT_WR)
            while taken < FAREWELL_BYTES and (more := await loop.sock_recv(spare, 16 << 10)):
                taken += len(more)


def is_plain(error: OSError) -> bool:
    """Whether a handshake failed because the other end does not speak TLS."""
    return isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER"


def failure(error: OSError) -> str:
    """Why a handshake failed, in words for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _REASONS.get(error.reason, error.reason.replace("_", " ").lower())
    if isinstance(error, ConnectionAbortedError):
        return "it takes too long"
    return error.strerror or str(error) or "it left"


async def listen(host: str, port: int, *, backlog: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host; an empty one is every interface. OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listening: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                new = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # a kernel without IPv6 has no such sockets
            listening.append(new)
            new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            new.bind(address)
            new.listen(backlog)
    except OSError:
        for each in listening:
            each.close()
        raise
    return listening
