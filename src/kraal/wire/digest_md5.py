"""DIGEST-MD5 (RFC 2831), the messages of both halves without I/O: what is said, read and proven.

Only authentication (`qop=auth`): ZooKeeper's servers offer nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import NamedTuple

from kraal.errors import DecodeError

REALM = "zk-sasl-md5"
DIGEST_URI = f"zookeeper/{REALM}"
"""Of every server: what they are called to clients does not depend on their address."""
_DIRECTIVE = re.compile(
    rb'[\s,]*([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*', re.DOTALL
)
_REST = re.compile(rb"[\s,]*")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ONCE = frozenset(
    {"charset", "username", "realm", "nonce", "cnonce", "qop", "digest-uri", "maxbuf", "response",
     "authzid"}
)  # fmt: skip
"""Directives that a response may have once."""


class Response(NamedTuple):
    """What the server is sent, and what it must say to prove that it knows the password too."""

    message: bytes
    proof: bytes


def respond(
    challenge: bytes,
    username: str,
    password: str,
    *,
    digest_uri: str,
    cnonce: str,
    authzid: str | None = None,
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
    said = _Said(
        username=username.encode(charset),
        realm=asked.get("realm", b""),
        nonce=asked["nonce"],
        cnonce=cnonce.encode("ascii"),
        digest_uri=digest_uri.encode(charset),
        authzid=None if authzid is None else authzid.encode(charset),
        charset=charset,
    )
    digest, proof = _digests(said, password.encode(charset))
    message = (
        b"charset=utf-8," if charset == "utf-8" else b"",
        b'username="%s",' % _escaped(said.username),
        b'realm="%s",' % _escaped(said.realm) if "realm" in asked else b"",
        b'nonce="%s",nc=00000001,cnonce="%s",' % (_escaped(said.nonce), said.cnonce),
        b'digest-uri="%s",' % _escaped(said.digest_uri),
        b"response=%s,qop=auth" % digest,
        b"" if said.authzid is None else b',authzid="%s"' % _escaped(said.authzid),
    )
    return Response(b"".join(message), proof)


def is_proof(answer: bytes, proof: bytes) -> bool:
    """Whether the server's last word (section 2.1.3) proves that it knows the password."""
    try:
        return parse(answer).get("rspauth") == proof
    except DecodeError:
        return False


def challenge(*, realm: str, nonce: str) -> bytes:
    """The server's first word (section 2.1.1), as ZooKeeper's servers say it."""
    return f'realm="{realm}",nonce="{nonce}",charset=utf-8,algorithm=md5-sess'.encode()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client says in answer to a challenge: who it is, and that it knows the password."""

    username: str
    authzid: str | None
    """As whom it wants to act."""
    _said: _Said
    _digest: bytes

    def proof(self, password: str) -> bytes | None:
        """The server's last word (section 2.1.3); None: the client does not know the password."""
        digest, proof = _digests(self._said, password.encode("utf-8", "surrogatepass"))
        return b"rspauth=" + proof if compare_digest(digest, self._digest) else None


def read_response(text: bytes, *, realm: str, nonce: str, digest_uri: str) -> Claim:
    """Read a client's answer to the challenge of this realm and nonce (section 2.1.2).

    Raises DecodeError where it does not follow the format or answers something else. Numbers in
    it (`nc`, `maxbuf`) play no part.
    """
    found: dict[str, bytes] = {}
    for name, value in _directives(text):
        if name in found and name in _ONCE:
            raise DecodeError(f"DIGEST-MD5: {name} is said more than once")
        found.setdefault(name, value)
    for name in ("username", "nonce", "cnonce", "digest-uri", "response"):
        if name not in found:
            raise DecodeError(f"DIGEST-MD5: a response without {name}")
    if found.get("charset", b"utf-8") != b"utf-8":
        raise DecodeError("DIGEST-MD5: the charset is not utf-8")
    if found.get("realm", b"") != realm.encode():
        raise DecodeError("DIGEST-MD5: a response for another realm")
    if not compare_digest(found["nonce"], nonce.encode()):
        raise DecodeError("DIGEST-MD5: a response to another challenge")
    if found.get("qop", b"auth") != b"auth":
        raise DecodeError("DIGEST-MD5: a security layer is asked for")
    if found["digest-uri"].lower() != digest_uri.lower().encode():
        raise DecodeError("DIGEST-MD5: a response for another service")
    authzid = found.get("authzid")
    said = _Said(
        username=found["username"],
        realm=realm.encode(),
        nonce=found["nonce"],
        cnonce=found["cnonce"],
        digest_uri=found["digest-uri"],
        authzid=authzid,
        charset="utf-8",
    )
    try:
        name = said.username.decode()
        return Claim(name, None if authzid is None else authzid.decode(), said, found["response"])
    except UnicodeDecodeError as error:
        raise DecodeError(f"DIGEST-MD5: a name that is not UTF-8: {error.reason}") from None


def parse(text: bytes) -> Mapping[str, bytes]:
    """The directives of a message, the first of each name. Raises DecodeError."""
    found: dict[str, bytes] = {}
    for name, value in _directives(text):
        found.setdefault(name, value)
    return found


def _directives(text: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while match := _DIRECTIVE.match(text, at):
        name, quoted, token = match.groups()
        yield name.decode().lower(), token if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        at = match.end()
        if text[at : at + 1] not in (b"", b","):
            break
    end = _REST.match(text, at)
    if end is None or end.end() < len(text):
        raise DecodeError("DIGEST-MD5: a message that is no list of directives")


@dataclass(frozen=True, slots=True)
class _Said:
    """What both halves know of an exchange, beside the password."""

    username: bytes
    realm: bytes
    nonce: bytes
    cnonce: bytes
    digest_uri: bytes
    authzid: bytes | None
    charset: str


def _digests(said: _Said, password: bytes) -> tuple[bytes, bytes]:
    """What proves that the client, and that the server knows the password (section 2.1.2.1)."""
    secret = (said.username, said.realm, password)
    hashed = hashlib.md5(b":".join(_latin_if_possible(part, said.charset) for part in secret))
    session = [hashed.digest(), said.nonce, said.cnonce]
    if said.authzid is not None:
        session.append(said.authzid)
    key = _hex(b":".join(session))

    def digest(purpose: bytes) -> bytes:
        what = _hex(purpose + b":" + said.digest_uri)
        return _hex(b":".join((key, said.nonce, b"00000001", said.cnonce, b"auth", what)))

    return digest(b"AUTHENTICATE"), digest(b"")


def _latin_if_possible(name: bytes, charset: str) -> bytes:
    """What has an ISO 8859-1 form is hashed in it, whatever is sent (section 2.1.2.1)."""
    try:
        return name.decode(charset).encode("iso-8859-1")
    except UnicodeError:
        return name


def _escaped(value: bytes) -> bytes:
    return value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _hex(data: bytes) -> bytes:
    return hashlib.md5(data).hexdigest().encode()
