"""One connection of the admin or the metrics port: uvicorn's, within limits of time and number."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from dataclasses import dataclass, field
from time import monotonic

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kraal.pipeline.complaints import Complaints

logger = logging.getLogger("kraal.server.http")
_COUNT = struct.Struct("i")


@dataclass(slots=True)
class Crowd:
    """Those who are connected to one port."""

    limit: int
    idle_seconds: float
    _members: dict[HttpConnection, None] = field(default_factory=dict)
    """Who was answered last stands last."""
    _complaints: Complaints = field(default_factory=lambda: Complaints(logger))

    def enter(self, connection: HttpConnection) -> None:
        """With too many, who has been idle the longest gives way; if nobody is, the new one."""
        if len(self._members) >= self.limit:
            idle = next((each for each in self._members if each.is_idle), connection)
            self._members.pop(idle, None)
            idle.transport.abort()
            which = "the new one" if idle is connection else "the one that was idle longest"
            text = "Too many connections to an HTTP port - max is %d; closing %s"
            self._complaints.warn(1000 * monotonic(), text, self.limit, which)
            if idle is connection:
                return
        self._members[connection] = None

    def answered(self, connection: HttpConnection) -> None:
        """It asked for something, and is the last of those that would have to give way."""
        if connection in self._members:
            del self._members[connection]
            self._members[connection] = None

    def leave(self, connection: HttpConnection) -> None:
        self._members.pop(connection, None)


class HttpConnection(H11Protocol):
    """Closed when its peer lets it wait for `idle_seconds`: with the rest of a request's head,
    with more of a body, or to take more of an answer. What moves may take any time."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        crowd: Crowd,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd = crowd
        self._moved_at = self.loop.time()
        self._untaken_before = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._crowd.enter(self)
        self._moved_at = self.loop.time()
        self._timer = self.loop.call_later(self._crowd.idle_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_idle = self.is_idle
        super().data_received(data)
        if not (was_idle and self.is_idle):  # a head has its time as a whole
            self._moved_at = self.loop.time()

    def resume_writing(self) -> None:
        self._moved_at = self.loop.time()
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._moved_at = self.loop.time()
        self._crowd.answered(self)
        super().on_response_complete()

    def _should_upgrade(self) -> bool:
        """No protocol is offered, and that somebody asks for one is not worth a line."""
        return False

    def _look(self) -> None:
        now, untaken = self.loop.time(), self._untaken()
        waits = self.is_idle or untaken or (self.cycle.more_body and not self.flow.read_paused)
        if not waits or untaken != self._untaken_before:
            self._moved_at = now
        self._untaken_before = untaken
        left = self._moved_at + self._crowd.idle_seconds - now
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        elif untaken or self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.close()

    def _untaken(self) -> int:
        """Bytes that the peer has still to take, of which the system holds some megabytes."""
        waiting = self.transport.get_write_buffer_size()
        raw = self.transport.get_extra_info("socket")
        try:
            (sent,) = _COUNT.unpack(fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return waiting
        return waiting + int(sent)
