"""An asyncio transport over an end of a simulated connection.

Its calls to the protocol come in asyncio's order: connection_made, data as it arrives while
reading is not paused, eof_received, connection_lost once. Each is a callback of the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from kraal.sim.network import Endpoint
from kraal.sim.scheduler import MS

if TYPE_CHECKING:
    from kraal.sim.loop import SimLoop

SOCKET_BUFFER_BYTES = 4096
"""What the kernels on both sides take of what the peer has not."""
HIGH_BYTES = 64 * 1024
DRAIN_US = MS
RESETS = 0.5
"""Share of lost connections whose loss is an error, not an end of file."""

Buffer = bytes | bytearray | memoryview


class SimTransport(asyncio.Transport):
    """The application's end of a connection."""

    def __init__(
        self,
        loop: SimLoop,
        near: Endpoint,
        protocol: asyncio.BaseProtocol,
        peername: tuple[str, int],
        made: asyncio.Future[Any],
    ) -> None:
        super().__init__({"peername": peername, "sockname": ("10.0.1.1", 40_000)})
        self.near = near
        self._loop = loop
        self._protocol = protocol
        self._arrived: deque[bytes | None] = deque()
        """Not yet given to the protocol; None is the end."""
        self._is_delivery_due = False
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False
        self._is_write_paused = False
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        near.received = self._received
        near.lost = self._ended
        loop.transports[self] = None
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start, made)

    def _start(self, made: asyncio.Future[Any]) -> None:
        if not self._is_closing:
            self.near.resume_reading()
        if not made.done():
            made.set_result(None)

    # Reading

    def _received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._deliver_soon()

    def _ended(self) -> None:
        self._arrived.append(None)
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self._arrived and not self._is_delivery_due and not self._is_paused:
            self._is_delivery_due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_delivery_due = False
        while self._arrived and not self._is_paused and not self._is_closing:
            data = self._arrived.popleft()
            if data is None:
                self._deliver_end()
            else:
                self._deliver_data(data)

    def _deliver_data(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            cast(asyncio.Protocol, protocol).data_received(data)
            return
        while data and not self._is_closing:
            buffer = memoryview(protocol.get_buffer(len(data)))
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            protocol.buffer_updated(count)
            data = data[count:]

    def _deliver_end(self) -> None:
        if self._loop.random.random() < RESETS:
            self._lose(ConnectionResetError(104, "Connection reset by peer"))
        else:
            cast(asyncio.Protocol, self._protocol).eof_received()
            self._lose(None)  # the peer closed both directions

    def pause_reading(self) -> None:
        if not self._is_closing:
            self._is_paused = True
            self.near.pause_reading()

    def resume_reading(self) -> None:
        if not self._is_closing and self._is_paused:
            self._is_paused = False
            self.near.resume_reading()
            self._deliver_soon()

    def is_reading(self) -> bool:
        return not self._is_closing and not self._is_paused

    # Writing

    def write(self, data: Buffer) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        if data and not self._is_closing:
            self.near.send(bytes(data))
            self._limit_writing()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        if self._is_closing or not self.near.is_open:
            return 0
        return max(self.near.waiting_bytes - SOCKET_BUFFER_BYTES, 0)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._limit_writing()

    def _limit_writing(self) -> None:
        if not self._is_write_paused and self.get_write_buffer_size() > self._high:
            self._is_write_paused = True
            self._protocol.pause_writing()
            self._loop.host.after(DRAIN_US, self._drain)

    def _drain(self) -> None:
        if self._is_lost:
            return
        if self.get_write_buffer_size() <= self._low:
            self._is_write_paused = False
            self._loop.call_soon(self._protocol.resume_writing)
        else:
            self._loop.host.after(DRAIN_US, self._drain)

    # The end

    def close(self) -> None:
        """Close once everything written before is sent."""
        if not self._is_closing:
            self.near.finish()
            self._lose(None)

    def abort(self) -> None:
        """Close now."""
        if not self._is_closing:
            self.near.close()
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        self._is_closing = True
        self._arrived.clear()
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._loop.transports.pop(self, None)
            self._protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return self._is_closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
