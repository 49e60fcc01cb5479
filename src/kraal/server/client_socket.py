"""One client socket: bytes in, frames to the replica; the replica's replies out.

Before a session there may be a four-letter word instead of a frame
(reference/client-protocol.md section 2.1). A peer that does not read is not read either, and
is closed when what it was sent passes a bound.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from functools import partial
from ssl import SSLObject
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, cast

from kraal.admin.four_letter_words import KNOWN, TRACE_MASK_BYTES, answer
from kraal.errors import DecodeError
from kraal.pipeline.auth.ip import show
from kraal.pipeline.connection import ClientConnection
from kraal.tls.alerts import is_tls
from kraal.tls.subject import subject
from kraal.turns import portion
from kraal.wire.framing import LENGTH_BYTES, FrameReader

if TYPE_CHECKING:
    from kraal.server.listener import ClientListener

logger = logging.getLogger("kraal.server.client")
TELNET_INTERRUPT = b"\xff\xf4\xff\xfd"
NS_PER_MS = 1_000_000
ANSWER_AHEAD_MAX_BYTES = 1 << 20
"""Of a long answer to a four-letter word so much waits for the peer to take it."""
ANSWER_PIECE_CHARS = 32 << 10
"""So much of it is sent at once."""
PEER_REST_SECONDS = 0.01
"""How often it is looked whether the peer has taken some."""


class ClientSocket(asyncio.Protocol):
    """The shell's end of a connection; the replica knows it as its `Channel`."""

    __slots__ = (
        "_conn",
        "_first",
        "_frames",
        "_host",
        "_is_answering",
        "_is_framed",
        "_listener",
        "_replica",
        "_transport",
        "_turns",
        "is_secure",
    )

    def __init__(self, listener: ClientListener, *, is_secure: bool = False) -> None:
        self._listener = listener
        self.is_secure = is_secure
        """Whether it came to the port that speaks TLS alone."""
        self._host: str | None = None
        """Where it comes from; None: it is not counted in."""
        self._replica = listener.replica
        config = listener.config
        self._frames = FrameReader(
            config.max_buffer_bytes, config.throttle.refused_request_max_bytes
        )
        self._turns = listener.turns
        self._transport: asyncio.Transport | None = None
        self._conn: ClientConnection | None = None
        self._first = b""
        """Bytes before it is known whether they are a word or a frame."""
        self._is_framed = False
        self._is_answering = False
        """Whether a four-letter word is being answered, after which nothing is read."""

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        host, port = show(peer[0]), peer[1]
        if self._host is None and not self.enter(host):
            self._transport.abort()
            return
        config = self._listener.config
        if config.client_tcp_keep_alive:
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Send at once, not at the end of the loop's turn: the client works meanwhile.
        self._transport.set_write_buffer_limits(high=0)
        self._conn = ClientConnection(self, host, port, time_ns() // NS_PER_MS)
        if self._replica is not None:
            self._replica.opened(self._conn)
        if config.client_tls is not None:
            self._identify(self._conn, transport.get_extra_info("ssl_object"))

    def _identify(self, conn: ClientConnection, tls: SSLObject | None) -> None:
        """By the certificate, if the client speaks TLS and has shown one."""
        if tls is None:
            self._listener.counters.plain_connected(conn.host)
            return
        certificate = tls.getpeercert(binary_form=True)
        if certificate is None or self._replica is None:
            return
        try:
            name = subject(certificate)
        except DecodeError as error:
            logger.warning("closing %s:%d: its certificate: %s", conn.host, conn.port, error)
            self._end(conn)
            return
        for identity in self._replica.authority.certified(name):
            conn.add_identity(identity)

    def data_received(self, data: bytes) -> None:
        conn = self._conn
        if conn is None or conn.closed:
            return
        self._listener.counters.bytes_received += len(data)
        self._turns.inputs += 1
        replica = self._replica
        if conn.session is None or replica is None:
            self._begin(conn, data)
            return
        frames, error = self._frames.feed(data)
        if self._frames.too_long:
            self._tell_too_long(conn)
        if frames:
            self._listener.attention.asked(self)
            replica.frames(monotonic_ns() // NS_PER_MS, time_ns() // NS_PER_MS, conn, frames)
        if error is not None:
            logger.warning("closing %s:%d: %s", conn.host, conn.port, error)
            self._end(conn)

    def _tell_too_long(self, conn: ClientConnection) -> None:
        """What is left of such a request does not decode, and is refused in its turn for that."""
        counters = self._listener.counters
        for length in self._frames.too_long:
            counters.requests_too_long += 1
            count = counters.requests_too_long
            logger.log(
                logging.DEBUG if count & count - 1 else logging.WARNING,
                "%s:%d sent a request of %d bytes, more than jute.maxbuffer=%d: it is refused",
                conn.host, conn.port, length, self._frames.limit,
            )  # fmt: skip
        self._frames.too_long.clear()

    def connection_lost(self, _exc: Exception | None) -> None:
        conn, self._conn = self._conn, None
        if conn is not None and not conn.closed and self._replica is not None:
            self._replica.closed(conn)
        self.leave()
        self._transport = None

    # Within the limits of the listener

    def enter(self, host: str) -> bool:
        """Count it in, unless a limit is reached; before it has shaken hands, if it does."""
        if not self._listener.admit(self, host):
            return False
        self._host = host
        return True

    def leave(self) -> None:
        """Count it out, if it is in."""
        if self._host is not None:
            self._listener.left(self, self._host)
            self._host = None

    def pause_writing(self) -> None:
        if self._conn is not None and not self._conn.closed and self._replica is not None:
            self._replica.blocked(self._conn)

    def resume_writing(self) -> None:
        if self._conn is not None and not self._conn.closed and self._replica is not None:
            self._replica.drained(monotonic_ns() // NS_PER_MS, time_ns() // NS_PER_MS, self._conn)

    # What the replica calls

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        self._listener.attention.answered(self)
        conn = self._conn
        if (
            conn is not None
            and conn.blocked
            and transport.get_write_buffer_size() > self._listener.output_max_bytes
        ):
            logger.warning("closing %s:%d: it does not read", conn.host, conn.port)
            self.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._listener.ending(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # Before a session

    @property
    def is_reading(self) -> bool:
        if self._transport is None or self._is_answering:
            return False
        return self._transport.is_reading()

    def close_if_sessionless(self) -> None:
        """The time in which a ConnectRequest must come is over."""
        conn = self._conn
        if conn is not None and conn.session is None:
            self._end(conn)

    def _begin(self, conn: ClientConnection, data: bytes) -> None:
        if not self._is_framed:
            self._first += data
            if len(self._first) < LENGTH_BYTES or self._four_letter_word(conn, self._first):
                return
            if is_tls(self._first):
                self._listener.speaks_tls(conn)
                self._end(conn)
                return
            self._is_framed = True
            data, self._first = self._first, b""
        replica = self._replica
        if replica is None:
            # No server of the ensemble can do more without a leader.
            self._listener.counters.closed_without_server += 1
            self._end(conn)
            return
        frames, error = self._frames.feed(data)
        if self._frames.too_long:
            self._tell_too_long(conn)
        if frames:
            now_ms, wall_ms = monotonic_ns() // NS_PER_MS, time_ns() // NS_PER_MS
            if not self._listener.admit_session(now_ms):
                self._end(conn)
                return
            replica.connect(now_ms, wall_ms, conn, frames[0])
            if frames[1:] and not conn.closed:
                replica.frames(now_ms, wall_ms, conn, frames[1:])
        if error is not None and not conn.closed:
            self._listener.refuses_first(conn, error)
            self._end(conn)

    def _four_letter_word(self, conn: ClientConnection, data: bytes) -> bool:
        """Whether the connection asked for a word; it may be waiting for the word's argument."""
        code = data[:LENGTH_BYTES]
        argument = data[LENGTH_BYTES : LENGTH_BYTES + TRACE_MASK_BYTES]
        if code == TELNET_INTERRUPT:
            text = self._listener.telnet_answer()
        elif (word := KNOWN.get(code)) is not None:
            if word == "stmk" and len(argument) < TRACE_MASK_BYTES:
                return True
            logger.debug("Processing %s command from /%s:%d", word, conn.host, conn.port)
            conn.received += 1
            self._listener.counters.received += 1
            self._is_answering = True
            self._listener.counters.sent += 1
            pieces = answer(word, self._listener.status, argument, secure=self.is_secure)
            if not isinstance(pieces, str):
                self._turns.later(partial(self._answer, conn, pieces, []))
                return True
            text = pieces
        else:
            return False
        self.write(text.encode("utf-8", "replace"))
        self._end(conn)
        return True

    def _answer(self, conn: ClientConnection, pieces: Iterator[str], made: list[str]) -> None:
        """In a turn: make a portion of a long answer, and send it when it is large enough.

        A peer that does not read what it asked for holds nobody up.
        """
        transport = self._transport
        if conn.closed or transport is None or transport.is_closing():
            return
        more, is_whole = portion(pieces)
        made.append("".join(more))
        if is_whole or sum(map(len, made)) >= ANSWER_PIECE_CHARS:
            self.write("".join(made).encode("utf-8", "replace"))
            made.clear()
        if is_whole:
            self._end(conn)
        else:
            self._go_on(conn, pieces, made)

    def _go_on(self, conn: ClientConnection, pieces: Iterator[str], made: list[str]) -> None:
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() < ANSWER_AHEAD_MAX_BYTES:
            self._turns.later(partial(self._answer, conn, pieces, made))
        else:
            self._listener.later(PEER_REST_SECONDS, self._go_on, conn, pieces, made)

    def _end(self, conn: ClientConnection) -> None:
        self.close()
        if self._replica is not None:
            self._replica.closed(conn)
        else:
            conn.closed = True
