"""Whom a certificate names, and whether that is whom somebody means.

The rules are RFC 6125's as the original has them: alternative names, and the common name where
there are none; a star stands for the first label of a name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from ssl import SSLObject
from typing import Self

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a verified certificate says of its owner."""

    hosts: tuple[str, ...]
    addresses: tuple[IpAddress, ...]

    @classmethod
    def of(cls, tls: SSLObject) -> Self | None:
        """Of the other end; None: it has shown no certificate."""
        certificate = tls.getpeercert()
        if not certificate:
            return None
        found = list(_pairs(certificate.get("subjectAltName", ())))
        hosts = tuple(value for kind, value in found if kind == "DNS")
        if not found:
            subject = (pair for part in certificate.get("subject", ()) for pair in _pairs(part))
            hosts = tuple(value for kind, value in subject if kind == "commonName")[:1]
        texts = (value for kind, value in found if kind == "IP Address")
        return cls(hosts, tuple(filter(None, map(ip_address, texts))))

    def __str__(self) -> str:
        return ", ".join((*self.hosts, *map(str, self.addresses))) or "nobody"

    def names(self, host: str) -> bool:
        """Whether a host, a name or an address, is meant."""
        address = ip_address(host)
        if address is not None:
            return address in self.addresses
        return any(_matches(pattern.lower(), host.lower().rstrip(".")) for pattern in self.hosts)


def ip_address(text: str) -> IpAddress | None:
    """None: it is a name."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _pairs(values: object) -> Iterator[tuple[str, str]]:
    """Names in the form of `getpeercert`, without what is none."""
    assert isinstance(values, tuple)
    for value in values:
        match value:
            case (str(kind), str(text)):
                yield kind, text


def _matches(pattern: str, host: str) -> bool:
    first, dot, rest = pattern.rstrip(".").partition(".")
    if first == "*" and "." in rest:
        return dot + rest == "".join(host.partition(".")[1:])
    return pattern.rstrip(".") == host
