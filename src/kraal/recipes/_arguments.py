"""What the constructors of all recipes check of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from kraal.client import Client
from kraal.model import path as paths

P = ParamSpec("P")
T = TypeVar("T")


def check_place(zk: object, path: object) -> None:
    """Raise TypeError for what is no client or no text, ValueError for what can be no path."""
    if not isinstance(zk, Client):
        raise TypeError(f"a kraal.client.Client is needed, not {zk!r}")
    if not isinstance(path, str):
        raise TypeError(f"a path is text, not {path!r}")
    if not paths.is_valid(path.encode("utf-8", "replace")):
        raise ValueError(f"{path!r} can be no path of a znode")


def check_name(name: str) -> None:
    """Raise ValueError for what cannot be the name of a child."""
    if not name or "/" in name or not paths.is_valid(f"/{name}".encode("utf-8", "replace")):
        raise ValueError(f"{name!r} can be no name of a znode")


def check_coroutine_function(work: object) -> None:
    """Raises TypeError for what surely is none: a plain function may return a coroutine."""
    if not callable(work):
        raise TypeError(f"a coroutine function is needed, not {work!r:.100}")
    if inspect.isgeneratorfunction(work) or inspect.isasyncgenfunction(work):
        raise TypeError(f"a coroutine function is needed, not the generator {work!r:.100}")


def coroutine_of(
    work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]:
    """The coroutine that `work` makes. Raises TypeError if it returns something else."""
    coroutine = work(*args, **kwargs)
    if not inspect.iscoroutine(coroutine):
        raise TypeError(
            f"a coroutine function is needed; {work!r:.100} returned {coroutine!r:.100}"
        )
    return coroutine
