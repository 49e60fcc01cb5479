"""What is wrong with an argument, said to its caller before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import CodeType

from kraal.client.values import Session
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


def checked_session(session: object) -> Session:
    """A session to be continued. Raises TypeError, ValueError; the texts show no password."""
    if not isinstance(session, Session):
        raise TypeError(f"session must be a Session, not {type(session).__name__}")
    id_, password, timeout = session
    if not isinstance(id_, int):
        raise TypeError(f"the id of a session must be an int, not {type(id_).__name__}")
    if not -(2**63) <= id_ < 2**63:
        raise ValueError(f"the id of a session must be a number of 64 bits, not {id_}")
    if not isinstance(password, bytes):
        raise TypeError(f"the password of a session must be bytes, not {type(password).__name__}")
    check_seconds("the timeout of a session", timeout)
    return session


def check_seconds(name: str, value: object) -> None:
    """Raises TypeError, ValueError for what is no positive time that fits into a request."""
    if not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r:.100}")
    if not 0 < value < 2**31 / 1000:
        raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


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
