"""What is wrong with an argument, said to its caller before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import CodeType

from kraal.model.limits import MAX_TTL_MS

AUTH_FORM = 'auth must be a list of (scheme, bytes), such as [("digest", b"user:password")]'


def check_callback(callback: object) -> None:
    """Raises TypeError for what cannot be called back, and for what would have to be awaited."""
    code = getattr(callback, "__code__", None)
    if type(code) is CodeType and not code.co_flags & inspect.CO_COROUTINE:
        return  # a function or a method: most are, and this is quick
    if not callable(callback):
        raise TypeError(f"a callback must be a function, not {callback!r:.100}")
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004 - an object whose call is a coroutine
    ):
        raise TypeError(
            f"a callback must be a plain function, not a coroutine function: {callback!r:.100}"
        )


def checked_auth(auth: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Credentials for a connection. Raises TypeError, whose text does not show them."""
    # What is wrong here is often a secret: only types are named.
    entries: object = auth
    if isinstance(entries, str | bytes) or not isinstance(entries, Sequence):
        raise TypeError(f"{AUTH_FORM}, not {type(entries).__name__}")
    found: list[tuple[str, bytes]] = []
    for entry in entries:
        if not isinstance(entry, tuple | list) or len(entry) != 2:
            raise TypeError(f"{AUTH_FORM}; it has a {type(entry).__name__}")
        scheme, secret = entry
        if not isinstance(scheme, str) or not isinstance(secret, bytes | bytearray | memoryview):
            kinds = f"({type(scheme).__name__}, {type(secret).__name__})"
            raise TypeError(f"{AUTH_FORM}; it has {kinds}")
        found.append((scheme, bytes(secret)))
    return found


def ttl_ms(ttl: object) -> int:
    """A ttl in seconds as servers take it. Raises TypeError, ValueError."""
    if not isinstance(ttl, int | float):
        raise TypeError(f"ttl must be a number of seconds, not {ttl!r:.100}")
    if not 0 < ttl * 1000 <= MAX_TTL_MS or round(ttl * 1000) == 0:
        raise ValueError(f"ttl must be between 0.001 and {MAX_TTL_MS / 1000} s, not {ttl}")
    return round(ttl * 1000)


def version_error(version: object) -> TypeError | ValueError:
    """Why a version has no place in a request."""
    if isinstance(version, int):
        return ValueError(f"version must be a number of 32 bits, not {version}")
    return TypeError(f"version must be an int, -1 for any, not {version!r:.100}")
