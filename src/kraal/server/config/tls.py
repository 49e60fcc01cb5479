"""The settings of TLS, `ssl.*` for clients and `ssl.quorum.*` for servers and the admin port.

Source: reference/operations.md section 7.1.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from kraal.model.setting import refuse
from kraal.model.tls import ClientAuth, Store, TlsSettings
from kraal.server.config.settings import Settings

CLIENT, QUORUM = "ssl.", "ssl.quorum."
_DETECTION_MS = 5000
_LATEST = "TLSv1.3"
_ALL = "TLS"
"""Java's name for whatever version there is."""


def tls_settings(
    settings: Settings, prefix: str, *, client_auth: ClientAuth | None = None
) -> TlsSettings:
    """Read what begins with the prefix. Raises ConfigError.

    `client_auth` is whether clients need certificates where no key says it, as at the admin
    port, which verifies no names either.
    """
    for store in ("keyStore", "trustStore"):
        settings.text(f"{prefix}{store}.type")  # what is in it says so
    for key in (f"{prefix}crl", f"{prefix}ocsp"):
        if settings.flag(key, False):
            raise refuse(key, settings.values[key], "kraal cannot ask for revoked certificates")
    detection_ms = settings.number(f"{prefix}handshakeDetectionTimeoutMillis", _DETECTION_MS)
    named = settings.text(f"{prefix}enabledProtocols")
    is_verified = client_auth is None and settings.flag(f"{prefix}hostnameVerification", True)
    return TlsSettings(
        prefix=prefix,
        key=_store(settings, f"{prefix}keyStore"),
        trust=_store(settings, f"{prefix}trustStore"),
        client_auth=_client_auth(settings, prefix) if client_auth is None else client_auth,
        protocols=_protocols(settings, prefix),
        protocols_key=f"{prefix}{'enabledProtocols' if named else 'protocol'}",
        cipher_suites=_list(settings, f"{prefix}ciphersuites"),
        verifies_servers=is_verified,
        verifies_clients=is_verified
        and settings.flag(f"{prefix}clientHostnameVerification", prefix == QUORUM),
        detection_ms=detection_ms if detection_ms > 0 else _DETECTION_MS,
    )


def _store(settings: Settings, store: str) -> Store | None:
    location, password = settings.text(f"{store}.location"), settings.text(f"{store}.password")
    if path := settings.text(key := f"{store}.passwordPath"):
        try:
            password = Path(path).read_text().rstrip("\r\n")
        except (OSError, UnicodeError) as error:
            raise refuse(key, path, getattr(error, "strerror", None) or str(error)) from error
    return Store(store, PurePath(location), password) if location else None


def _client_auth(settings: Settings, prefix: str) -> ClientAuth:
    text = settings.text(key := f"{prefix}clientAuth") or ClientAuth.NEED
    try:
        return ClientAuth(text.lower())
    except ValueError:
        raise refuse(key, text, "neither none nor want nor need") from None


def _protocols(settings: Settings, prefix: str) -> tuple[str, ...]:
    """Clients get one version, servers that and TLS 1.2, if they are not named one by one."""
    named = _list(settings, f"{prefix}enabledProtocols")
    newest = settings.text(f"{prefix}protocol") or _LATEST
    if named or newest == _ALL:
        return named
    return (newest,) if prefix == CLIENT else tuple({"TLSv1.2", newest})


def _list(settings: Settings, key: str) -> tuple[str, ...]:
    return tuple(word for part in (settings.text(key) or "").split(",") if (word := part.strip()))
