"""How a client behaves, decided once when it is made."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kraal.client.sasl import DigestMd5, Gssapi
from kraal.model.limits import MAX_BUFFER_BYTES

WhileDisconnected = Literal["wait", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of one client; times in seconds. `kraal.client.connect` describes them."""

    session_timeout: float = 10.0
    read_only: bool = False
    tls: Callable[[], ssl.SSLContext] | None = None
    """Gives the context of each connection; None: no TLS."""
    sasl: DigestMd5 | Gssapi | None = None
    connect_timeout: float | None = None
    request_timeout: float | None = None
    while_disconnected: WhileDisconnected = "wait"
    max_request_bytes: int = MAX_BUFFER_BYTES

    def __post_init__(self) -> None:
        for name in ("session_timeout", "connect_timeout", "request_timeout"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number of seconds, not {value!r:.100}")
            if value is not None and not 0 < value < 2**31 / 1000:
                raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
        if self.while_disconnected not in ("wait", "fail"):
            raise ValueError(
                f'while_disconnected must be "wait" or "fail", not {self.while_disconnected!r}'
            )
        mechanism: object = self.sasl
        if mechanism is not None and not isinstance(mechanism, DigestMd5 | Gssapi):
            # It may hold a secret, so only its type is named.
            raise TypeError(f"sasl must be DigestMd5 or Gssapi, not {type(mechanism).__name__}")
        limit: object = self.max_request_bytes
        if not isinstance(limit, int) or limit <= 0:
            raise ValueError(f"max_request_bytes must be a number above 0, not {limit!r:.100}")
