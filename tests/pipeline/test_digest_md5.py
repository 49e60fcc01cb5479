"""The exchange of DIGEST-MD5 at the server: its steps, and who the client is afterwards."""

from __future__ import annotations

import pytest

from kraal.pipeline.auth import auth_to_local
from kraal.pipeline.auth.digest_md5 import TOKEN_MAX_BYTES, DigestMd5
from kraal.pipeline.auth.kerberos_name import NameRules
from kraal.pipeline.auth.sasl import LoginRefusedError
from kraal.wire.digest_md5 import DIGEST_URI, is_proof, respond

USERS = {"bob": "secret", "al@KRAAL.TEST": "x", "eve@ELSEWHERE": "y", "a@b@c": "z"}


def exchange() -> DigestMd5:
    rules = NameRules(short_name=auth_to_local.rules("DEFAULT", "KRAAL.TEST"))
    return DigestMd5(USERS, rules.authorization_id, "nonce")


def login(username: str, password: str, authzid: str | None = None) -> DigestMd5:
    server = exchange()
    challenge = server.evaluate(b"")
    response = respond(
        challenge, username, password, digest_uri=DIGEST_URI, cnonce="c", authzid=authzid
    )
    assert is_proof(server.evaluate(response.message), response.proof)
    return server


def test_who_knows_the_password_is_who_it_says() -> None:
    server = exchange()
    assert server.evaluate(b"") == (
        b'realm="zk-sasl-md5",nonce="nonce",charset=utf-8,algorithm=md5-sess'
    )
    assert server.authorization_id is None
    assert login("bob", "secret").authorization_id == "bob"


@pytest.mark.parametrize(
    ("username", "authzid", "id_"),
    [
        ("bob", "super", "bob"),
        ("al@KRAAL.TEST", "super", "al@KRAAL.TEST"),
        ("eve@ELSEWHERE", None, "eve@ELSEWHERE"),
        ("eve@ELSEWHERE", "", "eve@ELSEWHERE"),
        ("eve@ELSEWHERE", "eve@ELSEWHERE", "eve@ELSEWHERE"),
    ],
)
def test_nobody_becomes_somebody_else(username: str, authzid: str | None, id_: str) -> None:
    assert login(username, USERS[username], authzid).authorization_id == id_


@pytest.mark.parametrize(
    ("username", "password", "authzid", "reason"),
    [
        ("bob", "Secret", None, "the password of 'bob' is wrong"),
        ("bo\nb", "secret", None, r"there is no user 'bo\\nb'"),
        ("x" * 100, "secret", None, r"there is no user 'x{64}\.\.\.'"),
        ("eve@ELSEWHERE", "y", "super", "no rule says who .* is, and it asks to be 'super'"),
        ("a@b@c", "z", None, "'a@b@c' is no name of Kerberos"),
    ],
)
def test_refused(username: str, password: str, authzid: str | None, reason: str) -> None:
    server = exchange()
    response = respond(
        server.evaluate(b""), username, password, digest_uri=DIGEST_URI, cnonce="c", authzid=authzid
    )
    with pytest.raises(LoginRefusedError, match=reason):
        server.evaluate(response.message)
    assert server.authorization_id is None
    with pytest.raises(LoginRefusedError, match="the exchange is over"):
        server.evaluate(response.message)


def test_one_exchange_is_for_one_login() -> None:
    server = login("bob", "secret")
    with pytest.raises(LoginRefusedError, match="the exchange is over"):
        server.evaluate(b"")


def test_the_first_token_plays_no_part_unless_it_is_too_long() -> None:
    assert b"nonce" in exchange().evaluate(b"x" * TOKEN_MAX_BYTES)
    with pytest.raises(LoginRefusedError, match="a token of 4097 bytes"):
        exchange().evaluate(b"x" * (TOKEN_MAX_BYTES + 1))


@pytest.mark.parametrize("token", [b"", b"hello", b'username="bob"', bytes(range(256))])
def test_garbage_in_place_of_a_response(token: bytes) -> None:
    server = exchange()
    server.evaluate(b"")
    with pytest.raises(LoginRefusedError):
        server.evaluate(token)
