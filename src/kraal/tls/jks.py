"""Java key stores in the format JKS, the default of Java up to version 8.

The format is that of sun.security.provider.JavaKeyStore: certificates stand in it as they are,
keys under a key stream of SHA-1 digests of the password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1
from hmac import compare_digest

from kraal.errors import ConfigError, DecodeError
from kraal.tls import der

MAGIC = b"\xfe\xed\xfe\xed"
_WHITENER = b"Mighty Aphrodite"
_DIGEST_BYTES = 20
_KEY, _CERTIFICATE = 1, 2


class PasswordError(ConfigError):
    """The password is wrong or missing."""


@dataclass(slots=True)
class JavaKeyStore:
    """What a store holds; keys are PKCS#8 in DER, certificates DER."""

    keys: list[tuple[bytes, tuple[bytes, ...]]] = field(default_factory=list)
    """Each with its chain, its own certificate first."""
    certificates: list[bytes] = field(default_factory=list)


def parse(data: bytes, password: str | None) -> JavaKeyStore:
    """Raises DecodeError for what is no such store, PasswordError for a wrong password.

    Without a password the store is not verified, and it may have no keys.
    """
    secret = None if password is None else password.encode("utf-16-be")
    body, seal = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if secret is not None and not compare_digest(sha1(secret + _WHITENER + body).digest(), seal):
        raise PasswordError("the password is wrong, or the store is damaged")
    reader = _Reader(body)
    if reader.take(4) != MAGIC:
        raise DecodeError("no JKS store")
    version, entries = reader.number(), reader.number()
    if version not in (1, 2):
        raise DecodeError(f"JKS version {version}")
    store = JavaKeyStore()
    for _ in range(entries):
        tag = reader.number()
        reader.take(reader.number(2))  # the alias
        reader.take(8)  # the time
        if tag == _KEY:
            sealed = reader.take(reader.number())
            chain = tuple(reader.certificate(version) for _ in range(reader.number()))
            if secret is None:
                raise PasswordError("no password is given for its private key")
            store.keys.append((_opened(sealed, secret), chain))
        elif tag == _CERTIFICATE:
            store.certificates.append(reader.certificate(version))
        else:
            raise DecodeError(f"JKS entry {tag}")
    return store


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise DecodeError("the JKS store is cut off")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size))

    def certificate(self, version: int) -> bytes:
        if version == 2:
            self.take(self.number(2))  # the type, X.509
        return self.take(self.number())


def _opened(sealed: bytes, secret: bytes) -> bytes:
    """The key in an EncryptedPrivateKeyInfo of Sun's own algorithm."""
    members = der.sequence(sealed)
    if len(members) != 2 or members[1][0] != der.OCTETS:
        raise DecodeError("no sealed key")
    content = members[1][1]
    if len(content) < 2 * _DIGEST_BYTES:
        raise DecodeError("no sealed key")
    digest, hidden = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:-_DIGEST_BYTES]
    key = bytearray()
    for at in range(0, len(hidden), _DIGEST_BYTES):
        digest = sha1(secret + digest).digest()
        block = hidden[at : at + _DIGEST_BYTES]
        key += bytes(one ^ other for one, other in zip(block, digest, strict=False))
    if not compare_digest(sha1(secret + key).digest(), content[-_DIGEST_BYTES:]):
        raise ConfigError(
            "the password of the key is another one than the store's: make them the same with"
            " `keytool -keypasswd`"
        )
    return bytes(key)
