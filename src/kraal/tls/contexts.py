"""Contexts made of a server's settings, for those who connect and for whom it dials."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from kraal.errors import ConfigError
from kraal.model.tls import ClientAuth, Store, TlsSettings
from kraal.tls.alerts import AlertingContext
from kraal.tls.reloading import Made, ReloadingContext
from kraal.tls.stores import load_key, load_trust
from kraal.tls.suites import restrict

Maker = Callable[[TlsSettings], Made]


def accepting(settings: TlsSettings) -> Made:
    """For those who connect, of the files as they are now. Raises ConfigError.

    Whom a certificate names is not looked at.
    """
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, settings)
    chain, trusted = load_key(context, _named(settings.key, settings, "keyStore")), []
    if settings.client_auth is not ClientAuth.NONE:
        # Never the system's authorities: anybody may have a certificate of theirs.
        trusted = load_trust(context, _named(settings.trust, settings, "trustStore"))
        is_needed = settings.client_auth is ClientAuth.NEED
        context.verify_mode = ssl.CERT_REQUIRED if is_needed else ssl.CERT_OPTIONAL
    return Made(context, tuple(chain), tuple(trusted))


def dialling(settings: TlsSettings) -> Made:
    """For whom this server dials; as `accepting`, but it always asks for a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _restrict(context, settings)
    trusted = load_trust(context, _named(settings.trust, settings, "trustStore"))
    chain = [] if settings.key is None else load_key(context, settings.key)
    return Made(context, tuple(chain), tuple(trusted))


def reloading(make: Maker, settings: TlsSettings) -> ReloadingContext:
    """A context that follows the stores. Raises ConfigError."""
    stores = [store.path for store in (settings.key, settings.trust) if store is not None]
    return ReloadingContext(lambda: make(settings), stores)


def _restrict(context: ssl.SSLContext, settings: TlsSettings) -> None:
    try:
        restrict(context, settings.protocols, settings.cipher_suites)
    except ConfigError as error:
        key = f"{settings.prefix}ciphersuites" if settings.cipher_suites else settings.protocols_key
        raise ConfigError(f"{key}: {error}", key) from None


def _named(store: Store | None, settings: TlsSettings, which: str) -> Store:
    if store is None:
        key = f"{settings.prefix}{which}.location"
        raise ConfigError(f"{key} names no file, and TLS is asked for: name the store", key)
    return store
