"""What a shell is started with."""

from __future__ import annotations

from dataclasses import dataclass

from kraal.client import DigestMd5, Gssapi, TlsOptions
from kraal.model.limits import MAX_BUFFER_BYTES
from kraal.shell.kinds import OpenKinds

DEFAULT_HOSTS = "localhost:2181"
DEFAULT_TIMEOUT_MS = 30_000


@dataclass(frozen=True)
class Settings:
    """Servers, session and output of one shell."""

    hosts: str = DEFAULT_HOSTS
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    """The session timeout that is asked for, and how long a first connection is waited for."""
    is_read_only: bool = False
    """Whether a server without a quorum will do."""
    waits: bool = False
    """Whether nothing is done before there is a connection."""
    tls: TlsOptions | None = None
    sasl: DigestMd5 | Gssapi | None = None
    max_request_bytes: int = MAX_BUFFER_BYTES
    is_json: bool = False
    is_quiet: bool = False
    """Whether nothing is said but the answers: no greeting, no events of the session."""
    stops: bool = False
    """Whether lines end at the first command that fails."""
    kinds: OpenKinds | None = None
    """How the kinds of znodes are asked for at an admin port; None: they cannot be."""
    warnings: tuple[str, ...] = ()
    """What is to be said of the configuration before anything else."""
