"""`-client-configuration`: the properties of ZooKeeper's Java client that mean something here.

Source: reference/operations.md section 7.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kraal.client import TlsOptions
from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.limits import MAX_BUFFER_BYTES

_PREFIX = "zookeeper.ssl."


_SECURE = "zookeeper.client.secure"
_MAX_BUFFER = "jute.maxbuffer"
_STORES = ("keyStore.location", "keyStore.type", "keyStore.password", "keyStore.passwordPath",
           "trustStore.location", "trustStore.type")  # fmt: skip
_HOSTNAME = f"{_PREFIX}hostnameVerification"
_USED = (_SECURE, _MAX_BUFFER, _HOSTNAME, *(f"{_PREFIX}{each}" for each in _STORES))
_OF_JAVA = frozenset(("zookeeper.clientCnxnSocket", f"{_PREFIX}trustStore.password",
                      f"{_PREFIX}trustStore.passwordPath"))  # fmt: skip
"""What a file for TLS has for the Java client, and what changes nothing here."""


class ClientConfig(NamedTuple):
    tls: TlsOptions | None = None
    max_request_bytes: int = MAX_BUFFER_BYTES
    warnings: tuple[str, ...] = ()
    """What the file says without effect."""


def read(path: Path | None) -> ClientConfig:
    """TLS, if it is asked for, and the longest request. Raises ConfigError."""
    if path is None:
        return ClientConfig()
    try:
        given = properties.parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    size = given.get(_MAX_BUFFER, str(MAX_BUFFER_BYTES))
    if not (size.isascii() and size.isdigit() and int(size) > 0):
        raise ConfigError(f"{path}: jute.maxbuffer={size}: must be a number of bytes")
    return ClientConfig(_tls(path, given), int(size), tuple(_warnings(path, given)))


def _warnings(path: Path, given: Mapping[str, str]) -> Iterator[str]:
    for key in given:
        if key not in _USED and key not in _OF_JAVA:
            close = difflib.get_close_matches(key, _USED, n=1, cutoff=0.8)
            meant = f"; did you mean {close[0]}?" if close else ""
            yield f"{path}: {key} has no effect in kraal shell{meant}"


def _tls(path: Path, given: Mapping[str, str]) -> TlsOptions | None:
    if given.get(_SECURE, "").lower() != "true":
        return None
    key, trust = _store(path, given, "keyStore"), _store(path, given, "trustStore")
    return TlsOptions(
        ca_file=trust,
        cert_file=key,
        key_password=_password(path, given, "keyStore"),
        check_hostname=given.get(_HOSTNAME, "true").lower() == "true",
    )


def _store(path: Path, given: Mapping[str, str], which: str) -> Path | None:
    """A file with keys or certificates, which must be in PEM."""
    location = given.get(f"{_PREFIX}{which}.location")
    if not location:
        return None
    kind = given.get(f"{_PREFIX}{which}.type", "") or Path(location).suffix[1:]
    if kind.upper() != "PEM":
        raise ConfigError(
            f"{path}: {_PREFIX}{which}.location={location}: only PEM can be read; convert it, for"
            f" example with keytool and openssl, and say {_PREFIX}{which}.type=PEM"
        )
    return Path(location)


def _password(path: Path, given: Mapping[str, str], which: str) -> str | None:
    file = given.get(f"{_PREFIX}{which}.passwordPath")
    if file:
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ConfigError(f"{path}: {_PREFIX}{which}.passwordPath: {error.strerror}") from error
    return given.get(f"{_PREFIX}{which}.password") or None
