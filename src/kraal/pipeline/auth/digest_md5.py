"""The server's half of DIGEST-MD5: names and passwords that the server knows.

Rules: reference/operations.md section 7.5. The nonce is given, so that nothing here is random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto

from kraal.errors import DecodeError
from kraal.pipeline.auth.sasl import LoginRefusedError, shown
from kraal.wire import digest_md5

TOKEN_MAX_BYTES = 4096


class _Step(Enum):
    NEW = auto()
    CHALLENGED = auto()
    OVER = auto()


class DigestMd5:
    """One exchange."""

    mechanism = "DIGEST-MD5"

    def __init__(
        self,
        passwords: Mapping[str, str],
        authorize: Callable[[str, str | None], str],
        nonce: str,
        *,
        realm: str = digest_md5.REALM,
        digest_uri: str = digest_md5.DIGEST_URI,
    ) -> None:
        """`authorize` says who a user is that asks to be somebody, or raises LoginRefusedError."""
        self._passwords = passwords
        self._authorize = authorize
        self._nonce = nonce
        self._realm = realm
        self._digest_uri = digest_uri
        self._step = _Step.NEW
        self.authorization_id: str | None = None
        """Who the client is, once it has shown that it knows the password."""

    def evaluate(self, token: bytes) -> bytes:
        """The answer to a token of the client. Raises LoginRefusedError."""
        step, self._step = self._step, _Step.OVER
        if len(token) > TOKEN_MAX_BYTES:
            raise LoginRefusedError(f"a token of {len(token)} bytes, more than {TOKEN_MAX_BYTES}")
        if step is _Step.OVER:
            raise LoginRefusedError("the exchange is over")
        if step is _Step.NEW:
            # What the first token holds plays no part; clients send an empty one.
            self._step = _Step.CHALLENGED
            return digest_md5.challenge(realm=self._realm, nonce=self._nonce)
        try:
            claim = digest_md5.read_response(
                token, realm=self._realm, nonce=self._nonce, digest_uri=self._digest_uri
            )
        except DecodeError as error:
            raise LoginRefusedError(str(error).removeprefix("DIGEST-MD5: ")) from None
        return self._judge(claim)

    def _judge(self, claim: digest_md5.Claim) -> bytes:
        password = self._passwords.get(claim.username)
        if password is None:
            raise LoginRefusedError(f"there is no user {shown(claim.username)}")
        proof = claim.proof(password)
        if proof is None:
            raise LoginRefusedError(f"the password of {shown(claim.username)} is wrong")
        self.authorization_id = self._authorize(claim.username, claim.authzid)
        return proof
