import time
from collections.abc import Callable, Iterator

import pytest
from kazoo.client import KazooClient
from registry import Registry

from kraal.testing import Ensemble, Server

ClientOf = Callable[[Server | Ensemble], KazooClient]


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    clients = []

    def start(server: Server | Ensemble) -> KazooClient:
        client = KazooClient(server.hosts, timeout=5)
        client.start()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.stop()
        client.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_instance_whose_session_expires_is_gone(
    kraal_server: Server, client_of: ClientOf
) -> None:
    mine, other = client_of(kraal_server), client_of(kraal_server)
    registry = Registry(mine, "web")
    other.create("/services/web/b", ephemeral=True)
    wait_until(lambda: registry.instances == ["b"])
    kraal_server.expire(other.client_id[0])
    wait_until(lambda: registry.instances == [])


def test_the_leader_may_die(kraal_ensemble: Ensemble, client_of: ClientOf) -> None:
    registry = Registry(client_of(kraal_ensemble), "web")
    registry.register("a", "10.0.0.1:80")
    kraal_ensemble.kill(kraal_ensemble.leader())
    kraal_ensemble.leader()
    other = Registry(client_of(kraal_ensemble), "web")
    wait_until(lambda: other.instances == ["a"])
