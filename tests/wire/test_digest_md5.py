"""DIGEST-MD5 by the examples of RFC 2831, section 4, and by what both sides may send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kraal.errors import DecodeError
from kraal.wire.digest_md5 import Claim, challenge, is_proof, parse, read_response, respond

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


# The server's half

REALM, NONCE, URI = "zk-sasl-md5", "n+/1", "zookeeper/zk-sasl-md5"


def said(username: str = "bob", password: str = "secret", authzid: str | None = None) -> bytes:
    return respond(
        challenge(realm=REALM, nonce=NONCE), username, password,
        digest_uri=URI, cnonce="c", authzid=authzid,
    ).message  # fmt: skip


def read(text: bytes) -> Claim:
    return read_response(text, realm=REALM, nonce=NONCE, digest_uri=URI)


def test_a_response_that_the_reference_took() -> None:
    """Captured from Apache ZooKeeper 3.9.5: the Java client's response and the server's proof."""
    nonce = "YPzmaLjmFyn11GjpvP277vq+qBUP9tKX5jqNsf30"
    assert challenge(realm=REALM, nonce=nonce) == (
        b'realm="zk-sasl-md5",nonce="YPzmaLjmFyn11GjpvP277vq+qBUP9tKX5jqNsf30",charset=utf-8,'
        b"algorithm=md5-sess"
    )
    response = (
        b'charset=utf-8,username="bob",realm="zk-sasl-md5",'
        b'nonce="YPzmaLjmFyn11GjpvP277vq+qBUP9tKX5jqNsf30",nc=00000001,'
        b'cnonce="UBCWyXoIC0twPVET6A0pAC6fLtlJ8woYUf/Ut1ot",digest-uri="zookeeper/zk-sasl-md5",'
        b"maxbuf=65536,response=ec1b556d83158ef9cbbb5cd7563d43e3,qop=auth,"
        b'authzid="bob"'
    )
    claim = read_response(response, realm=REALM, nonce=nonce, digest_uri=URI)
    assert (claim.username, claim.authzid) == ("bob", "bob")
    assert claim.proof("bobsecret") == b"rspauth=3fe71f669a272832ad1b5a608c879aba"
    assert claim.proof("bobsecret ") is None


@pytest.mark.parametrize("service", EXAMPLES)
def test_the_server_in_the_examples_of_the_rfc(service: str) -> None:
    nonce, cnonce, digest, proof = EXAMPLES[service]
    realm, uri = "elwood.innosoft.com", f"{service}/elwood.innosoft.com"
    text = (
        f'charset=utf-8,username="chris",realm="{realm}",nonce="{nonce}",nc=00000001,'
        f'cnonce="{cnonce}",digest-uri="{uri}",response={digest.decode()},qop=auth'
    )
    claim = read_response(text.encode(), realm=realm, nonce=nonce, digest_uri=uri)
    assert claim.proof("secret") == b"rspauth=" + proof
    assert claim.proof("Secret") is None


@pytest.mark.parametrize(
    ("username", "password", "authzid"),
    [
        ("bob", "secret", None),
        ("bob", "secret", "somebody else"),
        ("bob", "", ""),
        ("jürg", "grün", "jürg"),
        ("euro", "ä€", "€"),
        ('quo"te\\', 'b"\\', None),
        ("a:b", "c:d", None),
    ],
)
def test_what_one_half_says_the_other_reads(
    username: str, password: str, authzid: str | None
) -> None:
    asked = challenge(realm=REALM, nonce=NONCE)
    response = respond(asked, username, password, digest_uri=URI, cnonce="other", authzid=authzid)
    claim = read(response.message)
    assert (claim.username, claim.authzid) == (username, authzid)
    proof = claim.proof(password)
    assert proof is not None
    assert is_proof(proof, response.proof)
    assert claim.proof(password + "x") is None


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text.replace(b"zookeeper/zk-sasl-md5", b"ZooKeeper/ZK-SASL-MD5"),
        lambda text: text.replace(b"nc=00000001,", b""),
        lambda text: text.replace(b",qop=auth", b""),
        lambda text: text + b",maxbuf=65536, foo = bar,foo=1,",
    ],
)
def test_what_plays_no_part(changed: Callable[[bytes], bytes]) -> None:
    assert read(changed(said())).username == "bob"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"charset=utf-8", b"charset=latin", "charset"),
        (b'username="bob",', b"", "without username"),
        (b'username="bob"', b'username="\xff"', "not UTF-8"),
        (b'realm="zk-sasl-md5"', b'realm="other"', "another realm"),
        (b'realm="zk-sasl-md5",', b"", "another realm"),
        (b'nonce="n+/1",', b"", "without nonce"),
        (b'nonce="n+/1"', b'nonce="other"', "another challenge"),
        (b'cnonce="c",', b"", "without cnonce"),
        (b'digest-uri="zookeeper/zk-sasl-md5",', b"", "without digest-uri"),
        (b"zookeeper/zk", b"zookeeper/other", "another service"),
        (b"response=", b"answer=", "without response"),
        (b"qop=auth", b"qop=auth-int", "security layer"),
        (b"qop=auth", b'qop=auth,username="bob"', "username is said more than once"),
        (b"qop=auth", b"qop=auth,realm=x", "realm is said more than once"),
        (b"qop=auth", b'qop="auth', "no list"),
        (b"qop=auth", b"qop=", "no list"),
    ],
)
def test_responses_that_are_refused(old: bytes, new: bytes, reason: str) -> None:
    text = said()
    assert old in text
    with pytest.raises(DecodeError, match=reason):
        read(text.replace(old, new))
