"""TLS of the admin port: which stores, and the context that is made of them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import PurePath
from typing import Self

from kraal.errors import ConfigError
from kraal.model.config import AdminConfig
from kraal.tls.reloading import Made
from kraal.tls.stores import Store, load_key, load_trust


@dataclass(frozen=True, slots=True)
class AdminTls:
    """The key store, and the trust store where clients need certificates."""

    key: Store
    trust: Store | None

    @classmethod
    def of(cls, admin: AdminConfig) -> Self | None:
        """None: the port does not speak TLS. Raises ConfigError where a store is not named."""
        if not (admin.enabled and (admin.force_https or admin.port_unification)):
            return None
        if admin.key_store is None:
            raise ConfigError("ssl.quorum.keyStore.location names no file")
        key = Store(admin.key_store, admin.key_password)
        if not admin.need_client_auth:
            return cls(key, None)
        if admin.trust_store is None:
            raise ConfigError("admin.needClientAuth=true: no ssl.quorum.trustStore.location")
        return cls(key, Store(admin.trust_store, admin.trust_password))

    @property
    def paths(self) -> list[PurePath]:
        return [store.path for store in (self.key, self.trust) if store is not None]

    def make(self) -> Made:
        """Of the files as they are now. Raises ConfigError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificates = load_key(context, self.key)
        if self.trust is not None:
            certificates += load_trust(context, self.trust)
            context.verify_mode = ssl.CERT_REQUIRED
        return Made(context, tuple(certificates))
