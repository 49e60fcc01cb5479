"""Which servers the tests of the client and of the recipes run against: `--kraal-servers`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kraal.testing import UnavailableError, WaitError, remote
from tests.support import servers
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape
from tests.support.servers import HOST, Server

OPTION = "--kraal-servers"
DEFAULT = "kraal"
CHOICES = (DEFAULT, "apache", "kraal-ensemble", "apache-ensemble")
MEMBERS = 3
T = TypeVar("T")


@contextmanager
def chosen(
    choice: str, directory: Path, settings: Mapping[str, object]
) -> Iterator[tuple[Server, int]]:
    """The server that is asked for, and the port of the one that leads.

    Of an ensemble it is a follower, which all clients share.
    """
    kind, _, ensemble = choice.partition("-")
    if kind == "apache":
        servers.require_reference()
    if not ensemble:
        start = servers.apache if kind == "apache" else servers.kraal
        with start(directory, settings=settings) as server:
            yield server, server.port
        return
    known = {"tickTime", "reconfigEnabled"}
    shape = Shape(
        participants=(APACHE if kind == "apache" else KRAAL,) * MEMBERS,
        tick_ms=int(str(settings["tickTime"])),
        dynamic="reconfigEnabled" in settings,
        settings={key: value for key, value in settings.items() if key not in known},
    )
    with Ensemble(directory, shape) as members:
        members.start()
        leader = members.wait_leader()
        follower = next(each for each in members.members.values() if each is not leader)
        assert follower.server is not None
        yield follower.server, leader.client_port


@dataclass(frozen=True)
class OtherServer:
    """What the tests of the recipes need of a server, for one in another process."""

    port: int
    leader_port: int
    host: str = HOST

    @property
    def hosts(self) -> str:
        return f"{self.host}:{self.port}"

    def expire(self, session_id: int) -> None:
        """End a session.

        Raises UnavailableError when there is no such session, or its client does not let it go.
        """
        try:
            is_ended = _apart(remote.expire(self.host, self.port, session_id))
        except WaitError as error:
            raise UnavailableError(str(error)) from error
        if not is_ended:
            raise UnavailableError(f"no session {session_id:#x}")

    def sessions(self) -> list[int]:
        """All sessions."""
        return _apart(remote.sessions(self.leader_port))


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Run this in a loop of its own: the caller may be in the test's."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
