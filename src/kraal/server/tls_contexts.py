"""The TLS contexts of a server's ports, which follow their files."""

from __future__ import annotations

from kraal.model.config import ServerConfig
from kraal.tls.contexts import accepting, reloading
from kraal.tls.reloading import ReloadingContext


class TlsContexts:
    """Of all ports but the admin port, without whose certificates the server serves as well."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ConfigError for files that cannot be used."""
        self.clients: ReloadingContext | None = None
        """None: no port for clients speaks TLS."""
        if config.client_tls is not None:
            self.clients = reloading(accepting, config.client_tls)

    @property
    def _all(self) -> list[ReloadingContext]:
        return [context for context in (self.clients,) if context is not None]

    def look_at_files(self) -> None:
        """Take up files that have changed, also when nobody connects."""
        for context in self._all:
            context()

    @property
    def certificate_expiry_s(self) -> int | None:
        """When the first certificate in use expires, in seconds since 1970."""
        known = [s for context in self._all if (s := context.expiry_s) is not None]
        return min(known, default=None)
