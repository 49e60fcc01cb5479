"""kraal: ZooKeeper for Python.

The client's common names are here too, and so are `kraal.client`, `kraal.recipes` and
`kraal.sync`; they are loaded when they are first used, so that `import kraal` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kraal.version import __version__

if TYPE_CHECKING:
    from kraal import client as client
    from kraal import recipes as recipes
    from kraal import sync as sync
    from kraal.client import (
        Acl,
        BadVersionError,
        Client,
        ConnectionLossError,
        CreateMode,
        EventType,
        Id,
        NodeExistsError,
        NoNodeError,
        NotEmptyError,
        SessionExpiredError,
        SessionState,
        Stat,
        WatchEvent,
        ZooKeeperError,
        connect,
    )

__all__ = [
    "Acl",
    "BadVersionError",
    "Client",
    "ConnectionLossError",
    "CreateMode",
    "EventType",
    "Id",
    "NoNodeError",
    "NodeExistsError",
    "NotEmptyError",
    "SessionExpiredError",
    "SessionState",
    "Stat",
    "WatchEvent",
    "ZooKeeperError",
    "__version__",
    "connect",
]


_PACKAGES = ("client", "recipes", "sync")


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return import_module(f"kraal.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("kraal.client"), name)


def __dir__() -> list[str]:
    return [*__all__, *_PACKAGES]
