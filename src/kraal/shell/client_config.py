"""`-client-configuration`: the properties of ZooKeeper's Java client that mean something here.

Source: reference/operations.md section 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kraal.client import TlsOptions
from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.limits import MAX_BUFFER_BYTES

_PREFIX = "zookeeper.ssl."


class ClientConfig(NamedTuple):
    tls: TlsOptions | None = None
    max_request_bytes: int = MAX_BUFFER_BYTES


def read(path: Path | None) -> ClientConfig:
    """TLS, if it is asked for, and the longest request. Raises ConfigError."""
    if path is None:
        return ClientConfig()
    try:
        given = properties.parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    size = given.get("jute.maxbuffer", str(MAX_BUFFER_BYTES))
    if not (size.isascii() and size.isdigit() and int(size) > 0):
        raise ConfigError(f"{path}: jute.maxbuffer={size}: must be a number of bytes")
    return ClientConfig(_tls(path, given), int(size))


def _tls(path: Path, given: Mapping[str, str]) -> TlsOptions | None:
    if given.get("zookeeper.client.secure", "").lower() != "true":
        return None
    key, trust = _store(path, given, "keyStore"), _store(path, given, "trustStore")
    return TlsOptions(
        ca_file=trust,
        cert_file=key,
        key_password=_password(path, given, "keyStore"),
        check_hostname=given.get(f"{_PREFIX}hostnameVerification", "true").lower() == "true",
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
