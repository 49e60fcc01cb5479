"""The shell's end of a client connection, over a transport that is none."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import PurePath
from random import Random
from types import SimpleNamespace
from typing import cast

from kraal.model.config import StorageConfig
from kraal.server.client_socket import ClientSocket
from kraal.server.disk_watch import DiskWatch
from kraal.server.listener import ClientListener
from kraal.server.server import Server
from kraal.server.status_source import ServerStatusSource
from kraal.storage.memory import MemoryFileSystem
from kraal.turns import Turns
from tests.fuzz.world import World, small_config

_EMPTY = PurePath(tempfile.gettempdir())
"""A directory whose size `dirs` and `mntr` may ask for."""


class AtOnce(Turns):
    """What is long has its turn at once: there is no loop."""

    def later(self, work: Callable[[], object]) -> None:
        work()


class FakeSocket(asyncio.Transport):
    """A connection to a replica: `receive` is what the network does, `output` what it is given."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        config = small_config(
            storage=StorageConfig(data_dir=_EMPTY, data_log_dir=_EMPTY),
            four_letter_words=frozenset({"*"}),
            max_buffer_bytes=4096,
            lone_client_poll_us=0,
        )
        self.world = World(config)
        server = SimpleNamespace(
            replica=self.world.replica,
            member=None,
            counters=self.world.replica.counters,
            config=config,
            disk=DiskWatch(MemoryFileSystem(Random(1)), config.storage, got_little=lambda: None),
        )
        status = ServerStatusSource(cast(Server, server))
        server.listener = ClientListener(config, self.world.replica.counters, status)
        server.listener.replica = self.world.replica
        server.listener.turns = AtOnce()
        server.listener.later = lambda _seconds, go_on, *args: go_on(*args)
        self.output = bytearray()
        self.has_ended = False
        self._socket = ClientSocket(server.listener)
        self._socket.connection_made(self)

    def receive(self, data: bytes) -> None:
        self._socket.data_received(data)

    def lose(self) -> None:
        """The network tells that the connection is gone."""
        self._socket.connection_lost(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.output += data

    def close(self) -> None:
        self.has_ended = True

    def abort(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self.has_ended

    def is_reading(self) -> bool:
        return not self.has_ended

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
