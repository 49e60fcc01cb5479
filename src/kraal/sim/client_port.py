"""The client port of a simulated server: bytes to frames, frames to the replica, replies out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.pipeline.connection import ClientConnection
from kraal.replica.replica import Replica
from kraal.sim.network import Endpoint
from kraal.wire.framing import FrameReader

if TYPE_CHECKING:
    from kraal.sim.server import SimServer

OUTPUT_HIGH_BYTES = 4096
"""With more that its client has not taken, a connection is blocked."""


class ClientPort:
    """Accepts clients for whichever replica serves."""

    def __init__(self, server: SimServer) -> None:
        self.server = server
        self.replica: Replica | None = None
        self.connections: dict[SimChannel, None] = {}

    def accept(self, link: Endpoint) -> None:
        """A client dialled."""
        self.server.keep(link)
        SimChannel(self, link)
        link.resume_reading()

    def forget(self) -> None:
        """The process is dead."""
        self.replica = None
        self.connections.clear()


class SimChannel:
    """The server's end of a client connection; the replica knows it as its `Channel`."""

    def __init__(self, port: ClientPort, link: Endpoint) -> None:
        self.port = port
        self.link = link
        self._replica = port.replica
        self._server = port.server
        self._frames = FrameReader(port.server.config.max_buffer_bytes)
        self.conn = ClientConnection(self, link.peer.host.name, 1, self._server.wall_ms)
        self.is_drain_scheduled = False
        link.received = self._received
        link.lost = self._lost
        port.connections[self] = None
        if self._replica is not None:
            self._replica.opened(self.conn)

    # Input

    def _received(self, data: bytes) -> None:
        conn, replica, server = self.conn, self._replica, self._server
        if conn.closed:
            return
        frames, error = self._frames.feed(data)
        if replica is None:
            self._close()
            conn.closed = True
            return
        if frames and conn.session is None:
            replica.connect(server.now_ms, server.wall_ms, conn, frames.pop(0))
        if frames and not conn.closed:
            server.world.checks.heard(server, conn)
            replica.frames(server.now_ms, server.wall_ms, conn, frames)
        if error is not None and not conn.closed:
            self._close()
            replica.closed(conn)

    def _lost(self) -> None:
        self.port.connections.pop(self, None)
        if not self.conn.closed and self._replica is not None:
            self._replica.closed(self.conn)

    def _close(self) -> None:
        self.link.finish()
        self.port.connections.pop(self, None)

    # What the replica calls

    def write(self, data: bytes) -> None:
        """Send bytes, in order."""
        self.link.send(data)
        if not self.conn.blocked and self.link.waiting_bytes > OUTPUT_HIGH_BYTES:
            self._server.after(0, self._block)

    def close(self) -> None:
        """Close once everything written before is sent."""
        self._close()

    def abort(self) -> None:
        """Close now."""
        self.link.close()
        self.port.connections.pop(self, None)

    def pause_reading(self) -> None:
        self.link.pause_reading()

    def resume_reading(self) -> None:
        self.link.resume_reading()

    # A client that does not take its output

    def _block(self) -> None:
        if self._replica is not None and not self.conn.closed and not self.conn.blocked:
            self._replica.blocked(self.conn)
            self._drain()

    def _drain(self) -> None:
        if self.conn.closed or self._replica is None:
            return
        if self.link.waiting_bytes:
            self._server.after(1000, self._drain)
        else:
            self._replica.drained(self._server.now_ms, self._server.wall_ms, self.conn)
