"""Key and trust stores: PEM, and ZooKeeper's PKCS12 and JKS (reference/operations.md 7.1).

What a store is, its first bytes say: since Java 9 a file `….jks` is PKCS12 more often than not.
"""

from __future__ import annotations

import re
import secrets
import ssl
import tempfile
from pathlib import Path, PurePath

from kraal.errors import ConfigError, DecodeError
from kraal.model.tls import Store
from kraal.tls import jks

_SIZE_MAX = 4 << 20
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_DER = b"\x30"
_MISSING = "needs the package cryptography, which `pip install 'kraal[tls]'` brings"


def load_key(context: ssl.SSLContext, store: Store) -> list[bytes]:
    """Take up a private key with its certificates, which are returned in DER. ConfigError."""
    try:
        data = _read(store.path)
        if _is_pem(data):
            # With no password at all OpenSSL would ask for one at the terminal.
            context.load_cert_chain(store.path, password=store.password or "")
            return _in_pem(data)
        key, chain = _identity(data, store)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            # It must be a file; without this password, it is of no use to anybody.
            password = secrets.token_bytes(32).hex()
            file.write(_sealed(key, password) + "".join(map(_to_pem, chain)).encode())
            file.flush()
            context.load_cert_chain(file.name, password=password)
    except (OSError, ValueError, DecodeError, ConfigError) as error:
        raise ConfigError(f"{store.path}: {_reason(error)}") from error
    return chain


def load_trust(context: ssl.SSLContext, store: Store) -> list[bytes]:
    """Trust the certificates of a store, which are returned in DER. ConfigError."""
    try:
        data = _read(store.path)
        certificates = _in_pem(data) if _is_pem(data) else _trusted(data, store)
        if not certificates:
            raise ConfigError("there is no certificate in it")
        context.load_verify_locations(cadata=b"".join(certificates))
    except (OSError, ValueError, DecodeError, ConfigError) as error:
        raise ConfigError(f"{store.path}: {_reason(error)}") from error
    return certificates


def _read(path: PurePath) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(_SIZE_MAX + 1)
    if len(data) > _SIZE_MAX:
        raise ConfigError("too large for a store")
    return data


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or repr(error)


def _is_pem(data: bytes) -> bool:
    return b"-----BEGIN " in data


def _in_pem(data: bytes) -> list[bytes]:
    blocks = _CERTIFICATE.findall(data)
    return [ssl.PEM_cert_to_DER_cert(block.decode("ascii")) for block in blocks]


def _to_pem(certificate: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(certificate)


def _identity(data: bytes, store: Store) -> tuple[bytes, list[bytes]]:
    """A private key as PKCS#8 in DER, and its chain."""
    if data.startswith(jks.MAGIC):
        found = jks.parse(data, store.password)
        if not found.keys:
            raise ConfigError("there is no key in it")
        key, chain = found.keys[0]
        return key, list(chain)
    key_of_store, certificates = _pkcs12(data, store)
    if key_of_store is None:
        raise ConfigError("there is no key in it")
    return key_of_store, certificates


def _trusted(data: bytes, store: Store) -> list[bytes]:
    if data.startswith(jks.MAGIC):
        return jks.parse(data, store.password).certificates
    return _pkcs12(data, store)[1]


def _pkcs12(data: bytes, store: Store) -> tuple[bytes | None, list[bytes]]:
    """The key, if there is one, and the certificates, the key's own first."""
    if not data.startswith(_DER):
        raise ConfigError("neither PEM nor PKCS12 nor JKS")
    try:
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - optional
            Encoding,
            NoEncryption,
            PrivateFormat,
            pkcs12,
        )
    except ImportError:
        raise ConfigError(f"PKCS12 {_MISSING}") from None
    password = None if store.password is None else store.password.encode()
    found = pkcs12.load_pkcs12(data, password)
    key = (
        None
        if found.key is None
        else found.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )
    own = [] if found.cert is None else [found.cert]
    return key, [
        entry.certificate.public_bytes(Encoding.DER) for entry in (*own, *found.additional_certs)
    ]


def _sealed(key: bytes, password: str) -> bytes:
    """A private key in PEM under a password."""
    try:
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - optional
            BestAvailableEncryption,
            Encoding,
            PrivateFormat,
            load_der_private_key,
        )
    except ImportError:
        raise ConfigError(f"a key in a JKS store {_MISSING}") from None
    return load_der_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
    )
