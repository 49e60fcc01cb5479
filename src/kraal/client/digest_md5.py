"""The client's half of DIGEST-MD5 (RFC 2831): from a challenge to the response, without I/O.

Only authentication (`qop=auth`): ZooKeeper's servers offer nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from kraal.errors import DecodeError

_DIRECTIVE = re.compile(
    rb'[\s,]*([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*', re.DOTALL
)
_REST = re.compile(rb"[\s,]*")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


class Response(NamedTuple):
    """What the server is sent, and what it must say to prove that it knows the password too."""

    message: bytes
    proof: bytes


def respond(
    challenge: bytes, username: str, password: str, *, digest_uri: str, cnonce: str
) -> Response:
    """Answer a challenge; `cnonce` is made at random for each.

    Raises DecodeError for a challenge that does not follow section 2.1.1 or cannot be met, and
    UnicodeEncodeError where the server takes ISO 8859-1 alone and a name has other characters.
    """
    asked = parse(challenge)
    if asked.get("algorithm") != b"md5-sess":
        raise DecodeError("DIGEST-MD5: the algorithm is not md5-sess")
    if not asked.get("nonce"):
        raise DecodeError("DIGEST-MD5: a challenge without a nonce")
    if b"auth" not in re.split(rb"[\s,]+", asked.get("qop", b"auth")):
        raise DecodeError("DIGEST-MD5: the server demands a security layer")
    charset = "utf-8" if asked.get("charset", b"").lower() == b"utf-8" else "iso-8859-1"
    nonce, realm = asked["nonce"], asked.get("realm", b"")
    uri, once = digest_uri.encode(charset), cnonce.encode("ascii")

    secret = b":".join(
        (_hashed_form(username, charset), _latin_if_possible(realm, charset),
         _hashed_form(password, charset))
    )  # fmt: skip
    key = _hex(b":".join((_md5(secret), nonce, once)))

    def digest(purpose: bytes) -> bytes:
        what = _hex(purpose + b":" + uri)
        return _hex(b":".join((key, nonce, b"00000001", once, b"auth", what)))

    message = (
        b"charset=utf-8," if charset == "utf-8" else b"",
        b'username="%s",' % _escaped(username.encode(charset)),
        b'realm="%s",' % _escaped(realm) if "realm" in asked else b"",
        b'nonce="%s",nc=00000001,cnonce="%s",' % (_escaped(nonce), once),
        b'digest-uri="%s",' % _escaped(uri),
        b"response=%s,qop=auth" % digest(b"AUTHENTICATE"),
    )
    return Response(b"".join(message), digest(b""))


def is_proof(answer: bytes, proof: bytes) -> bool:
    """Whether the server's last word (section 2.1.3) proves that it knows the password."""
    try:
        return parse(answer).get("rspauth") == proof
    except DecodeError:
        return False


def parse(text: bytes) -> Mapping[str, bytes]:
    """The directives of a message, the first of each name. Raises DecodeError."""
    found: dict[str, bytes] = {}
    at = 0
    while match := _DIRECTIVE.match(text, at):
        name, quoted, token = match.groups()
        value = token if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        found.setdefault(name.decode().lower(), value)
        at = match.end()
        if text[at : at + 1] not in (b"", b","):
            break
    end = _REST.match(text, at)
    if end is None or end.end() < len(text):
        raise DecodeError("DIGEST-MD5: a message that is no list of directives")
    return found


def _hashed_form(name: str, charset: str) -> bytes:
    return _latin_if_possible(name.encode(charset), charset)


def _latin_if_possible(name: bytes, charset: str) -> bytes:
    """What has an ISO 8859-1 form is hashed in it, whatever is sent (section 2.1.2.1)."""
    try:
        return name.decode(charset).encode("iso-8859-1")
    except UnicodeError:
        return name


def _escaped(value: bytes) -> bytes:
    return value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def _hex(data: bytes) -> bytes:
    return hashlib.md5(data).hexdigest().encode()
