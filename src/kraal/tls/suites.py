"""Cipher suites and versions by the names that ZooKeeper's settings use: IANA's and Java's."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from kraal.errors import ConfigError

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_AUTHENTICATIONS = {"RSA": ""}
"""How OpenSSL spells the part before `_WITH_` where it is not as it stands."""


def restrict(context: ssl.SSLContext, protocols: Sequence[str], suites: Sequence[str]) -> None:
    """Let a context offer these alone; none: 1.2 and 1.3, and OpenSSL's suites. ConfigError."""
    versions = [_version(name) for name in protocols] or [
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    ]
    lowest, highest = min(versions), max(versions)
    if suites:
        older = [name for name in suites if "_WITH_" in name]
        # Python cannot choose among the suites of TLS 1.3: it has all of them or is off.
        if not older:
            lowest = ssl.TLSVersion.TLSv1_3
        elif len(older) == len(suites):
            highest = min(highest, ssl.TLSVersion.TLSv1_2)
        if older:
            context.set_ciphers(":".join(map(_known, older)))
        for name in set(suites) - set(older):
            if name not in _names(context):
                raise ConfigError(f"there is no cipher suite {name}")
    if lowest > highest:
        raise ConfigError("none of the cipher suites belongs to one of the protocols")
    context.minimum_version, context.maximum_version = lowest, highest


def _version(name: str) -> ssl.TLSVersion:
    try:
        return VERSIONS[name]
    except KeyError:
        raise ConfigError(f"{name} is none of the protocols {', '.join(VERSIONS)}") from None


def _known(name: str) -> str:
    spelled = openssl_name(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL")
    if spelled not in _names(context):
        raise ConfigError(f"there is no cipher suite {name}")
    return spelled


def _names(context: ssl.SSLContext) -> set[str]:
    return {cipher["name"] for cipher in context.get_ciphers()}


def openssl_name(name: str) -> str:
    """OpenSSL's name of a suite of TLS 1.2, such as `ECDHE-RSA-AES128-GCM-SHA256`."""
    exchange, _, rest = name.removeprefix("TLS_").partition("_WITH_")
    exchange = _AUTHENTICATIONS.get(exchange, exchange)
    rest = rest.replace("AES_", "AES").replace("_CBC_", "_")
    if rest.startswith("CHACHA20"):
        rest = rest.removesuffix("_SHA256")
    return "-".join(part for part in (exchange, rest) if part).replace("_", "-")
