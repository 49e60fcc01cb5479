"""Every exception that kraal exports leaves a pool of processes as it is."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from inspect import isclass
from multiprocessing import get_context

import pytest

from kraal.client import (
    ConnectionLossError,
    NoNodeError,
    RequestTimeoutError,
    RuntimeInconsistencyError,
    TransactionError,
    UnknownCodeError,
    ZooKeeperError,
)
from kraal.errors import ConfigError, ErrorCode, KraalError, RequestError
from kraal.recipes import ItemInDoubtError

EXPORTING = ("kraal", "kraal.client", "kraal.errors", "kraal.recipes", "kraal.sync",
             "kraal.sync.recipes", "kraal.testing")  # fmt: skip
PARTS = [RuntimeInconsistencyError(path="/a"), NoNodeError(path="/b"), None]
OWN_ARGUMENTS: dict[type[BaseException], Callable[[], BaseException]] = {
    ConfigError: lambda: ConfigError("tickTime: not a number", "tickTime"),
    RequestError: lambda: RequestError(ErrorCode.NO_NODE),
    ConnectionLossError: lambda: ConnectionLossError("cut", path="/a", sent=False),
    RequestTimeoutError: lambda: RequestTimeoutError("late", path="/a"),
    UnknownCodeError: lambda: UnknownCodeError(-999, path="/a"),
    TransactionError: lambda: TransactionError(1, NoNodeError(path="/b"), PARTS),
    ItemInDoubtError: lambda: ItemInDoubtError("/q/entry-1", b"data"),
}


def exported() -> Iterator[type[BaseException]]:
    seen = set()
    for name in EXPORTING:
        module = import_module(name)
        for each in getattr(module, "__all__", dir(module)):
            kind = getattr(module, each)
            if isclass(kind) and issubclass(kind, BaseException) and kind not in seen:
                seen.add(kind)
                yield kind


def made(kind: type[BaseException]) -> BaseException:
    if kind in OWN_ARGUMENTS:
        return OWN_ARGUMENTS[kind]()
    return kind("why", path="/a") if issubclass(kind, ZooKeeperError) else kind("why")


def shown(error: object) -> object:
    """All that can be seen of an error; those within it as well."""
    if isinstance(error, list):
        return [shown(each) for each in error]
    if not isinstance(error, BaseException):
        return error
    return (
        type(error), str(error), repr(error),
        {name: shown(value) for name, value in vars(error).items()},
    )  # fmt: skip


@pytest.mark.parametrize("kind", list(exported()))
def test_an_exception_survives_pickle_and_copy(kind: type[BaseException]) -> None:
    error = made(kind)
    error.add_note("what was being done")
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert shown(again) == shown(error)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twice = error
        for _ in range(2):
            twice = pickle.loads(pickle.dumps(twice, protocol))
        assert shown(twice) == shown(error)


def refused() -> None:
    raise OWN_ARGUMENTS[TransactionError]()


def test_an_exception_leaves_a_pool_of_processes() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(TransactionError, match="operation 1") as raised,
    ):
        pool.submit(refused).result()
    assert isinstance(raised.value.error, NoNodeError)
    assert raised.value.error.path == "/b"


def test_all_errors_are_of_one_base() -> None:
    assert all(issubclass(kind, KraalError) for kind in exported())
