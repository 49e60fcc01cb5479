"""SASL towards the servers: mechanisms, and the exchange that comes first on a connection.

Which mechanism a server has is a matter of its configuration. Rules:
reference/client-protocol.md section 10.7.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from dataclasses import dataclass, field

from kraal.client.connection import Connection
from kraal.client.digest_md5 import is_proof, respond
from kraal.client.errors import (
    AuthFailedError,
    ConnectionLossError,
    SessionClosedRequireSaslAuthError,
    ZooKeeperError,
)
from kraal.errors import DecodeError
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import SaslRequest

DIGEST_URI = "zookeeper/zk-sasl-md5"
"""Of every server: what they are called in DIGEST-MD5 does not depend on their address."""

_REFUSED = "DIGEST-MD5: the server refused the credentials"

Exchange = Generator[bytes, bytes | None, None]
"""One exchange: yields what the server is sent, is given its answer, returns on success.

Raises AuthFailedError. An answer of None has no token."""


@dataclass(frozen=True, slots=True)
class DigestMd5:
    """The mechanism DIGEST-MD5: a name and a password that the servers know, too.

    The password is not sent. Whoever can read the connection can try passwords, so TLS is of use
    here as well.
    """

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("username", "password"):
            value: object = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, not {type(value).__name__}")

    def exchange(self) -> Exchange:
        challenge = yield b""
        if challenge is None:
            raise AuthFailedError("DIGEST-MD5: the server has no SASL configured")
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
            raise AuthFailedError(_REFUSED)
        if not is_proof(proof, response.proof):
            raise AuthFailedError("DIGEST-MD5: the server does not know the password")


async def authenticate(connection: Connection, mechanism: DigestMd5) -> None:
    """Do the exchange on a connection that sends nothing else yet.

    Raises AuthFailedError, which is final, and ConnectionLossError, after which another attempt
    may succeed.
    """
    exchange = mechanism.exchange()
    token = next(exchange)
    while True:
        try:
            answer = await connection.ask(OpCode.SASL, SaslRequest.pack(token), _decode_token)
        except ConnectionLossError:
            raise
        except (AuthFailedError, SessionClosedRequireSaslAuthError):
            raise AuthFailedError(_REFUSED) from None
        except ZooKeeperError as error:
            raise AuthFailedError(f"DIGEST-MD5: {error}") from None
        try:
            token = exchange.send(answer)
        except StopIteration:
            return


def _decode_token(body: bytes) -> bytes | None:
    return SaslRequest.decode(body)[0].token
