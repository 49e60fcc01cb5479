"""Logins under fuzzing: what clients, other servers and JAAS files may say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kraal.model.config import QuorumSaslConfig
from kraal.pipeline.auth import auth_to_local
from kraal.pipeline.auth.digest_md5 import DigestMd5
from kraal.pipeline.auth.kerberos_name import NameRules
from kraal.pipeline.auth.sasl import LoginRefusedError
from kraal.server.config.jaas import LoginModule, parse
from kraal.server.quorum_sasl import QuorumAuthError, QuorumSasl
from kraal.wire import digest_md5
from kraal.wire.records.quorum_auth import AuthPacket, AuthStatus

NONCE = "n"
JAAS = (
    b'// users\nServer { a.DigestLoginModule required user_bob="s\\"x" user_al=y; };\nClient { };'
)
BETWEEN = QuorumSaslConfig(
    username="zk", password="x", passwords={"zk": "x"}, learner_requires=True, server_requires=True
)


def client_response(data: bytes) -> None:
    """A client's answer to a challenge: nobody is let in but who knows the password."""
    rules = NameRules(short_name=auth_to_local.rules("DEFAULT", ""))
    exchange = DigestMd5({"bob": "secret"}, rules.authorization_id, NONCE)
    exchange.evaluate(b"")
    try:
        exchange.evaluate(data)
    except LoginRefusedError:
        assert exchange.authorization_id is None
        raise
    assert exchange.authorization_id == "bob"


def client_responses() -> Sequence[bytes]:
    challenge = digest_md5.challenge(realm=digest_md5.REALM, nonce=NONCE)
    return [
        digest_md5.respond(
            challenge,
            "bob",
            password,
            digest_uri=digest_md5.DIGEST_URI,
            cnonce="c",
            authzid=authzid,
        ).message
        for password, authzid in (("secret", None), ("secret", "al"), ("wrong", "bob"))
    ]


def challenge(data: bytes) -> None:
    """What a server may ask of kraal's client, or of a server that dials."""
    digest_md5.respond(data, "bob", "secret", digest_uri=digest_md5.DIGEST_URI, cnonce="c")


def challenges() -> Sequence[bytes]:
    return [digest_md5.challenge(realm=digest_md5.REALM, nonce=NONCE), b'nonce="n"']


def accepted(data: bytes) -> None:
    """A server that was dialled, in one piece and byte by byte: the same is said."""
    outcomes = []
    for size in (len(data) or 1, 1):
        end = QuorumSasl(BETWEEN).accepted()
        said = 0
        try:
            for at in range(0, len(data), size):
                said += len(end.feed(data[at : at + size]))
            outcomes.append(f"{said} bytes")
        except QuorumAuthError as error:
            outcomes.append(str(error))
        assert not end.is_over
    assert outcomes[0] == outcomes[1]


def dialled(data: bytes) -> None:
    """A server that dials: nothing that it is told lets it think that the login is over."""
    end = QuorumSasl(BETWEEN).dialled()
    assert end is not None
    end.begin()
    end.feed(data)
    assert not end.is_over


def packets() -> Sequence[bytes]:
    first = AuthPacket(AuthStatus.IN_PROGRESS, b"").encode()
    asked = AuthPacket(AuthStatus.IN_PROGRESS, challenges()[0]).encode()
    return [first, first + AuthPacket(AuthStatus.IN_PROGRESS, b"response").encode(), asked]


def jaas_file(data: bytes) -> Mapping[str, tuple[LoginModule, ...]]:
    return parse(data.decode("latin-1"))
