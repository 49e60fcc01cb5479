"""Logins by SASL: what an exchange is to the server, whatever its mechanism.

Rules: reference/client-protocol.md section 10.7, reference/operations.md section 7.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kraal.errors import KraalError

SHOWN_MAX = 64


class LoginRefusedError(KraalError):
    """The client is not who it says, or says it wrongly; the reason is for the operator alone."""


class Exchange(Protocol):
    """The server's half of one exchange, on one connection."""

    @property
    def mechanism(self) -> str:
        """Its name, as `DIGEST-MD5`."""
        ...

    @property
    def authorization_id(self) -> str | None:
        """Who the client is, once the exchange is complete."""
        ...

    def evaluate(self, token: bytes) -> bytes | None:
        """The answer to a token of the client; None: there is no more to be said.

        Raises LoginRefusedError, also after the exchange is complete.
        """
        ...


Mechanism = Callable[[], Exchange]
"""Begins an exchange."""


def shown(name: str) -> str:
    """A name from outside as a line of the log may have it."""
    return ascii(name if len(name) <= SHOWN_MAX else name[:SHOWN_MAX] + "...")
