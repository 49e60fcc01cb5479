"""Servers log in to each other by SASL with DIGEST-MD5: both ends of the exchange.

Who dials is the client. The exchange comes right behind the first message on the election port and
before everything on the quorum port; afterwards the connection goes on as without. Rules:
reference/quorum-protocol.md section 2.5.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Protocol

from kraal.errors import DecodeError, KraalError
from kraal.model.config import QuorumSaslConfig
from kraal.pipeline.auth.digest_md5 import DigestMd5
from kraal.pipeline.auth.sasl import LoginRefusedError, shown
from kraal.server.sasl import nonce
from kraal.wire import digest_md5
from kraal.wire.records.quorum_auth import AuthPacket, AuthStatus, decode, may_begin

logger = logging.getLogger("kraal.sasl")
REALM = "zk-quorum-sasl-md5"
DIGEST_URI = f"zookeeper-quorum/{REALM}"


class QuorumAuthError(KraalError):
    """The connection must not be used; the text says why."""


class AuthEnd(Protocol):
    """One end of one exchange. What arrives is fed to it until it is over."""

    @property
    def is_over(self) -> bool:
        """Whether the connection may be used."""
        ...

    @property
    def rest(self) -> bytes:
        """What arrived behind the exchange."""
        ...

    def begin(self) -> bytes:
        """What is sent first."""
        ...

    def feed(self, data: bytes) -> bytes:
        """What is sent in answer.

        Raises QuorumAuthError, after which `last_words` is sent and the connection closed.
        """
        ...

    def ended(self) -> bool:
        """Whether the connection counts nonetheless, though nothing more arrives on it."""
        ...

    @property
    def last_words(self) -> bytes:
        """What is sent before the connection of an exchange that failed is closed."""
        ...


class DialledEnd:
    """That of the server that dialled, which is the client."""

    last_words = b""

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._proof: bytes | None = None
        self._received = b""
        self.is_over = False
        self.rest = b""

    def begin(self) -> bytes:
        return AuthPacket(AuthStatus.IN_PROGRESS, b"").encode()

    def ended(self) -> bool:
        return False

    def feed(self, data: bytes) -> bytes:
        self._received += data
        try:
            found = decode(self._received)
            if found is None:
                return b""
            packet, end = found
            self._received = self._received[end:]
            return self._take(packet)
        except (DecodeError, UnicodeError) as error:
            what = str(error) if isinstance(error, DecodeError) else "a name has no code in it"
            raise QuorumAuthError(f"the other server speaks SASL otherwise: {what}") from None

    def _take(self, packet: AuthPacket) -> bytes:
        if packet.status is AuthStatus.ERROR:
            raise QuorumAuthError(f"the other server refuses the login of {shown(self._username)}")
        if packet.status is AuthStatus.IN_PROGRESS and self._proof is None:
            response = digest_md5.respond(
                packet.token, self._username, self._password,
                digest_uri=DIGEST_URI, cnonce=secrets.token_hex(16), authzid=self._username,
            )  # fmt: skip
            self._proof = response.proof
            return AuthPacket(AuthStatus.IN_PROGRESS, response.message).encode()
        if (
            packet.status is not AuthStatus.SUCCESS
            or self._proof is None
            or not digest_md5.is_proof(packet.token, self._proof)
        ):
            raise QuorumAuthError("the other server does not know the password")
        self.is_over = True
        self.rest, self._received = self._received, b""
        return b""


class AcceptedEnd:
    """That of the server that was dialled; without a packet of SASL it may let the other be."""

    last_words = AuthPacket(AuthStatus.ERROR, b"").encode()

    def __init__(self, exchange: DigestMd5, *, is_required: bool) -> None:
        self._exchange = exchange
        self._is_required = is_required
        self._received = b""
        self._has_begun = False
        self.is_over = False
        self.rest = b""

    def begin(self) -> bytes:
        return b""

    def ended(self) -> bool:
        return not self._is_required and not self._has_begun

    def feed(self, data: bytes) -> bytes:
        self._received += data
        if not self._has_begun and not may_begin(self._received):
            if self._is_required:
                raise QuorumAuthError("it does not log in")
            self._finish()
            return b""
        out = b""
        try:
            while not self.is_over and (found := decode(self._received)) is not None:
                self._has_begun = True
                packet, end = found
                self._received = self._received[end:]
                out += self._answer(packet)
        except (DecodeError, LoginRefusedError) as error:
            if self._is_required:
                raise QuorumAuthError(f"its login is refused: {error}") from None
            logger.warning("The login of another server is refused, and not demanded: %s", error)
            out += self.last_words
            self._finish()
        return out

    def _answer(self, packet: AuthPacket) -> bytes:
        token = self._exchange.evaluate(packet.token)
        if self._exchange.authorization_id is None:
            return AuthPacket(AuthStatus.IN_PROGRESS, token).encode()
        self._finish()
        return AuthPacket(AuthStatus.SUCCESS, token).encode()

    def _finish(self) -> None:
        self.is_over = True
        self.rest, self._received = self._received, b""


class Login:
    """The exchange of one connection, if there is one, for the protocol that it belongs to."""

    def __init__(self) -> None:
        self._end: AuthEnd | None = None
        self._failure: str | None = None
        self._waiting: asyncio.Future[None] | None = None
        self.rest = b""
        """What arrived behind the exchange."""
        self.last_words = b""
        """What is sent before the connection of an exchange that failed is closed."""

    @property
    def is_going_on(self) -> bool:
        """Whether what arrives is to be fed to it."""
        return self._end is not None

    def begin(self, end: AuthEnd | None) -> bytes:
        """What is sent first; without an end there is no exchange."""
        self._end = end
        return b"" if end is None else end.begin()

    def feed(self, data: bytes) -> bytes:
        """What is sent in answer. Raises QuorumAuthError, and then the exchange has failed."""
        end = self._end
        assert end is not None, "there is an exchange"
        try:
            answer = end.feed(data)
        except QuorumAuthError as error:
            self.last_words = end.last_words
            self.fail(str(error))
            raise
        if end.is_over:
            self.rest, self._end = end.rest, None
            self._tell()
        return answer

    def may_end(self) -> bool:
        """Nothing more arrives: whether the connection counts, which no login was demanded of."""
        if self._end is None or not self._end.ended():
            return False
        self._end = None
        return True

    def fail(self, why: str) -> None:
        """It will not be over."""
        if self._end is not None:
            self._end, self._failure = None, why
            self._tell()

    def _tell(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def over(self) -> None:
        """Wait for the end of the exchange. Raises OSError when it has failed."""
        if self._end is not None:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._failure is not None:
            raise OSError(self._failure)


class QuorumSasl:
    """How one server logs in to others, and others to it."""

    def __init__(self, config: QuorumSaslConfig) -> None:
        self._config = config

    def dialled(self) -> AuthEnd | None:
        """The end of a connection that this server made; None: it does not log in."""
        config = self._config
        return DialledEnd(config.username, config.password) if config.learner_requires else None

    def accepted(self) -> AuthEnd:
        """The end of a connection that another server made."""
        exchange = DigestMd5(
            self._config.passwords, _itself, nonce(), realm=REALM, digest_uri=DIGEST_URI
        )
        return AcceptedEnd(exchange, is_required=self._config.server_requires)


def _itself(name: str, wanted: str | None) -> str:
    """A server acts as itself alone. Raises LoginRefusedError."""
    if wanted not in (None, name):
        raise LoginRefusedError(f"{shown(name)} asks to be {shown(wanted or '')}")
    return name
