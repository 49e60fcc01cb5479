"""The server's half of GSSAPI: Kerberos 5, by MIT's library (RFC 4752).

Keys are in a keytab, so no KDC is asked and an exchange takes no time worth mentioning.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from kraal.errors import ConfigError
from kraal.model.config import KerberosLogin
from kraal.pipeline.auth.kerberos_name import NameRules
from kraal.pipeline.auth.sasl import LoginRefusedError

if TYPE_CHECKING:
    import gssapi

NO_LAYER = 1
"""The bit for authentication without a security layer; servers have nothing else."""
OFFER = bytes((NO_LAYER, 1, 0, 0))
"""What there is and the size of a buffer, which is for layers; the reference says 65536."""
ANSWER_MIN_BYTES = 4
TOKEN_MAX_BYTES = 64 << 10
_REASON_MAX = 300


class Acceptor:
    """Who the server is, and its keys."""

    def __init__(self, login: KerberosLogin) -> None:
        """Raises ConfigError without the library, or where the keytab has no such key."""
        try:
            import gssapi  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(
                "Krb5LoginModule needs the package gssapi, which `pip install 'kraal[gssapi]'`"
                f" brings: {error}"
            ) from error
        kerberos = gssapi.NameType.kerberos_principal
        store = None if login.keytab is None else {"keytab": str(login.keytab)}
        try:
            self.credentials = gssapi.Credentials(
                name=gssapi.Name(login.principal, kerberos),
                usage="accept",
                mechs=[gssapi.MechType.kerberos],
                store=store,
            )
            anybody = gssapi.Name("anybody", kerberos).canonicalize(gssapi.MechType.kerberos)
        except gssapi.exceptions.GSSError as error:
            raise ConfigError(f"{login.principal}: {_reason(error)}") from error
        self.default_realm = str(anybody).partition("@")[2]

    def context(self) -> gssapi.SecurityContext:
        """That of a new client."""
        import gssapi  # noqa: PLC0415

        return gssapi.SecurityContext(creds=self.credentials, usage="accept")


class _Step(Enum):
    ACCEPTING = auto()
    ACCEPTED = auto()
    OFFERED = auto()
    OVER = auto()


class Gssapi:
    """One exchange."""

    mechanism = "GSSAPI"

    def __init__(self, acceptor: Acceptor, rules: NameRules) -> None:
        self._context = acceptor.context()
        self._rules = rules
        self._step = _Step.ACCEPTING
        self.authorization_id: str | None = None
        """Who the client is, once the exchange is complete."""

    def evaluate(self, token: bytes) -> bytes | None:
        """The answer to a token of the client. Raises LoginRefusedError."""
        from gssapi.exceptions import GSSError  # noqa: PLC0415

        step, self._step = self._step, _Step.OVER
        if len(token) > TOKEN_MAX_BYTES:
            raise LoginRefusedError(f"a token of {len(token)} bytes, more than {TOKEN_MAX_BYTES}")
        try:
            match step:
                case _Step.ACCEPTING:
                    return self._accept(token)
                case _Step.ACCEPTED:
                    if token:
                        raise LoginRefusedError("a token where none is expected")
                    return self._offer()
                case _Step.OFFERED:
                    self._choose(cast(bytes, self._context.unwrap(token).message))
                    return None
                case _Step.OVER:
                    raise LoginRefusedError("the exchange is over")
        except GSSError as error:
            raise LoginRefusedError(_reason(error)) from None

    def _accept(self, token: bytes) -> bytes:
        answer = cast("bytes | None", self._context.step(token))
        if not self._context.complete:
            self._step = _Step.ACCEPTING
        elif answer:
            self._step = _Step.ACCEPTED
        else:
            return self._offer()
        return answer or b""

    def _offer(self) -> bytes:
        self._step = _Step.OFFERED
        return cast(bytes, self._context.wrap(OFFER, False).message)

    def _choose(self, answer: bytes) -> None:
        if len(answer) < ANSWER_MIN_BYTES or not answer[0] & NO_LAYER:
            raise LoginRefusedError("a security layer is asked for")
        try:
            wanted = answer[ANSWER_MIN_BYTES:].decode()
        except UnicodeDecodeError:
            raise LoginRefusedError("it asks to be somebody whose name is not UTF-8") from None
        self.authorization_id = self._rules.authorization_id(
            str(self._context.initiator_name), wanted
        )


def _reason(error: Exception) -> str:
    """The text of the library, which may have lines and what a ticket says."""
    text = " ".join(str(error).split())[:_REASON_MAX]
    return "".join(char if char.isprintable() else "?" for char in text)
