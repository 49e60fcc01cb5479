"""Key and trust stores: PEM, and ZooKeeper's PKCS12 and JKS (reference/operations.md 7.1).

What a store is, its first bytes say: since Java 9 a file `….jks` is PKCS12 more often than not.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from pathlib import Path, PurePath

from kraal.errors import ConfigError, DecodeError
from kraal.model.setting import refuse
from kraal.model.tls import Store
from kraal.tls import der, jks, pem

_SIZE_MAX = 4 << 20
_DER = b"\x30"
_MISSING = "needs the package cryptography, which `pip install 'kraal[tls]'` brings"
_NO_KEY = "there is no private key in it: name the store that has the server's own"
_NO_CERTIFICATE = "there is no certificate in it: name a store with those of authorities"


def load_key(context: ssl.SSLContext, store: Store) -> list[bytes]:
    """Take up a private key with its certificates, which are returned in DER, the key's own first.

    Raises ConfigError, which names the setting and the file, and says what helps.
    """
    try:
        data = _read(store.path)
        if pem.is_pem(data):
            _take_up_pem(context, store, data)
            return pem.certificates(data)
        key, chain = _identity(data, store)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            # It must be a file; without this password, it is of no use to anybody.
            password = secrets.token_bytes(32).hex()
            file.write(_sealed(key, password) + "".join(map(pem.to_pem, chain)).encode())
            file.flush()
            context.load_cert_chain(file.name, password=password)
    except (OSError, ValueError, DecodeError, ConfigError) as error:
        raise _refused(store, error) from error
    return chain


def load_trust(context: ssl.SSLContext, store: Store) -> list[bytes]:
    """Trust the certificates of a store, which are returned in DER. As `load_key`."""
    try:
        data = _read(store.path)
        certificates = pem.certificates(data) if pem.is_pem(data) else _trusted(data, store)
        if not certificates:
            raise ConfigError(_NO_CERTIFICATE)
        context.load_verify_locations(cadata=b"".join(certificates))
    except (OSError, ValueError, DecodeError, ConfigError) as error:
        raise _refused(store, error) from error
    return certificates


def _read(path: PurePath) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(_SIZE_MAX + 1)
    if len(data) > _SIZE_MAX:
        raise ConfigError("too large for a store: name a PEM, PKCS12 or JKS file")
    return data


def _refused(store: Store, error: Exception) -> ConfigError:
    if isinstance(error, ConfigError):
        reason = str(error)
    elif isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        reason = f"{error.strerror or error}: name a file that the server's user can read"
    else:
        reason = f"it is damaged: copy the file anew ({error or type(error).__name__})"
    return refuse(f"{store.name}.location", str(store.path), reason)


def _password_of(store: Store) -> str:
    """The keys that have it."""
    return f"{store.name}.password or {store.name}.passwordPath"


def _take_up_pem(context: ssl.SSLContext, store: Store, data: bytes) -> None:
    try:
        # With no password at all OpenSSL would ask for one at the terminal.
        context.load_cert_chain(store.path, password=store.password or "")
    except ssl.SSLError as error:
        raise ConfigError(
            pem.problem(data, error, password=store.password, password_key=_password_of(store))
        ) from error


def _identity(data: bytes, store: Store) -> tuple[bytes, list[bytes]]:
    """A private key as PKCS#8 in DER, and its chain."""
    if data.startswith(jks.MAGIC):
        found = _jks(data, store)
        if not found.keys:
            raise ConfigError(_NO_KEY)
        key, chain = found.keys[0]
        return key, list(chain)
    key_of_store, certificates = _pkcs12(data, store)
    if key_of_store is None:
        raise ConfigError(_NO_KEY)
    return key_of_store, certificates


def _trusted(data: bytes, store: Store) -> list[bytes]:
    if data.startswith(jks.MAGIC):
        return _jks(data, store).certificates
    return _pkcs12(data, store)[1]


def _jks(data: bytes, store: Store) -> jks.JavaKeyStore:
    try:
        return jks.parse(data, store.password)
    except jks.PasswordError as error:
        verb = "set" if store.password is None else "correct"
        raise ConfigError(f"{error}: {verb} {_password_of(store)}") from error


def _pkcs12(data: bytes, store: Store) -> tuple[bytes | None, list[bytes]]:
    """The key, if there is one, and the certificates, the key's own first."""
    if not data.startswith(_DER):
        raise ConfigError("neither PEM nor PKCS12 nor JKS: name a store of one of these kinds")
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
    try:
        found = pkcs12.load_pkcs12(data, password)
    except ValueError as error:
        raise ConfigError(_pkcs12_problem(data, store)) from error
    key = (
        None
        if found.key is None
        else found.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )
    own = [] if found.cert is None else [found.cert]
    return key, [
        entry.certificate.public_bytes(Encoding.DER) for entry in (*own, *found.additional_certs)
    ]


def _pkcs12_problem(data: bytes, store: Store) -> str:
    if _is_certificate(data):
        return (
            "a certificate in DER, and no store: convert it to PEM with `openssl x509 -inform DER`"
        )
    if store.password is None:
        return f"no password is given for this PKCS12 store: set {_password_of(store)}"
    return (
        f"the password is wrong, or the store is damaged or no PKCS12: correct"
        f" {_password_of(store)}, or copy the file anew"
    )


def _is_certificate(data: bytes) -> bool:
    try:
        return der.expiry_s(data) != 0
    except DecodeError:
        return False


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
