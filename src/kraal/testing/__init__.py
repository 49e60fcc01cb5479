"""Servers and ensembles for tests: started in milliseconds, reset in fewer, broken on demand.

`Server` runs in this process, `ServerProcess` and `Ensemble` in processes of their own; all of
them are context managers, with `with` and with `async with`. The pytest plugin `kraal` has them as
fixtures. docs/testing.md is the user's page.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kraal.testing.ensemble import Ensemble
    from kraal.testing.errors import StartError, UnavailableError, WaitError
    from kraal.testing.external import ExternalServer
    from kraal.testing.process import ServerProcess
    from kraal.testing.server import Server

__all__ = [
    "Ensemble",
    "ExternalServer",
    "Server",
    "ServerProcess",
    "StartError",
    "UnavailableError",
    "WaitError",
]

_HOMES = {
    "Ensemble": "ensemble",
    "ExternalServer": "external",
    "Server": "server",
    "ServerProcess": "process",
    "StartError": "errors",
    "UnavailableError": "errors",
    "WaitError": "errors",
}


def __getattr__(name: str) -> object:
    """Every pytest run imports this package for its plugin, and most need no server."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"kraal.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
