"""The TLS contexts of a server's ports, which follow their files."""

from __future__ import annotations

from collections.abc import Callable, Collection

from kraal.errors import ConfigError
from kraal.model.config import ServerConfig
from kraal.server.config.file import LoadedConfig
from kraal.server.tls.quorum import QuorumTls
from kraal.tls.contexts import accepting, dialling, reloading
from kraal.tls.reloading import ReloadingContext


def check_stores(loaded: LoadedConfig) -> None:
    """Look whether the ports without which the server does not serve have what TLS needs.

    Raises ConfigError with the place of the setting that is wrong.
    """
    config, ensemble = loaded.config, loaded.config.ensemble
    try:
        if config.client_tls is not None:
            accepting(config.client_tls)
        if ensemble is not None and ensemble.tls is not None:
            accepting(ensemble.tls)
            if ensemble.dials_tls:
                dialling(ensemble.tls)
    except ConfigError as error:
        raise loaded.located(error) from error


class TlsContexts:
    """Of all ports but the admin port, without whose certificates the server serves as well."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ConfigError for files that cannot be used."""
        self._ensemble = ensemble = config.ensemble
        self.clients: ReloadingContext | None = None
        """None: no port for clients speaks TLS."""
        self._servers: ReloadingContext | None = None
        self._dialling: ReloadingContext | None = None
        if config.client_tls is not None:
            self.clients = reloading(accepting, config.client_tls)
        if ensemble is not None and ensemble.tls is not None:
            self._servers = reloading(accepting, ensemble.tls)
            if ensemble.dials_tls:
                self._dialling = reloading(dialling, ensemble.tls)

    def of_quorum(self, hosts: Callable[[], Collection[str]]) -> QuorumTls | None:
        """None: members speak no TLS. `hosts` are those of all members."""
        ensemble = self._ensemble
        if ensemble is None or ensemble.tls is None or self._servers is None:
            return None
        return QuorumTls(
            ensemble.tls,
            accepting=self._servers,
            dialling=self._dialling,
            is_unified=ensemble.unified_quorum_ports,
            hosts=hosts,
        )

    @property
    def _all(self) -> list[ReloadingContext]:
        every = (self.clients, self._servers, self._dialling)
        return [context for context in every if context is not None]

    def look_at_files(self) -> None:
        """Take up files that have changed, also when nobody connects."""
        for context in self._all:
            context()

    @property
    def certificate_expiry_s(self) -> int | None:
        """When the first certificate in use expires, in seconds since 1970."""
        known = [s for context in self._all if (s := context.expiry_s) is not None]
        return min(known, default=None)
