"""One connection of the election port.

Rules: reference/quorum-protocol.md section 2.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, cast

from kraal.errors import DecodeError
from kraal.pipeline.auth.ip import show
from kraal.server.quorum_sasl import AuthEnd, Login, QuorumAuthError
from kraal.server.tls.port import failure
from kraal.server.tls.quorum import SPEAKS_TLS
from kraal.tls.alerts import is_tls
from kraal.wire.framing import FrameReader
from kraal.wire.records.election import MESSAGE_MAX_BYTES, InitialMessage, decode_initial

if TYPE_CHECKING:
    from kraal.server.election_transport import ElectionTransport

logger = logging.getLogger("kraal.server.election")


class ElectionConnection(asyncio.Protocol):
    """The transport's end of it."""

    def __init__(self, owner: ElectionTransport, server_id: int | None, generation: int) -> None:
        self.server_id = server_id
        """Who is at the other end; None until an accepted connection has said so."""
        self.generation = generation
        self._is_blocked = False
        self.peer = "?"
        self._owner = owner
        self._first = b""
        self._has_heard = False
        """Whether it is known that the first bytes are not those of TLS."""
        self.initial: InitialMessage | None = None
        """What a peer that connected has said of itself."""
        self.login = Login()
        self._is_given_up = False
        self._frames = FrameReader(MESSAGE_MAX_BYTES)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._is_given_up:
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.peer = f"{show(host)}:{port}"
        self._owner.prepare(transport.get_extra_info("socket"))
        # At most one notification waits in the transport: newer ones replace the next.
        self._transport.set_write_buffer_limits(high=0)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self._has_heard and is_tls(self._first + data):
            self._owner.complain("Closing the election connection of %s: %s",
                                 self.peer, SPEAKS_TLS)  # fmt: skip
            self.abort()
            return
        try:
            self._take(data)
        except DecodeError as error:
            logger.warning("Closing the election connection of %s: %s", self.peer, error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):
            self._owner.complain("The election connection of %s is lost: %s",
                                 self.peer, failure(exc))  # fmt: skip
        if self._transport is not None:
            self._transport = None
            self.login.fail("the connection is closed")
            self._owner.closed(self)

    def eof_received(self) -> None:
        if self.login.may_end():
            self._owner.logged_in(self)
        elif self.initial is not None and self.login.is_going_on:
            self._owner.complain(
                "Server %d at %s left before it had logged in, which is demanded:"
                " has it quorum.auth.learnerRequireSasl=true?", self.initial.server_id, self.peer,
            )  # fmt: skip

    def pause_writing(self) -> None:
        self._is_blocked = True

    def resume_writing(self) -> None:
        self._is_blocked = False
        self._owner.writable(self)

    @property
    def _is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_writable(self) -> bool:
        """Whether a notification would leave now."""
        return self._is_usable and not self._is_blocked

    def write(self, data: bytes) -> None:
        """Send bytes at once."""
        if self._transport is not None and self._is_usable:
            self._transport.write(data)

    def log_in(self, end: AuthEnd | None) -> None:
        """Begin this end of an exchange; None: there is none."""
        self.write(self.login.begin(end))
        if end is None:
            self._owner.logged_in(self)

    def close(self) -> None:
        """Close when what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """The dial failed or was cancelled, at whatever moment.

        uvloop does not tell a protocol that its connection is lost when that happens just
        after it was made, and asyncio may make it afterwards.
        """
        self._is_given_up = True
        self.abort()
        self.connection_lost(None)

    def _take(self, data: bytes) -> None:
        """Raises DecodeError when the peer does not follow the protocol."""
        if not self._is_usable:
            return
        self._has_heard = self._has_heard or len(self._first + data) >= 2
        if self.server_id is None and self.initial is None:
            self._first += data
            decoded = decode_initial(self._first)
            if decoded is None:
                return
            self.initial, end = decoded
            data, self._first = self._first[end:], b""
            self._owner.identified(self)
        if self.login.is_going_on:
            data = self._log_in_on(data)
        if not data:
            return
        frames, error = self._frames.feed(data)
        for frame in frames:
            if not self._is_usable:
                return
            if not frame:
                raise DecodeError("a notification of length 0")
            self._owner.heard(self, frame)
        if error is not None:
            raise error

    def _log_in_on(self, data: bytes) -> bytes:
        """What arrived behind the exchange, once it is over."""
        try:
            self.write(self.login.feed(data))
        except QuorumAuthError as error:
            logger.warning("Closing the election connection of %s: %s", self.peer, error)
            self.write(self.login.last_words)
            self.close()
            return b""
        if self.login.is_going_on:
            return b""
        rest = self.login.rest
        self._owner.logged_in(self)
        return rest
