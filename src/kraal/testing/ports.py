"""Free ports of the loopback address, which stay free for who took them."""

from __future__ import annotations

import random
import socket
import sys
from pathlib import Path

from kraal.local.layout import HOST
from kraal.testing.errors import StartError

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_FIRST = 32768
_BELOW = 16_000
_TRIES = 4000


class Ports:
    """Takes ports that no outgoing connection is given, so that a restart finds them free.

    On Linux they are held until `release`: a bound socket that does not listen keeps other takers
    away, such as the same tests in other processes, but not the server.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, count: int) -> list[int]:
        """So many ports, all different. Raises StartError when there are none."""
        first = _EPHEMERAL_FIRST
        if _EPHEMERAL.exists():
            first = max(_BELOW + 1024, int(_EPHEMERAL.read_text().split()[0]))
        found: dict[int, socket.socket] = {}
        for port in random.sample(range(first - _BELOW, first), _TRIES):
            if len(found) == count:
                break
            if (held := _bind(port)) is not None:
                found[port] = held
        if sys.platform == "linux" and len(found) == count:
            self._held += found.values()
        else:
            for held in found.values():
                held.close()
        if len(found) < count:
            raise StartError(f"no {count} free ports below {first}")
        return list(found)

    def release(self) -> None:
        """Let others have them."""
        while self._held:
            self._held.pop().close()


def _bind(port: int) -> socket.socket | None:
    """A socket bound to the port, if nobody else has it."""
    # Without SO_REUSEADDR first, which would share the port with another holder.
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((HOST, port))
    except OSError:
        held.close()
        return None
    return held
