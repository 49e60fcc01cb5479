"""kazoo clients and waits for the tests of the kit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from kazoo.client import KazooClient

T = TypeVar("T")
WAIT_SECONDS = 30.0


def until(what: str, probe: Callable[[], T | None]) -> T:
    """Poll until the probe gives something true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := probe()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.01)
    return found


@contextmanager
def kazoo(hosts: str, **options: object) -> Iterator[KazooClient]:
    """A client that is connected; it is stopped at the end, whatever has become of it."""
    client = KazooClient(hosts, **options)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def states_of(client: KazooClient) -> list[str]:
    """The states that the client comes to from now on."""
    states: list[str] = []
    client.add_listener(states.append)
    return states


def threads() -> list[str]:
    """The names of the kit's and the server's threads that run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kraal")]
