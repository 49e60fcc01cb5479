"""The server processes of the kit: `kraal serve`, and what a test does to it from outside.

Connections that it makes to a port with a door pass that door instead, and are refused when they
would be without it: the door says by a byte that it has reached the port behind it. Its disk takes
so many seconds for each sync as the last line of its standard input says.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kraal.errors import ConfigError
from kraal.local.parent import end_with
from kraal.server.config.file import load
from kraal.server.main import LoopFactory, loop_factory, run
from kraal.storage.filesystem import OsFileSystem
from kraal.testing.disk import SlowDisk

MODULE = "kraal.testing.member"
INVALID_CONFIG = 2


def command(doors: Mapping[int, int]) -> tuple[str, ...]:
    """How such a process is started: `doors` are ports by the port that they lead to."""
    return (MODULE, "--doors", ",".join(f"{port}:{door}" for port, door in doors.items()))


def main() -> int:
    """Run one server until SIGTERM; returns its exit code."""
    parser = argparse.ArgumentParser(prog=MODULE)
    parser.add_argument("--doors", default="")
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("zoo_cfg", type=Path)
    arguments = parser.parse_args()
    end_with(arguments.parent_pid)
    logging.basicConfig(
        level=os.environ.get("KRAAL_LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)-5s %(name)s %(message)s",
    )
    try:
        loaded = load(arguments.zoo_cfg, defines={}, environment={}, overrides={})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return INVALID_CONFIG
    pairs = (pair.split(":") for pair in arguments.doors.split(",") if pair)
    doors = {int(port): int(door) for port, door in pairs}
    disk = SlowDisk(OsFileSystem())
    threading.Thread(target=_Told(disk, sys.stdin.fileno()).listen, daemon=True).start()
    return run(loaded.config, fs=disk, new_loop=_dialling_through(doors))


class _Told:
    """Lines that say how slow the disk is, from a pipe.

    What was told before a write is asked for is in effect for it, so the disk looks as well: the
    thread that waits for lines may come too late.
    """

    def __init__(self, disk: SlowDisk, descriptor: int) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._unread = b""
        os.set_blocking(descriptor, False)
        disk.news = self._take

    def listen(self) -> None:
        """Take lines as they come, until the other end is closed."""
        while self._take():
            select.select([self._descriptor], [], [])

    def _take(self) -> bool:
        """Take what is there; False: there will be no more."""
        with self._lock, suppress(BlockingIOError):
            while piece := os.read(self._descriptor, 4096):
                *lines, self._unread = (self._unread + piece).split(b"\n")
                for line in lines:
                    self._disk.slow(float(line))
            return False
        return True


def _dialling_through(doors: Mapping[int, int]) -> LoopFactory:
    """A factory of the server's usual loop, in which doors stand before some ports."""
    factory = loop_factory()

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = factory()
        dial = loop.create_connection

        async def create_connection(
            protocol_factory: type[asyncio.Protocol], host: str, port: int
        ) -> object:
            if port not in doors:
                return await dial(protocol_factory, host, port)
            passed = await _pass(loop, (host, doors[port]))
            return await dial(protocol_factory, sock=passed)

        loop.create_connection = create_connection  # type: ignore[assignment, method-assign]
        return loop

    return new_loop


async def _pass(loop: asyncio.AbstractEventLoop, door: tuple[str, int]) -> socket.socket:
    """A connection to what is behind a door. Raises OSError."""
    connection = socket.socket()
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, door)
        if not await loop.sock_recv(connection, 1):
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        connection.close()
        raise
    return connection


if __name__ == "__main__":
    sys.exit(main())
