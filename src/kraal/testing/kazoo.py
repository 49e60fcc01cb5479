"""kazoo's test harness without Java: `from kraal.testing.kazoo import KazooTestCase`.

The classes have the methods of those in `kazoo.testing`; their cluster is kraal's: one server in
this process, or as many processes as `cluster_size` or ZOOKEEPER_CLUSTER_SIZE say. Unlike kazoo's,
they need neither a JVM nor pyOpenSSL and pyjks, and sessions expire at the server.
"""

from __future__ import annotations

import os
import unittest
import uuid
from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState

from kraal.testing.ensemble import Ensemble
from kraal.testing.errors import UnavailableError, WaitError
from kraal.testing.server import Server
from kraal.testing.settings import SUPER_SETTING, Settings

SIZE_VARIABLE = "ZOOKEEPER_CLUSTER_SIZE"
LOST_SECONDS, BACK_SECONDS = 5.0, 15.0
# As kazoo's own harness has them; the super user's password is `test`.
_SETTINGS: Settings = {
    "reconfigEnabled": True,
    SUPER_SETTING: "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
}
_clusters: dict[int, Cluster] = {}


class Event(Protocol):
    """What kazoo's handlers give as events."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> object: ...


class ClusterMember:
    """One server of a cluster."""

    def __init__(self, server: Server | Ensemble, number: int) -> None:
        self._server = server
        self._number = number

    @property
    def address(self) -> str:
        """`host:port` of the client port."""
        server = self._server
        return server.hosts if isinstance(server, Server) else server.hosts_of(self._number)

    @property
    def client_port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def running(self) -> bool:
        server = self._server
        return server.is_running if isinstance(server, Server) else server.is_running(self._number)

    def run(self) -> None:
        """Start it, unless it runs; without a quorum it does not serve yet."""
        if isinstance(self._server, Server):
            self._server.start()
        else:
            self._server.start(self._number)

    def stop(self) -> None:
        """Stop it; its data stays."""
        if isinstance(self._server, Server):
            self._server.stop()
        else:
            self._server.stop(self._number)


class Cluster:
    """All servers, as kazoo's `ZookeeperCluster` has them."""

    def __init__(self, size: int) -> None:
        self.server: Server | Ensemble = (
            Server(settings=_SETTINGS) if size == 1 else Ensemble(size, settings=_SETTINGS)
        )
        self._members = [ClusterMember(self.server, number) for number in range(1, size + 1)]

    def __getitem__(self, index: int) -> ClusterMember:
        return self._members[index]

    def __iter__(self) -> Iterator[ClusterMember]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def start(self) -> None:
        """Start what does not run."""
        self.server.start()

    def stop(self) -> None:
        """Stop all servers; their data stays."""
        for member in self:
            member.stop()

    def terminate(self) -> None:
        """Stop all servers for good."""
        self.server.close()


class KazooTestHarness(unittest.TestCase):
    """Call `setup_zookeeper` in `setUp` and `teardown_zookeeper` in `tearDown`."""

    DEFAULT_CLIENT_TIMEOUT = 15
    """Session timeout in s."""
    cluster_size: ClassVar[int | None] = None
    """None: ZOOKEEPER_CLUSTER_SIZE, or 1."""

    def __init__(self, methodName: str = "runTest") -> None:  # noqa: N803 - unittest's name
        super().__init__(methodName)
        self.client: KazooClient = None
        self.hosts = ""
        """Of the servers, with the chroot of this test."""
        self._clients: list[KazooClient] = []

    @property
    def cluster(self) -> Cluster:
        """The servers; they go on until the process ends."""
        size = self.cluster_size or int(os.environ.get(SIZE_VARIABLE) or 1)
        if size not in _clusters:
            _clusters[size] = Cluster(size)
        return _clusters[size]

    @property
    def servers(self) -> str:
        """The connect string without a chroot."""
        return ",".join(member.address for member in self.cluster)

    def setup_zookeeper(self, **client_options: object) -> None:
        """Start the servers, and a client with a new chroot; options are KazooClient's."""
        if client_options.get("use_ssl"):
            raise UnavailableError("the test servers have no TLS port")
        self.cluster.start()
        chroot = f"/kazootests{uuid.uuid4().hex}"
        first = self._get_nonchroot_client()
        first.start()
        first.ensure_path(chroot)
        first.stop()
        self.hosts = f"{self.servers}{chroot}"
        self.client = self._get_client(**client_options)
        self.client.start()

    def teardown_zookeeper(self) -> None:
        """Stop all clients."""
        while self._clients:
            client = self._clients.pop()
            try:
                client.stop()
            except KazooException:
                pass  # it was lost on purpose
            finally:
                client.close()
        self.client = None

    def lose_connection(self, event_factory: Callable[[], Event]) -> None:
        """Have the client lose its connection, and wait until it is back."""
        server = self.cluster.server
        self._break(server.disconnect, KazooState.SUSPENDED, event_factory)

    def expire_session(self, event_factory: Callable[[], Event]) -> None:
        """Have the client's session expire, and wait until the client is back with a new one."""
        server, session_id = self.cluster.server, self.client.client_id[0]
        self._break(lambda: server.expire(session_id), KazooState.LOST, event_factory)

    def _get_client(self, **client_options: object) -> KazooClient:
        """Another client with the chroot of this test; it is stopped with the others."""
        options = {"timeout": self.DEFAULT_CLIENT_TIMEOUT, **client_options}
        client = KazooClient(self.hosts, **options)
        self._clients.append(client)
        return client

    def _get_nonchroot_client(self) -> KazooClient:
        client = KazooClient(self.servers)
        self._clients.append(client)
        return client

    def _break(
        self, harm: Callable[[], None], expected: str, event_factory: Callable[[], Event]
    ) -> None:
        lost, back = event_factory(), event_factory()

        def watch(state: str) -> bool:
            if state == expected:
                lost.set()
            elif lost.is_set() and state == KazooState.CONNECTED:
                back.set()
            return back.is_set()  # kazoo forgets a listener that returns True

        self.client.add_listener(watch)
        harm()
        lost.wait(LOST_SECONDS)
        if not lost.is_set():
            raise WaitError(f"the client has not come to {expected} within {LOST_SECONDS:g} s")
        back.wait(BACK_SECONDS)
        if not back.is_set():
            raise WaitError(f"the client has not come back within {BACK_SECONDS:g} s")
        self.client.retry(self.client.get_async, "/")


class KazooTestCase(KazooTestHarness):
    """A client with a chroot for each test."""

    def setUp(self) -> None:
        self.setup_zookeeper()

    def tearDown(self) -> None:
        self.teardown_zookeeper()
