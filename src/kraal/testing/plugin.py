"""The pytest plugin: servers as fixtures. It costs a run that uses none of them nothing.

docs/testing.md is the user's page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kraal.client import Client
    from kraal.sync import Client as SyncClient
    from kraal.testing import Ensemble, ExternalServer, Server, ServerProcess

MARKER = "kraal_ensemble(size=3, observers=0): how many servers the fixture kraal_ensemble has"
_Shape = tuple[int, int]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kraal-hosts`, and the same and the sizes in the configuration file."""
    group = parser.getgroup("kraal", "ZooKeeper servers for tests")
    group.addoption(
        "--kraal-hosts",
        metavar="HOSTS",
        help="run kraal_server's tests against this server, in a chroot of their own",
    )
    parser.addini("kraal_hosts", "as --kraal-hosts, which wins", default="")
    parser.addini("kraal_ensemble_size", "voting servers of kraal_ensemble", default="3")
    parser.addini("kraal_settings", "lines key=value for the servers' zoo.cfg", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture(scope="session")
def _kraal_shared_server(pytestconfig: pytest.Config) -> Iterator[Server | ExternalServer]:
    from kraal.testing import ExternalServer, Server  # noqa: PLC0415 - only where it is used

    if hosts := _hosts(pytestconfig):
        external = ExternalServer(hosts, refuse=pytest.skip)
        try:
            external.start()
        except TimeoutError as error:
            external.close()
            pytest.fail(str(error), pytrace=False)  # that of each test, without looking again
        with external:
            yield external
        return
    with Server(settings=_settings(pytestconfig)) as server:
        yield server


@pytest.fixture
def kraal_server(
    _kraal_shared_server: Server | ExternalServer,
) -> Iterator[Server | ExternalServer]:
    """A server in this process that is as good as new, whatever other tests have done to it."""
    yield _kraal_shared_server
    _kraal_shared_server.reset()


@pytest.fixture
def kraal_server_process(pytestconfig: pytest.Config) -> Iterator[ServerProcess]:
    """A new server in a process of its own, to kill and to pause."""
    from kraal.testing import ServerProcess  # noqa: PLC0415 - only where it is used

    _needs_own_server(pytestconfig)
    with ServerProcess(settings=_settings(pytestconfig)) as server:
        yield server


@pytest.fixture(scope="session")
def _kraal_ensembles(pytestconfig: pytest.Config) -> Iterator[Callable[[_Shape], Ensemble]]:
    """One ensemble of each shape that a test has asked for."""
    from kraal.testing import Ensemble  # noqa: PLC0415 - only where it is used

    started: dict[_Shape, Ensemble] = {}

    def started_with(shape: _Shape) -> Ensemble:
        if shape not in started:
            size, observers = shape
            settings = _settings(pytestconfig)
            started[shape] = Ensemble(size, observers=observers, settings=settings)
        return started[shape]

    yield started_with
    for ensemble in started.values():
        ensemble.close()


@pytest.fixture
def kraal_ensemble(
    request: pytest.FixtureRequest, _kraal_ensembles: Callable[[_Shape], Ensemble]
) -> Ensemble:
    """An ensemble of server processes that is healthy and as good as new.

    `@pytest.mark.kraal_ensemble(size=5, observers=1)` says how large it is.
    """
    _needs_own_server(request.config)
    ensemble = _kraal_ensembles(_shape(request))
    ensemble.start()
    ensemble.reset()
    return ensemble


@pytest.fixture
def kraal_async_client(kraal_server: Server | ExternalServer) -> Callable[[], Client]:
    """Makes clients of kraal's own of the server: `async with kraal_async_client() as zk`."""
    from kraal.client import connect  # noqa: PLC0415 - only where it is used

    def kraal_async_client() -> Client:
        return connect(kraal_server.hosts)

    return kraal_async_client


@pytest.fixture
def kraal_sync_client(kraal_server: Server | ExternalServer) -> Callable[[], SyncClient]:
    """Makes clients for threads of the server: `with kraal_sync_client() as zk`."""
    from kraal.sync import connect  # noqa: PLC0415 - only where it is used

    def kraal_sync_client() -> SyncClient:
        return connect(kraal_server.hosts)

    return kraal_sync_client


def _hosts(config: pytest.Config) -> str:
    given: str | None = config.getoption("--kraal-hosts")
    return given or str(config.getini("kraal_hosts"))


def _needs_own_server(config: pytest.Config) -> None:
    if hosts := _hosts(config):
        pytest.skip(f"needs servers of its own, not {hosts}")


def _settings(config: pytest.Config) -> dict[str, str]:
    pairs = [line.partition("=") for line in config.getini("kraal_settings")]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise pytest.UsageError(f"kraal_settings: {wrong[0]!r} is not of the form key=value")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _shape(request: pytest.FixtureRequest) -> _Shape:
    marker = request.node.get_closest_marker("kraal_ensemble")
    given = {} if marker is None else dict(marker.kwargs)
    if (marker is not None and marker.args) or given.keys() - {"size", "observers"}:
        raise pytest.UsageError(f"the marker is written {MARKER.partition(': ')[0]}")
    size = given.get("size", request.config.getini("kraal_ensemble_size"))
    return int(size), int(given.get("observers", 0))
