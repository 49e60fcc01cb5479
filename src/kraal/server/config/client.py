"""Where clients are served, plain and by TLS.

Source: reference/operations.md sections 1.2 and 7.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.ensemble import Address, Member, canonical_host
from kraal.model.setting import refuse
from kraal.model.tls import TlsSettings
from kraal.server.config.settings import Settings
from kraal.server.config.tls import CLIENT, tls_settings

_WILDCARDS = ("", "0.0.0.0", "::")
_X509 = "x509"
X509_SUPER_USER = "X509AuthenticationProvider.superUser"
X509_PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"
_LONE_BACKSLASH = re.compile(r"(?<!\\)\\[,=+]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPorts:
    """Hosts and ports to listen on; an empty host is every interface, no port is none."""

    host: str
    port: int | None
    secure_host: str
    secure_port: int | None
    is_unified: bool
    """Whether the plain port speaks TLS, too."""
    tls: TlsSettings | None


def x509_super_user(settings: Settings) -> str | None:
    """The subject that may do everything. A properties file drops a backslash that stands alone,
    and the name that is left is that of somebody else.
    """
    name = settings.text(X509_SUPER_USER)
    for entry in properties.entries(settings.initial_text):
        key = (entry.key or "").removeprefix("zookeeper.")
        if key == X509_SUPER_USER and entry.value == name and _LONE_BACKSLASH.search(entry.lines):
            settings.warn(X509_SUPER_USER, "a backslash of the name must be written twice here")
    return name


def client_ports(settings: Settings, member: Member | None) -> ClientPorts:
    """A server.N line may name the ports too, and then must agree. Raises ConfigError."""
    host, port = _address(settings, "clientPort")
    secure_host, secure_port = _address(settings, "secureClientPort")
    if member is not None:
        host, port = _agreed("client address", host, port, member.client)
        secure_host, secure_port = _agreed(
            "secure client address", secure_host, secure_port, member.secure_client
        )
    if port and port == secure_port and overlap(host, secure_host):
        key = "secureClientPort"
        raise refuse(key, str(port), f"{settings.named('clientPort')} is the same port")
    is_unified = settings.flag("client.portUnification", False) and port is not None
    tls = None
    if is_unified or secure_port is not None:
        tls = tls_settings(settings, CLIENT)
        provider = settings.text("ssl.authProvider") or _X509
        if provider != _X509:
            raise refuse("ssl.authProvider", provider, "kraal has no such provider, only x509")
    if port is None and secure_port is None:
        settings.warnings.append("clientPort is not set: nothing listens for clients")
    return ClientPorts(
        host=host, port=port, secure_host=secure_host, secure_port=secure_port,
        is_unified=is_unified, tls=tls,
    )  # fmt: skip


def has_x509(settings: Settings, tls: TlsSettings | None) -> bool:
    """Whether there is the scheme `x509`: with TLS always, else if `authProvider.X` asks for it."""
    return settings.names_provider(X509_PROVIDER) or tls is not None


def overlap(host: str, other: str) -> bool:
    """Whether one port cannot be listened on at both addresses; names are not looked up."""
    return host == other or host in _WILDCARDS or other in _WILDCARDS


def _agreed(
    what: str, host: str, port: int | None, named: Address | None
) -> tuple[str, int | None]:
    """The address of the server line, if it names one. ConfigError if the keys name another."""
    if named is None:
        return host, port
    same_host = host in _WILDCARDS or canonical_host(host) == named.host
    if port is not None and (port != named.port or not same_host):
        raise ConfigError(
            f"{what} {host or '0.0.0.0'}:{port} is different from"
            f" the {what} of the server line {named}"
        )
    return named


def _address(settings: Settings, key: str) -> tuple[str, int | None]:
    host = settings.text(address_key := f"{key}Address")
    port = settings.parsed_number(key, -1) if settings.text(key) else None
    if port is not None and not 0 <= port <= 0xFFFF:
        raise refuse(key, str(port), f"port out of range:{port}")
    if host is None:
        return "", port
    if port is None:
        raise refuse(address_key, host, f"{address_key} is set but {key} is not set")
    # The original looks an empty name up too, which gives the loopback address.
    host = host.strip("[]") or "localhost"
    _check_resolves(address_key, host)
    return host, port


def _check_resolves(key: str, host: str) -> None:
    """Refuse a host that cannot be looked up, as the original does at start."""
    import socket  # noqa: PLC0415 - only where an address is configured

    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(key, host, f"{host}: {reason}") from None
