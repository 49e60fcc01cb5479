"""Arguments of the kit that make no sense: the test hears of it, and no server is harmed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kraal.testing import Ensemble, ExternalServer, Server, ServerProcess

Fault = Callable[[Any], object]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Any]]:
    with Server() as server, ServerProcess() as process:
        yield [server, process, ExternalServer(server.hosts)]


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (lambda server: server.slow_disk("x"), TypeError, "number of seconds"),
        (lambda server: server.slow_disk(-1), ValueError, "0 s or more"),
        (lambda server: server.slow_disk(math.nan), ValueError, "0 s or more"),
        (lambda server: server.expire(None), TypeError, "id of a session must be an int"),
    ],
)
def test_faults_say_what_they_expect(
    servers: list[Any], fault: Fault, error: type[Exception], text: str
) -> None:
    for server in servers:
        with pytest.raises(error, match=text):
            fault(server)
    assert [server.sessions() for server in servers[:2]] == [[], []]


def test_an_ensemble_says_what_it_expects() -> None:
    with pytest.raises(TypeError, match="size and observers must be ints"):
        Ensemble("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="size and observers must be ints"):
        Ensemble(3, observers=None)  # type: ignore[arg-type]
    ensemble = Ensemble(3)
    with pytest.raises(ValueError, match="at least one member"):
        ensemble.hosts_of()
    with pytest.raises(TypeError, match="id of a session"):
        ensemble.expire(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="number of seconds"):
        ensemble.slow_disk(1, "x")  # type: ignore[arg-type]
