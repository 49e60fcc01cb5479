"""How a client behaves, decided once when it is made."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kraal.client.arguments import check_seconds
from kraal.client.errors import BadArgumentsError
from kraal.client.sasl import DigestMd5, Gssapi
from kraal.model.limits import MAX_BUFFER_BYTES

REQUEST_HEADER_BYTES = 8
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
        check_seconds("session_timeout", self.session_timeout)
        if self.connect_timeout is not None:
            check_seconds("connect_timeout", self.connect_timeout)
        if self.request_timeout is not None:
            check_seconds("request_timeout", self.request_timeout)
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

    def check_size(self, body: bytes, path: str | None) -> None:
        """Raise BadArgumentsError for a request that would only close the connection."""
        length = len(body) + REQUEST_HEADER_BYTES
        if length > self.max_request_bytes:
            raise BadArgumentsError(
                f"a request of {length} bytes is longer than the servers take "
                f"({self.max_request_bytes}, jute.maxbuffer)",
                path=path,
            )
