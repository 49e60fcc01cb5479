"""How clients of a running server log in by SASL: what its configuration says, with chance.

What is not pure in it: nonces of DIGEST-MD5, keys and library of Kerberos.
"""

from __future__ import annotations

import secrets
from base64 import b64encode

from kraal.model.config import SaslConfig
from kraal.pipeline.auth import auth_to_local
from kraal.pipeline.auth.digest_md5 import DigestMd5
from kraal.pipeline.auth.kerberos_name import NameRules
from kraal.pipeline.auth.sasl import Mechanism
from kraal.server.kerberos import Acceptor, Gssapi

NONCE_BYTES = 30


def mechanism(config: SaslConfig | None) -> Mechanism | None:
    """What begins the exchange of a client; None: there is no SASL.

    Raises ConfigError where the keys of Kerberos or its library are missing.
    """
    if config is None:
        return None
    if config.kerberos is not None:
        acceptor = Acceptor(config.kerberos)
        kerberos_rules = _rules(config, acceptor.default_realm)
        return lambda: Gssapi(acceptor, kerberos_rules)
    authorize = _rules(config, "").authorization_id
    return lambda: DigestMd5(config.passwords, authorize, nonce())


def _rules(config: SaslConfig, default_realm: str) -> NameRules:
    return NameRules(
        short_name=auth_to_local.rules(config.auth_to_local, default_realm),
        removes_host=config.removes_host,
        removes_realm=config.removes_realm,
    )


def nonce() -> str:
    """A new one for each challenge."""
    return b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
