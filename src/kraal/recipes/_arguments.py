"""What the constructors of all recipes check of their arguments."""

from __future__ import annotations

import inspect
import math
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


def check_name(name: object) -> None:
    """Raise TypeError for what is no text, ValueError for what cannot be the name of a child."""
    if not isinstance(name, str):
        raise TypeError(f"a name must be text, not {name!r:.100}")
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


def checked_identifier(identifier: object) -> bytes:
    """What a contender says of itself. Raises TypeError, ValueError."""
    if isinstance(identifier, bytes):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(f"an identifier is a str or bytes, not {identifier!r:.100}")
    try:
        return identifier.encode()
    except UnicodeEncodeError:
        raise ValueError(f"an identifier without a UTF-8 form: {identifier!a:.100}") from None


def check_count(name: str, value: object, least: float = 1) -> None:
    """Raise TypeError for what is no int, ValueError for one below `least`."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {value!r:.100}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def check_function(name: str, value: object) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r:.100}")


def check_data(data: object) -> None:
    """Raise TypeError for what is no data of a znode."""
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {data!r:.100}")


def check_seconds(name: str, value: object, longest: float = math.inf) -> None:
    """Raise TypeError for what is no number, ValueError for NaN and outside of 0 to `longest`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r:.100}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must not be below 0 s, but is {value}")
    if value > longest:
        raise ValueError(f"{name} must be at most {longest:g} s, but is {value}")
