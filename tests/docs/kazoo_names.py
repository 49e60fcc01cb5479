"""The public names of kazoo, as it is installed, with the arguments that they take."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

import kazoo
from kazoo.client import KazooClient

_SKIPPED = ("kazoo.tests", "kazoo.version")
_HOMES_OF_CONSTANTS = (
    "kazoo.exceptions",
    "kazoo.loggingsupport",
    "kazoo.protocol.states",
    "kazoo.security",
)
"""Others import constants from here; a constant does not say where it is from."""


def modules() -> list[str]:
    """Every module of kazoo that its users may import; packages have no names of their own."""
    found = pkgutil.walk_packages(kazoo.__path__, "kazoo.")
    return [each.name for each in found if not each.ispkg and not each.name.startswith(_SKIPPED)]


def is_importable(module: str) -> bool:
    """Whether what kazoo needs for this module is installed: its test harness needs pyOpenSSL."""
    try:
        import_module(module)
    except (ModuleNotFoundError, DeprecationWarning):  # eventlet is about to go
        return False
    return True


def public_names(module_name: str) -> Mapping[str, frozenset[str]]:
    """`name` and `Class.member` of a module, with the names of the arguments."""
    module = import_module(module_name)
    found: dict[str, frozenset[str]] = {}
    for name in _own(module):
        value = getattr(module, name)
        found[name] = _arguments(value)
        if inspect.isclass(value):
            found |= {f"{name}.{member}": taken for member, taken in _members(value)}
    if module_name == KazooClient.__module__:  # the recipes are attributes of the client
        attributes = [name for name in vars(KazooClient()) if not name.startswith("_")]
        found |= {f"KazooClient.{name}": frozenset() for name in attributes}
    return found


def _own(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None)
        if name.startswith("_") or inspect.ismodule(value):
            continue
        if home == module.__name__ or (home is None and not _is_imported(name, value, module)):
            yield name


def _is_imported(name: str, value: object, module: ModuleType) -> bool:
    homes = (import_module(home) for home in _HOMES_OF_CONSTANTS if home != module.__name__)
    return any(vars(home).get(name, home) is value for home in homes)


def _members(cls: type) -> Iterator[tuple[str, frozenset[str]]]:
    own = [base for base in cls.__mro__ if base.__module__.startswith("kazoo.")]
    for name in dict.fromkeys(name for base in own for name in vars(base)):
        if not name.startswith("_"):
            yield name, _arguments(getattr(cls, name))


def _arguments(value: object) -> frozenset[str]:
    """Names of arguments, apart from the client, which is the first of every recipe."""
    if not callable(value) or (inspect.isclass(value) and issubclass(value, Exception | tuple)):
        return frozenset()
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return frozenset()
    return frozenset(
        each.name
        for each in parameters
        if each.name not in ("self", "client")
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    )
