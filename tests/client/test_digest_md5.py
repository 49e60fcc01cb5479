"""DIGEST-MD5 by the examples of RFC 2831, section 4, and by what servers may send."""

from __future__ import annotations

import pytest

from kraal.client.digest_md5 import is_proof, parse, respond
from kraal.errors import DecodeError

EXAMPLES = {
    "imap": (
        "OA6MG9tEQGm2hh", "OA6MHXh6VqTrRk",
        b"d388dad90d4bbd760a152321f2143af7", b"ea40f60335c427b5527b84dbabcdfffd",
    ),
    "acap": (
        "OA9BSXrbuRhWay", "OA9BSuZWMSpW8m",
        b"6084c6db3fede7352c551284490fd0fc", b"2f0b3d7c3c2e486600ef710726aa2eae",
    ),
}  # fmt: skip


def answered(challenge: bytes, username: str = "chris", password: str = "secret") -> bytes:
    return respond(challenge, username, password, digest_uri="a/b", cnonce="c").message


@pytest.mark.parametrize("service", EXAMPLES)
def test_the_examples_of_the_rfc(service: str) -> None:
    nonce, cnonce, digest, proof = EXAMPLES[service]
    challenge = (
        f'realm="elwood.innosoft.com",nonce="{nonce}",qop="auth",algorithm=md5-sess,charset=utf-8'
    )
    uri = f"{service}/elwood.innosoft.com"
    message, expected = respond(
        challenge.encode(), "chris", "secret", digest_uri=uri, cnonce=cnonce
    )
    assert parse(message) == {
        "charset": b"utf-8", "username": b"chris", "realm": b"elwood.innosoft.com",
        "nonce": nonce.encode(), "nc": b"00000001", "cnonce": cnonce.encode(),
        "digest-uri": uri.encode(), "response": digest, "qop": b"auth",
    }  # fmt: skip
    assert expected == proof
    assert is_proof(b"rspauth=" + proof, proof)


@pytest.mark.parametrize("answer", [b"", b"rspauth=00", b"rspauth", b'"', b"nonce=a"])
def test_what_is_no_proof(answer: bytes) -> None:
    assert not is_proof(answer, b"ea40f60335c427b5527b84dbabcdfffd")


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        (b"", {}),
        (b" , ,", {}),
        (b'a=1,B="x, y=z" ,\r\n\tc = 3,,', {"a": b"1", "b": b"x, y=z", "c": b"3"}),
        (rb'a="q\"q\\",b=2', {"a": rb'q"q' + b"\\", "b": b"2"}),
        (b"a=1,a=2", {"a": b"1"}),
    ],
)
def test_directives_are_read(text: bytes, directives: dict[str, bytes]) -> None:
    assert parse(text) == directives


@pytest.mark.parametrize("text", [b"a", b"=1", b"a=", b'a="', b'a="x" b=1', b"a=1;b=2 c", b"\0"])
def test_what_is_no_list_of_directives(text: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(text)


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (b"", "md5-sess"),
        (b'nonce="n",algorithm=md5', "md5-sess"),
        (b"algorithm=md5-sess", "nonce"),
        (b'nonce="",algorithm=md5-sess', "nonce"),
        (b'nonce="n",algorithm=md5-sess,qop="auth-int,auth-conf"', "security layer"),
    ],
)
def test_challenges_that_cannot_be_met(challenge: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        answered(challenge)


def test_a_name_is_sent_in_the_charset_of_the_server() -> None:
    plain = b'nonce="n",algorithm=md5-sess,qop="auth-int, auth"'
    assert b'username="j\xfcrg"' in answered(plain, "jürg")
    assert b'username="j\xc3\xbcrg"' in answered(plain + b",charset=utf-8", "jürg")
    assert b"realm" not in answered(plain)
    with pytest.raises(UnicodeEncodeError):
        answered(plain, "chris", "€")


def test_what_would_end_a_quoted_value_is_escaped() -> None:
    message = answered(b'nonce="n",algorithm=md5-sess,charset=utf-8', 'a",realm="x\\')
    assert parse(message)["username"] == b'a",realm="x\\'
    assert "realm" not in parse(message)
