"""How clients of a running server log in by SASL: what its configuration says, with chance."""

from __future__ import annotations

import secrets
from base64 import b64encode

from kraal.model.config import SaslConfig
from kraal.pipeline.auth import auth_to_local
from kraal.pipeline.auth.digest_md5 import DigestMd5
from kraal.pipeline.auth.kerberos_name import NameRules
from kraal.pipeline.auth.sasl import Mechanism

NONCE_BYTES = 30


def mechanism(config: SaslConfig | None) -> Mechanism | None:
    """What begins the exchange of a client; None: there is no SASL."""
    if config is None:
        return None
    rules = NameRules(
        short_name=auth_to_local.rules(config.auth_to_local, ""),
        removes_host=config.removes_host,
        removes_realm=config.removes_realm,
    )
    return lambda: DigestMd5(config.passwords, rules, nonce())


def nonce() -> str:
    """A new one for each challenge."""
    return b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
