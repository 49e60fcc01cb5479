"""What stands between TLS and a protocol that was written for plain connections."""

from __future__ import annotations

import asyncio
from ssl import SSLObject
from typing import cast

FULL_BYTES = 64 << 10
"""What waits here, behind what waits for the peer, before the protocol is asked to pause.

Not nothing: uvloop would ask for it as soon as it has shaken hands, and never take it back.
"""


class TlsGuard(asyncio.Protocol):
    """Hands everything on, but perhaps begins later, and lets writing go on in a turn of its own.

    A TLS transport asks to pause and to resume within one and the same `write`: a protocol that
    goes on writing when it may would do so in the middle of what it is writing.
    """

    def __init__(self, protocol: asyncio.Protocol, *, is_held: bool) -> None:
        """Held: the protocol learns of its connection when it is released."""
        self._protocol = protocol
        self._is_held = is_held
        self._is_lost = self._is_given_up = False
        self._is_full = self._is_told = self._is_telling = False
        self._transport: asyncio.Transport | None = None

    def release(self) -> bool:
        """Whether the connection is still there; the protocol has it now at the latest."""
        transport = self._transport
        if self._is_lost or transport is None or transport.is_closing():
            return False
        if self._is_held:
            self._is_held = False
            self._open(transport)
            if not transport.is_closing():
                transport.resume_reading()
        return True

    @property
    def tls(self) -> SSLObject | None:
        """What was agreed upon with the other end; None: there is no connection."""
        if self._transport is None:
            return None
        return cast("SSLObject | None", self._transport.get_extra_info("ssl_object"))

    def abort(self) -> None:
        """Close now, or as soon as the loop makes the connection after all."""
        self._is_given_up = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._is_given_up:
            self._transport.abort()
        elif self._is_held:
            self._transport.pause_reading()
        else:
            self._open(self._transport)

    def _open(self, transport: asyncio.Transport) -> None:
        self._protocol.connection_made(transport)
        transport.set_write_buffer_limits(high=FULL_BYTES)

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if not self._is_held:
            self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._is_full = True
        if not self._is_told and not self._is_held:
            self._is_told = True
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._is_told and not self._is_telling:
            self._is_telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._is_telling = False
        if self._is_told and not self._is_full and not self._is_lost:
            self._is_told = False
            self._protocol.resume_writing()
