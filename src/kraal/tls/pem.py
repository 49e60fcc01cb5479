"""PEM: certificates of a file, and why OpenSSL does not take a file, which it does not say."""

from __future__ import annotations

import re
import ssl

from kraal.errors import DecodeError
from kraal.tls import der

_BEGIN = b"-----BEGIN "
_ANY_CERTIFICATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


def is_pem(data: bytes) -> bool:
    return _BEGIN in data


def certificates(data: bytes) -> list[bytes]:
    """In DER. Raises ValueError for what is no text."""
    return [ssl.PEM_cert_to_DER_cert(block.decode("ascii")) for block in _CERTIFICATE.findall(data)]


def to_pem(certificate: bytes) -> str:
    """Of DER."""
    return ssl.DER_cert_to_PEM_cert(certificate)


def problem(data: bytes, error: ssl.SSLError, *, password: str | None, password_key: str) -> str:
    """Why a private key with its certificates was refused with this error, and what helps.

    `password_key` is the setting that has the password.
    """
    if not is_pem(data):
        return "it is no PEM file: convert it, for example with keytool and openssl"
    if _KEY.search(data) is None:
        return "there is no private key in it: it must hold one, and its certificates behind it"
    if _ANY_CERTIFICATE.search(data) is None:
        return "there is no certificate in it: append that of its private key"
    if not are_whole(data):
        return "a certificate in it is damaged or cut off: copy the file anew"
    if any(mark in data for mark in _ENCRYPTED):
        if not password:
            return f"its private key is encrypted, and no password is given: set {password_key}"
        return (
            f"the password does not open its private key: correct {password_key}, or copy the"
            " file anew if it is damaged"
        )
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            "its private key is not that of its first certificate: put the certificate of the key"
            " in front of those of authorities, or the right key into the file"
        )
    if error.reason:
        words = error.reason.replace("_", " ").lower()
        return f"OpenSSL does not accept it: {words}; have a new certificate issued"
    return "its private key is damaged or cut off: copy the file anew"


def are_whole(data: bytes) -> bool:
    """Whether all certificates of a file can be read."""
    blocks = _CERTIFICATE.findall(data)
    if len(blocks) != data.count(b"-----BEGIN CERTIFICATE-----"):
        return False
    try:
        for certificate in certificates(data):
            der.expiry_s(certificate)
    except (ValueError, DecodeError):
        return False
    return True
