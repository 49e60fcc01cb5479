"""What TLS on one of a server's ports is made of (reference/operations.md section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath


class ClientAuth(StrEnum):
    """Whether who connects shows a certificate; the value is the word of `ssl.clientAuth`."""

    NONE = "none"
    WANT = "want"
    NEED = "need"


@dataclass(frozen=True, slots=True)
class Store:
    """A file, and the password of what is in it."""

    name: str
    """What the settings of the store begin with, such as `ssl.keyStore`."""
    path: PurePath
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The settings of one prefix, `ssl.` or `ssl.quorum.`."""

    prefix: str
    """Of the keys, for what is said of them."""
    key: Store | None = None
    """Private key and certificates."""
    trust: Store | None = None
    """Certificates of authorities."""
    client_auth: ClientAuth = ClientAuth.NEED
    protocols: tuple[str, ...] = ()
    """Versions, such as `TLSv1.3`; empty: 1.2 and 1.3."""
    protocols_key: str = ""
    """The setting that names them."""
    cipher_suites: tuple[str, ...] = ()
    """By their standard names; empty: OpenSSL's choice."""
    verifies_servers: bool = False
    """Whether the certificate of whom this server dials must name it."""
    verifies_clients: bool = False
    """Whether the certificate of who connects must name it, too."""
    detection_ms: int = 5000
    """How long a port for plain and TLS waits for the first byte; then it is plain."""
