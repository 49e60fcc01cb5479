"""The JAAS file: what Java's parser reads and refuses."""

from __future__ import annotations

import pytest

from kraal.errors import ConfigError
from kraal.server.config.jaas import parse

DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule"


def options(text: str) -> dict[str, str]:
    ((module,),) = parse(f"Server {{ {DIGEST} required {text}; }};").values()
    return dict(module.options)


def test_sections_and_modules() -> None:
    sections = parse(
        "// users\nServer {\n"
        f'  {DIGEST} required user_bob="a b" user_super = "c;}}" ;\n'
        "  com.sun.security.auth.module.Krb5LoginModule OPTIONAL useKeyTab=true /* no */\n"
        '  keyTab="/etc/zk.keytab";\n};\n'
        "Client { };\n"
    )
    digest, kerberos = sections["Server"]
    assert (digest.class_name, digest.name) == (DIGEST, "DigestLoginModule")
    assert digest.options == {"user_bob": "a b", "user_super": "c;}"}
    assert kerberos.name == "Krb5LoginModule"
    assert kerberos.options == {"useKeyTab": "true", "keyTab": "/etc/zk.keytab"}
    assert sections["Client"] == ()
    assert parse("") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"q\\"q\\\\"', 'q"q\\'),
        (r'"\101\tb\x"', "A\tbx"),
        ('"//no comment"', "//no comment"),
        ('"grün €"', "grün €"),
        ("word-1.$*", "word-1.$*"),
        ('""', ""),
    ],
)
def test_values(text: str, value: str) -> None:
    assert options(f"user_a={text}") == {"user_a": value}
    assert options(f'"user_a"={text} user_b=x') == {"user_a": value, "user_b": "x"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Server", "line 1: { is missing at the end"),
        ("Server {\n", "line 1: the class of a login module is missing at the end"),
        ("Server { };\nServer { };", "line 2: section Server is there twice"),
        ("Server { }", "line 1: ; is missing at the end"),
        ("= { };", "line 1: the name of a section is expected, not ="),
        ('Server { x.Y required user_bob="s3cret" }', "line 1: an option or ; is expected, not }"),
        ("Server { x.Y\nnever; };", "line 2: the flag must be one of optional, required"),
        ("Server { x.Y required a b; };", "line 1: = is expected"),
        ("Server { x.Y required a=; };", "line 1: the value of a is expected, not ;"),
        ("# x\nServer { };", "line 1: neither a word"),
        ("Server { x.Y required a='s3cret'; };", "line 1: neither a word"),
        ('Server { x.Y required\na="s3cret\n; };', "line 2: neither a word"),
        ("Server { x.Y required a=1; };", "line 1: neither a word"),
        ('Server { x.Y required a="${user.home}/s3cret"; };', r"line 1: a has \$\{...\}"),
        ("Server { x.Y required a=s3cret s3cret; };", "line 1: = is expected"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse(text)
    assert "s3cret" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(parse(f'Server {{ {DIGEST} required user_bob="secret"; }};'))
