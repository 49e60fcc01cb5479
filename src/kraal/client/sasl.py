"""SASL towards the servers: mechanisms, and the exchange that comes first on a connection.

Which mechanism a server has is a matter of its configuration. Rules:
reference/client-protocol.md section 10.7; for GSSAPI RFC 4752.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Generator
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import ClassVar, TypeAlias

from kraal.client.connection import Connection
from kraal.client.errors import (
    AuthFailedError,
    ConnectionLossError,
    SessionClosedRequireSaslAuthError,
    ZooKeeperError,
)
from kraal.errors import ConfigError, DecodeError
from kraal.wire.digest_md5 import DIGEST_URI, is_proof, respond
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import SaslRequest

NO_LAYER = 1
"""The bit of GSSAPI for authentication without a security layer; servers have nothing else."""

Exchange: TypeAlias = Generator[bytes, bytes | None, None]
"""One exchange: yields what the server is sent, is given its answer, returns on success.

Raises AuthFailedError. An answer of None has no token."""


@dataclass(frozen=True, slots=True)
class DigestMd5:
    """The mechanism DIGEST-MD5: a name and a password that the servers know, too.

    The password is not sent. Whoever can read the connection can try passwords, so TLS is of use
    here as well.
    """

    name: ClassVar[str] = "DIGEST-MD5"
    is_blocking: ClassVar[bool] = False

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        _check_text("username", self.username)
        if not self.username:
            raise ValueError("username must not be empty")
        _check_text("password", self.password)

    def _exchange(self, host: str) -> Exchange:  # noqa: ARG002 - it plays no part
        challenge = yield b""
        if challenge is None:
            raise _no_sasl(self.name)
        try:
            response = respond(
                challenge, self.username, self.password,
                digest_uri=DIGEST_URI, cnonce=secrets.token_hex(16),
            )  # fmt: skip
        except (DecodeError, UnicodeError) as error:
            # The text of a UnicodeError would show the password.
            what = str(error) if isinstance(error, DecodeError) else "characters without a code"
            raise AuthFailedError(f"the server's challenge cannot be answered: {what}") from None
        proof = yield response.message
        if proof is None:
            raise _refused(self.name)
        if not is_proof(proof, response.proof):
            raise AuthFailedError("DIGEST-MD5: the server does not know the password")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gssapi:
    """The mechanism GSSAPI: Kerberos 5. Needs `pip install 'kraal[gssapi]'`.

    Credentials are those that `kinit` has left for `principal` (None: for whomever), or are got
    from a `keytab`, also when they have run out. The server's principal is `service/host`; `host`
    None is the server's name in the connect string. How names and realms are found is said in
    `krb5.conf`.

    Raises ConfigError if the library is missing.
    """

    name: ClassVar[str] = "GSSAPI"
    is_blocking: ClassVar[bool] = True  # tickets are got from a KDC

    principal: str | None = None
    keytab: str | PathLike[str] | None = None
    service: str = "zookeeper"
    host: str | None = None

    def __post_init__(self) -> None:
        for name in ("principal", "service", "host"):
            if (value := getattr(self, name)) is not None:
                _check_text(name, value)
        if self.keytab is not None:
            _check_text("keytab", fspath(self.keytab))
        try:
            import gssapi  # noqa: F401, PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(
                f"sasl: Gssapi needs the package gssapi, which `pip install 'kraal[gssapi]'` "
                f"brings: {error}"
            ) from error

    def _exchange(self, host: str) -> Exchange:
        from gssapi.exceptions import GSSError  # noqa: PLC0415

        try:
            yield from self._steps(self.host or host)
        except GSSError as error:
            raise AuthFailedError(f"GSSAPI: {error}") from error

    def _steps(self, host: str) -> Exchange:
        import gssapi  # noqa: PLC0415

        server = gssapi.Name(f"{self.service}@{host}", gssapi.NameType.hostbased_service)
        context = gssapi.SecurityContext(
            name=server,
            creds=self._credentials(),
            mech=gssapi.MechType.kerberos,
            flags=gssapi.RequirementFlag.mutual_authentication,
            usage="initiate",
        )
        token: bytes | None = context.step()
        if (answer := (yield token or b"")) is None:
            raise _no_sasl(self.name)
        while not context.complete:
            token = context.step(_needed(answer))
            answer = yield token or b""
        offered = context.unwrap(_needed(answer)).message
        if len(offered) != 4 or not offered[0] & NO_LAYER:
            raise AuthFailedError("GSSAPI: the server demands a security layer")
        yield context.wrap(bytes((NO_LAYER, 0, 0, 0)), False).message

    def _credentials(self) -> object | None:
        """None stands for those of the process."""
        import gssapi  # noqa: PLC0415

        if self.principal is None and self.keytab is None:
            return None
        kerberos = gssapi.NameType.kerberos_principal
        name = None if self.principal is None else gssapi.Name(self.principal, kerberos)
        store = None
        if self.keytab is not None:
            keytab = fspath(self.keytab)
            # A cache of its own: that of the process may be another principal's.
            cache = f"MEMORY:kraal-{self.principal or ''}-{keytab}"
            store = {"client_keytab": keytab, "ccache": cache}
        credentials: object = gssapi.Credentials(name=name, usage="initiate", store=store)
        return credentials


Mechanism: TypeAlias = DigestMd5 | Gssapi


async def authenticate(connection: Connection, mechanism: Mechanism, host: str) -> None:
    """Do the exchange on a connection that sends nothing else yet.

    Raises AuthFailedError, which is final, and ConnectionLossError, after which another attempt
    may succeed.
    """
    exchange = mechanism._exchange(host)
    answer: bytes | None = None
    while True:
        if mechanism.is_blocking:
            token = await asyncio.to_thread(_advance, exchange, answer)
        else:
            token = _advance(exchange, answer)
        if token is None:
            return
        try:
            answer = await connection.ask(OpCode.SASL, SaslRequest.pack(token), _decode_token)
        except ConnectionLossError:
            raise
        except (AuthFailedError, SessionClosedRequireSaslAuthError):
            raise _refused(mechanism.name) from None
        except ZooKeeperError as error:
            raise AuthFailedError(f"{mechanism.name}: {error}") from None


def _check_text(name: str, value: object) -> None:
    """Raises TypeError, which does not show what may be a secret."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def _advance(exchange: Exchange, answer: bytes | None) -> bytes | None:
    """The next token for the server; None: the exchange is over."""
    try:
        return exchange.send(answer)
    except StopIteration:
        return None


def _decode_token(body: bytes) -> bytes | None:
    return SaslRequest.decode(body)[0].token


def _needed(answer: bytes | None) -> bytes:
    if answer is None:
        raise _refused(Gssapi.name)
    return answer


def _refused(mechanism: str) -> AuthFailedError:
    return AuthFailedError(f"{mechanism}: the server refused the credentials")


def _no_sasl(mechanism: str) -> AuthFailedError:
    return AuthFailedError(f"{mechanism}: the server has no SASL configured")
