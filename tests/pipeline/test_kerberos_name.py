"""Names of Kerberos, and who they are by `security.auth_to_local`."""

from __future__ import annotations

import pytest

from kraal.pipeline.auth import auth_to_local
from kraal.pipeline.auth.kerberos_name import KerberosName, NameRules, parse

REALM = "KRAAL.TEST"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("bob", KerberosName("bob")),
        ("a/b", KerberosName("a/b")),
        ("", KerberosName("")),
        ("bob@R", KerberosName("bob", None, "R")),
        ("zk/host@R", KerberosName("zk", "host", "R")),
        ("@", KerberosName("", None, "")),
        ("a/@", KerberosName("a", "", "")),
        ("a@b@c", None),
        ("a/b/c@d", None),
        ("a@b/c", None),
    ],
)
def test_parts(name: str, parts: KerberosName | None) -> None:
    assert parse(name) == parts


@pytest.mark.parametrize(
    ("removed", "id_"),
    [
        ({}, "zk/host@KRAAL.TEST"),
        ({"removes_host": True}, "zk@KRAAL.TEST"),
        ({"removes_realm": True}, "zk/host"),
        ({"removes_host": True, "removes_realm": True}, "zk"),
    ],
)
def test_host_and_realm_of_ids(removed: dict[str, bool], id_: str) -> None:
    rules = NameRules(short_name=auth_to_local.rules("DEFAULT", REALM), **removed)
    assert rules.authorization_id(f"zk/host@{REALM}", None) == id_


@pytest.mark.parametrize(
    ("rules", "name", "short"),
    [
        ("DEFAULT", "bob@KRAAL.TEST", "bob"),
        ("DEFAULT", "zk/host@KRAAL.TEST", "zk"),
        ("DEFAULT", "bob@ELSEWHERE", None),
        ("RULE:[1:$1]", "bob@ELSEWHERE", "bob"),
        ("RULE:[1:$1]", "zk/host@ELSEWHERE", None),
        ("RULE:[2:$1-$2]", "zk/host@ELSEWHERE", "zk-host"),
        ("RULE:[1:$1@$0]", "bob@ELSEWHERE", None),  # not simple
        ("RULE:[1:$1@$0](.*@ELSEWHERE)s/@.*//", "bob@ELSEWHERE", "bob"),
        ("RULE:[1:$1@$0](.*@OTHER)s/@.*//\nDEFAULT", "bob@KRAAL.TEST", "bob"),
        ("RULE:[1:$1@$0](ELSEWHERE)s/@.*//", "bob@ELSEWHERE", None),  # matches as a whole
        ("RULE:[1:$1]s/b/x/", "bob@R", "xob"),
        ("RULE:[1:$1]s/b/x/g", "bob@R", "xox"),
        (r"RULE:[1:$1]s/(b)(o)/$2\$$1/", "bob@R", "o$bb"),
        ("RULE:[1:a$1b]RULE:[2:$0]", "bob@R", "abobb"),
        ("  DEFAULT  ", "bob@KRAAL.TEST", "bob"),
        ("", "bob@KRAAL.TEST", None),
    ],
)
def test_rules(rules: str, name: str, short: str | None) -> None:
    parts = parse(name)
    assert parts is not None
    assert auth_to_local.rules(rules, REALM)(parts) == short


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("default", "invalid rule: default"),
        ("DEFAULT RULE:[1]", r"invalid rule: RULE:\[1\]"),
        ("RULE:[:$1]", "invalid rule"),
        ("RULE:[1:$2]", "index out of range"),
        ("RULE:[1:$1](a[)", "unterminated"),
        ("RULE:[1:$1]s/a[/b/", "unterminated"),
        ("RULE:[1:$1]s/a/$1/", "invalid group reference"),
    ],
)
def test_rules_that_are_malformed(rules: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        auth_to_local.rules(rules, REALM)
